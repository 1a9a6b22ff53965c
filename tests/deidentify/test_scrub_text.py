"""What scrubbing hides in Chinese and mixed text, what it leaves, and that no text takes it long."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.deidentify.scrubbing import LONGEST, scrub
from sharing.deidentify.scrubbing_checks import checked, iban, luhn, resident_id
from sharing.errors import Malformed


def kinds(text: str, **options: Any) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in scrub(text, **options).spans]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("患者王小明，男，于昨日来诊。", "王小明"),
        ("患者司徒静宜因胸痛入院。", "司徒静宜"),
        ("患者阿依古丽·买买提，女。", "阿依古丽·买买提"),
        ("姓名 龑𠮷祥 性别 男", "龑𠮷祥"),
        ("签名：阿卜杜拉", "阿卜杜拉"),
        ("请心内科张主任会诊。", "张"),
        ("今日王建军主任医师查房。", "王建军"),
        ("责任护士：慕容雪", "慕容雪"),
        ("其母张桂兰健在。", "张桂兰"),
        ("家属（李淑芬）同意手术。", "李淑芬"),
        ("代诉人赵敏", "赵敏"),
        ("主任：高。", "高"),
        ("护理记录：欧阳晓燕，床号12床。", "欧阳晓燕"),
    ],
)
def test_names_beside_what_only_stands_beside_names_are_hidden(text: str, hidden: str) -> None:
    assert kinds(text) == [("NAME", hidden)]


@pytest.mark.parametrize(
    "text",
    [
        "既往诊断帕金森病、克罗恩病、阿尔茨海默病、白塞病、梅尼埃病、桥本甲状腺炎、马凡综合征、雷诺现象、唐氏综合征。",
        "格林·巴利综合征，陈-施呼吸，霍奇金淋巴瘤，华法林2.5mg，黄连6g、白芍10g、金银花15g、石膏30g、柴胡。",
        "患者高热3天，黄疸2天，白细胞升高。患者安静，平卧，向左侧卧位。患者时有咳嗽，成年后发病。",
        "HBV-DNA 13800000000 IU/ml，WBC 12.5×10^9/L，血小板245，PSA 12.6 ng/ml，Gleason评分4+3=7，GCS 13分。",
        "BP 135/85mmHg，T 38.5℃，EF 55%，TNM分期T2N1M0，BI-RADS 4a类，ICD-10编码I21.0，12/24小时。",
        "左肺上叶尖段3mm结节，肝S6段，前列腺外周区，腹部外科2区，心前区疼痛，3号病区。",
        "转外院治疗，当地医院输液，上级医院会诊，我院复查。某三甲医院行PCI术。",
        "张某某，李某，王××，陈*，患者方某某。值班医生、主管护士、麻醉医师、上级医师、科主任均在场。",
        "3年前起病，5月余加重，2周来诊，89岁，18岁，2023年确诊，2019年行CABG。",
        "版本 2.0.1.3，1.2.840.10008.1.2，Parkinson's disease, Crohn disease, Child-Pugh A, Glasgow 15.",
    ],
)
def test_diseases_remedies_results_and_nameless_houses_stay(text: str) -> None:
    assert scrub(text).text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("证件31010419580302840X", [("ID", "31010419580302840X")]),
        ("11010519491231002x。", [("ID", "11010519491231002x")]),
        ("号码110105491231002，", [("ID", "110105491231002")]),
        ("身份证：330106 19800101 1234", [("ID", "330106 19800101 1234")]),
        ("病案号：A0012345 住院号为00123456", [("ID", "A0012345"), ("ID", "00123456")]),
        ("微信wx_16752，QQ号 12345678", [("ID", "wx_16752"), ("ID", "12345678")]),
        ("缴费卡号6222020200112230", [("ID", "6222020200112230")]),
        ("4111 1111 1111 1111", [("ID", "4111 1111 1111 1111")]),
        ("MRN: 1234567", [("ID", "1234567")]),
        ("护照E39747457", [("ID", "E39747457")]),
        ("电话138 1234 5678", [("PHONE", "138 1234 5678")]),
        ("１３９１２３４５６７８", [("PHONE", "１３９１２３４５６７８")]),
        ("+86 13912345678", [("PHONE", "+86 13912345678")]),
        ("致电0571-8888 6666转801", [("PHONE", "0571-8888 6666转801")]),
        ("400-810-8888", [("PHONE", "400-810-8888")]),
        ("user591@example.cn", [("EMAIL", "user591@example.cn")]),
        ("见http://his.example.cn/a?b=1，", [("URL", "http://his.example.cn/a?b=1")]),
        ("IP 192.168.1.10", [("IP", "192.168.1.10")]),
        ("浙C12345，沪AD03827，川D8K6M2", [("VEHICLE", "浙C12345"), ("VEHICLE", "沪AD03827"), ("VEHICLE", "川D8K6M2")]),
        ("系93岁高龄，101岁，一百零二岁", [("AGE_OVER_89", "93"), ("AGE_OVER_89", "101"), ("AGE_OVER_89", "一百零二")]),
        ("工作单位：深圳市蓝海科技有限公司", [("ORG", "深圳市蓝海科技有限公司")]),
        ("在上海明远小学任教", [("ORG", "上海明远小学")]),
        ("曾于北京协和医院就诊", [("HOSPITAL", "北京协和医院")]),
        ("转至复旦大学附属中山医院心内科", [("HOSPITAL", "复旦大学附属中山医院心内科")]),
        ("去年在华西就诊", [("HOSPITAL", "华西")]),
        ("现住址：湖南省长沙县星沙街道开元路1号，", [("LOCATION", "湖南省长沙县星沙街道开元路1号")]),
        ("家住河北省正定县曲阳桥乡西里村3组。", [("LOCATION", "河北省正定县曲阳桥乡西里村3组")]),
        ("住人民南路四段17号", [("LOCATION", "人民南路四段17号")]),
        ("邮编：410100", [("LOCATION", "410100")]),
        ("Dr. John Smith saw him.", [("NAME", "John Smith")]),
        ("SSN 123-45-6789", [("ID", "123-45-6789")]),
    ],
)  # fmt: skip
def test_numbers_places_and_houses_are_found_by_form_or_label(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["2024年8月25日", "2024-08-25", "2024/8/5", "20240825", "8月25日", "二〇二四年八月二十五日", "2024.3.5",
     "2024年8月", "农历八月十五", "03/05/2024", "March 5, 2024"],
)  # fmt: skip
def test_dates_are_hidden_cut_or_kept_as_asked(text: str) -> None:
    assert kinds(text) == [("DATE", text)]
    assert scrub(text, dates="keep").text == text
    assert scrub(text, dates="year").text in ("2024年", "[日期]")


def test_whole_dates_move_with_the_persons_others_and_partial_ones_are_hidden() -> None:
    def moved(day: date) -> date:
        return day - timedelta(10)

    assert scrub("2024年3月5日入院，2024-03-15出院，3月20日复查。", dates=moved).text == (
        "2024-02-24入院，2024-03-05出院，[日期]复查。"
    )
    assert scrub("2099-12-31", dates=lambda day: day + timedelta(9_000_000)).text == "[日期]"


def test_a_bed_is_hidden_only_where_it_is_asked_for() -> None:
    assert scrub("床号：12床").text == "床号：12床"
    assert scrub("床号：12床", also=["bed"]).text == "床号：[床号]"


@pytest.mark.parametrize(
    "written", ["欧阳梓涵", "欧 阳 梓 涵", "欧阳^梓涵", "欧阳　梓涵", "欧阳\u200b梓涵", "欧-阳-梓-涵", "欧\n阳梓涵"]
)
def test_a_known_name_is_hidden_however_it_is_written(written: str) -> None:
    assert scrub(f"这里{written}那里", ["欧阳^梓涵"]).text == "这里[隐去]那里"


@pytest.mark.parametrize("written", ["OUYANG zihan", "OuYangZiHan", "Zihan, Ouyang", "ＯｕＹａｎｇ ＺｉＨａｎ"])
def test_a_known_latin_name_is_hidden_either_way_round(written: str) -> None:
    assert scrub(f"by {written}.", ["OuYang^ZiHan=欧阳^梓涵"]).text == "by [隐去]."


def test_known_numbers_are_hidden_whole_and_no_piece_of_another_is() -> None:
    assert scrub("ID P000001; XP0000012; p 000 001", ["P000001"]).text == "ID [隐去]; XP0000012; [隐去]"
    assert scrub("值 40 59 与 4059", ["4059"]).text == "值 40 59 与 [隐去]"
    assert scrub("Ann annotated", ["Ann"]).text == "[隐去] annotated"
    assert scrub("a 1", ["a", "1", ""]).text == "a 1"


def test_a_name_once_found_is_hidden_everywhere_in_the_text() -> None:
    assert (
        scrub("患者王小明，男。告知王小明病情，王小明表示理解。").text
        == "患者[姓名]，男。告知[姓名]病情，[姓名]表示理解。"
    )


def test_spans_say_where_and_by_which_rule_and_hold_no_value() -> None:
    scrubbed = scrub("患者王小明，电话13912345678")
    assert next((one.start, one.end, one.rule) for one in scrubbed.spans) == (2, 5, "name-after-role")
    assert "王小明" not in repr(scrubbed) and "139" not in repr(scrubbed)


def test_scrubbing_twice_is_scrubbing_once() -> None:
    text = "患者王小明，93岁，住北京市海淀区中关村南大街5号，电话13912345678，2024年3月5日在瑞金医院就诊。"
    once = scrub(text).text
    assert scrub(once).text == once


@pytest.mark.parametrize("value", [None, b"text", 5, ["text"]])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(Malformed, match="expected a text"):
        scrub(value)


def test_a_text_longer_than_any_record_is_refused() -> None:
    with pytest.raises(Malformed, match="at most"):
        scrub("长" * (LONGEST + 1))


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.text(
        st.sampled_from("患者姓名王建国李：，。 0123456789-年月日省市区路号医院主任·a@.:/\u3000\ud800\U00020bb7\n"),
        max_size=120,
    ),
    st.lists(st.text(max_size=6), max_size=4),
)
def test_any_text_is_scrubbed_into_what_stands_between_its_spans(text: str, known: list[str]) -> None:
    scrubbed = scrub(text, known)
    at = 0
    for span in scrubbed.spans:
        assert at <= span.start < span.end <= len(text)
        at = span.end
    if not scrubbed.spans:
        assert scrubbed.text == text


@pytest.mark.parametrize(
    "piece",
    ["患者高", "省市区县路", "1", "a.", "阿·", "张伟李强", " ", "(0", "住址：某", "医院", "Dr. A ", "Aa ", "1 Aa ",
     "a:", "1-", "陈 秀 ", "号", "第一", "2024年", "人民路1", "[姓名]", "0.0.", "86 1", "王·", "Mr Aa-", "京A", "http://"],
)  # fmt: skip
def test_hostile_repetition_takes_no_more_than_linear_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))

    def spent(length: int) -> float:
        start = time.process_time()
        scrub(text[:length], ["陈秀英", "12345678"])
        return time.process_time() - start

    short, whole = min(spent(10_000) for _ in range(2)), spent(40_000)
    assert whole < 10 * short + 0.2  # four times the text; quadratic time would be sixteen times


def test_numbers_are_checked_by_their_standards() -> None:
    assert checked("11010519491231002X") and not checked("110105194912310021")
    assert resident_id("31010419580302840X") and not resident_id("99010419580302840X")
    assert not resident_id("31010419580230840X")
    assert luhn("4111111111111111") and not luhn("4111111111111112") and not luhn("18")
    assert iban("GB82WEST12345698765432") and not iban("GB82WEST12345698765431")
