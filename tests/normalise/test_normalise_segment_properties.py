"""What holds for every kind of message, however its segments are damaged or arranged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import verdict

from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, Refusal, SourceContext

CONTEXT = SourceContext("s", "hospital-east", "Asia/Shanghai")
PID = "PID|1||7^^^EAST^MR||张伟^^^^^^L^I||19900307|M"
PV1 = "PV1|1|O|W^R^B^EAST||||||||||||||||V1^^^EAST^VN"
LAB = (
    PID,
    PV1,
    "ORC|NW|P1^HIS|F1^LIS|G1&HIS^FG&LIS|IP||1^Q6H^D3^20261101080000^^S|PA&HIS^FA|20261101080000|D2^录入|D3^核对"
    "|D1^欧阳芳||1^^PH^^^^138||||||D4^执行||东院^^E1||138^WPN|路1号^^市||||O||||AP1^^^HIS^PLAC",
    "TQ1|1|2^片|Q6H^^^^6^h^^ACM^30^min|0800|1^h|3^d|20261101080000||S|疼痛时|餐后||15^min|5",
    "PRT|1|AD||OP^Ordering Provider^HL70443|D5^吴^敏",
    "OBR|1|P1^HIS|F1^LIS|24323-8^生化^LN|S|20261101080000|20261101081000||5^mL|D6^采血|A||禁食|20261101090000|BLD&血&HL70070"
    "|D1^欧阳芳|1^^PH^^^^139|||||20261101||LAB|F||1^^^20261101080000^^R||PA^FA||^腹痛|D7&李&强^^^W3",
    "NTE|1||急",
    "DG1|1||R10^腹痛^I10",
    "OBX|1|NM|8310-5^体温^LN||36.5|Cel^Cel^UCUM|36-37|N|||F",
    "SPM|1|S1&HIS^S2&LIS|SP&HIS^SQ&LIS|BLD^血^HL70487||HEPL|FNA||||||5^mL||备注|AMB||20261101081000|20261101090000||Y||||COOL|||TUBE"
    "|||AC1^^^LIS|O1^^^LIS|SH1^LIS",
    "SAC||AC2^LIS|CO1|CO2|||||||||||||||||10|5||mL|||EDTA",
    "OBX|2|ST|1^溶血^L||无||||||F",
    "FT1|1|T1||20261101||CG|A1^化验^L|||1|5.00&CNY",
    "BLG|CR||AI1^^^EAST",
    "CTI|RS1^LAB|1^一期^HL70396",
)
DRUG = (
    PID,
    PV1,
    "ORC|NW|P2|||IP||1^BID^D7^20261101||20261101080000|||D1^欧阳芳",
    "RXO|A1^阿莫西林^L|1|2|片|CAP^胶囊^L|^多饮水|^饭后||G||14|片|2|D1^欧阳芳||||250|mg|^感染|10|mL/h|4^g||B1^阿莫西林^GPI|5|mL|||3||||P1^药房^L",
    "RXR|PO^口服^HL70162|LA^左臂^HL70550||CH",
    "RXC|B|NS^盐水^L|100|mL",
    "RXC|A|KCL^氯化钾^L|10|mL",
    "RXE|1^BID|A1^阿莫西林^L|1|2|片|CAP|^饭后||G|14|片|2|D1^欧阳芳||RX9|1|||4^g||||5|mL/h|250|mg||||||20261101|5|mL||||||14|P1^药房^L",
    "RXD|1|A1^阿莫西林^L|20261101090000|14|片|CAP|RX9|2|饭后服|D8^药师||4^g||||250|mg|LOT1|20270101|M1^厂^L||||||||||P1^药房^L|||C",
    "RXA|0|1|20261101100000|20261101100000|A1^阿莫西林^L|250|mg||01^已给|D9^护士||h|||LOT1|20270101|M1^厂^L|R1^拒绝^L|I1^感染^L|CP|A",
    "OBX|1|NM|8310-5^体温^LN||38.5|Cel|||||F",
    "NTE|1||过敏史无",
    "ORC|CA|P3",
    "ORC|NW|P4",
    "ODS|D|||^低盐|少油",
    "ODS|P||V1^素食^L",
    "ORC|NW|P5",
    "RQD|1|I1^纱布^L|||5|包|||W3^三病区^L|20261102",
    "RQ1|1||||V1^供应商^L",
)
VACCINE = (
    PID,
    "OBX|1|CE|1^过敏^L||N^无^L||||||F",
    "ORC|RE|P6|V1|G2&HIS^H2|||||20261101|||D1^欧阳芳",
    "RXA|0|1|20261101||0101^乙肝^NIP|0.5|mL||00^New^NIP001~^左臂红肿|D9^护士|接种点^^^东院^^^^^路1号^^市||||L1~L2|20270101|M1^厂^L|||CP|A|20261101"
    "|||||W^R^B^EAST|路1号^^市",
    "RXR|IM^肌内^HL70162|LD^左三角肌^HL70163",
    "OBX|2|CE|64994-7^eligibility^LN|1|V01^Not eligible^HL70064||||||F",
    "NTE|1||观察三十分钟",
)
SPECIMEN = (
    "SPM|1|S1||BLD^血^HL70487",
    "OBX|1|ST|1^溶血^L||无||||||F",
    "SAC||A1|C1",
    "OBR|1|P1|F1|24323-8^生化^LN|||||||||||||||||||||F",
    "ORC|RE|P1|F1||CM",
    "NTE|1||急",
    "OBX|1|NM|8310-5^体温^LN||36.5|Cel|||||F",
    "SPM|2|S2||UR",
    "ORC|RE|P2|F2||CM",
    "OBR|2|P2|F2|5778-6^尿色^LN|||||||||||||||||||||F",
    "OBX|1|ST|5778-6^尿色^LN||黄||||||F",
)
CHARGE = (
    PID,
    PV1,
    "FT1|1|T1|B1|20261101^20261102|20261103|CG|A1^血常规^L|血常规|检验|2^次|25.00&CNY|12.50&CNY|LAB^检验科|||||W|R10^腹痛^I10"
    "|D1^王^医||10&CNY|P1|D2^李^记|P1^穿刺^L|MOD^左^L||||A9^片^L|||X1^东院|X2^西院|DEV1^仪器|M9||||||RX1|14^片",
    "NTE|1||已结",
    "PR1|1||4701^切除^L||20261101",
    "ROL|1|AD|PP^^HL70443|D5^吴^敏|20261101|||||||路1号|138|W3|X1^东院",
    "DG1|1||R10^腹痛^I10||20261101|F",
    "GT1|1|G1|张^父||路1号|138||19600101|M|||20200101||||单位^^9",
    "IN1|1|A1^医保^L|N1|职工医保|路1号|联系|400||G1|||20260101|20261231|||张^伟|SEL|19900307",
    "IN2||3301||||M1|N^M|M2||M3",
    "ACC|20261101080000|C1^碰撞^L|路口||||D1^王|急刹|||路1号||E1",
    "FT1|2|T2|||||CR|||||||||||||||||||P2^复查^L",
)
DOCUMENT = (
    PID,
    PV1,
    "ORC|RE|P1|F1",
    "OBR|1|P1|F1|11502-2^报告^LN",
    "TXA|1|DS^出院小结^HL70270|TX|20261101080000|D1^王^医|20261101|||D2^李^医|D3^赵^审|D4^记|U1^HIS|U0^HIS|P1~P2|F1|a.pdf|LA"
    "|V|AV||||D5^核^^^^^^^^^^^^^20261102|S1^科^L|标题|",
    "CON|1|001^知情^L|F1^表^1|N1|正文||||||A|20261101|20261101|20261102|20261103||||||||||||D9^签|RP|张^三",
    "OBX|1|TX|A^主诉^L||腹痛~三日||||||F",
    "OBX|2|ED|B^附件^L||^application^pdf^Base64^JVBERg==||||||F",
    "OBX|3|RP|C^图^L||http://x/y^^image^png||||||F",
    "OBX|4|NM|8310-5^体温^LN||36.5|Cel|||||F",
    "NTE|1||另见",
    "PRT|1|AD||AUT^Author^HL70912|D5^吴^敏",
)
VISIT_TIME = (
    "SCH|A1^HIS|A2^LIS|1|||R1^改期^HL70276|ROUTINE^常规^HL70276|NORMAL^普通^HL70277|30|min^分^UCUM|^^30^20261101090000^20261101093000"
    "|D1^约|138|路1号|W1|D2^办|139|路2号|W2|D3^录|137|W3|||Booked^已约^HL70278|P1|F1",
    "TQ1|1||||||20261101090000|20261101093000|R",
    "NTE|1||空腹|RE|D9^张|20261101",
    PID,
    PV1,
    "OBX|1|NM|8302-2^身高^LN||170|cm|||||F",
    "DG1|1||R10^腹痛^I10",
    "RGS|1|A|G1",
    "AIS|1|A|S1^超声^L|20261101090000|10|min|20|min|Y|Booked|X1^空腹^L|X2^憋尿^L",
    "NTE|1||三楼",
    "AIG|1|A|DEV1^超声仪^L|EQ^设备^L||||20261101090000|0|min|30|min||Booked",
    "AIL|1|A|W3^R1^^EAST|RM^房间^L||20261101090000|0|min|30|min||Booked",
    "AIP|1|A|D5^吴^敏|DR^医生^L||20261101090000|5|h|1|d||Pending",
)
REFERRAL = (
    "RF1|P^待办^HL70280|S^急^HL70281|MED^内科^HL70282|AM^协助^HL70283|O^门诊^HL70284|R1^A|20261101|20261201|20261030|X^会诊^HL70336"
    "|R2^B||||||||X1^东院|D8^收^诊||||备注~二",
    "AUT|P1^计划^L|X1^保险||20261101|20261201|A1|100|5||20261030||||||||||||||||||说明",
    "CTD|PR^主^HL70131|李^娟|路1号||138",
    "PRD|RP^转诊^HL70286|王^医^^^^^^L|路2号|W3|138||D1^EAST^PN|20260101|20270101|X1^东院",
    "CTD|BP^备^HL70131|赵^四",
    PID,
    "ACC|20261101080000|C1^碰撞^L|路口",
    "DG1|1||R10^腹痛^I10",
    "AL1|1|DA|P1^青霉素^L|SV|皮疹",
    "PR1|1||4701^切除^L||20261101",
    "OBR|1|P1|F1|24323-8^生化^LN|||20261101||||||||||||||||||F",
    "OBX|1|NM|8310-5^体温^LN||36.5|Cel|||||F",
    "NTE|1||好",
    PV1,
)
PLAN = (
    PID,
    PV1,
    "PTH|AD|CP^路径^L|PT1|20261101|A^Active^HL70999|20261102",
    "GOL|AD|20261101|G1^降压^L|GI1|1|1^高^L|20261101|20261201|C^类^L|||||||A^达成^L|说明|ACTIVE^进行^L|20261102",
    "NTE|1||月评",
    "OBX|1|NM|8480-6^收缩压^LN||130|mm[Hg]|||||F",
    "PRB|AD|20261101|I10^高血压^I10|PB1|E1|1|20261101|20261201|20261202|C^类^L|||C^确诊^L|A^现症^L|20261101|20200101|六年前"
    "||||好|V^佳^L||||R^限^HL70177",
    "ROL|1|AD|PP^^HL70443|D5^吴^敏",
    "ORC|NW|P1",
    "OBR|1|P1||24323-8^生化^LN",
)
BLOOD = (
    PID,
    PV1,
    "ORC|SC|P1|F1||IP||||20261101080000|||D1^王^医",
    "TQ1|1||||||||R",
    "BPO|1|RBC^红细胞^L|IRR^辐照^L|2|400|mL|20261102090000|BB^^^EAST|路1号|20261102080000|W3^^^EAST|路2号|AN^贫血^L",
    "NTE|1||尽快",
    "BPX|1|DS|F|20261101100000|DON1^BC^1.2.3^ISO|E0336^红^ISBT|V^志愿^L|C1^白蛋白^L|XB^血站|LOT9|A+^A阳性^L|CMV^阴性^L|20261201|1|200|mL|U1"
    "|W3^^^EAST|路1号|N1^李^护|N2^张^技",
    "BTX|1|DON1^BC^1.2.3^ISO|E0336^红^ISBT|A+^A阳性^L|C1^白蛋白^L|XB^血站|LOT9|1|200|mL|TX|F|20261101130000|N1^李^护|N2^赵^护"
    "|20261101120000|20261101130000|FEV^发热^L|FEV^发热^L",
    "OBX|1|NM|718-7^Hb^LN||60|g/L|||||F",
    "DG1|1||D64.9^贫血^I10",
    "FT1|1|T1||20261101||CG|A1^配血^L|||1|5.00&CNY",
)
CHART = (
    PID,
    "PD1|||X1^东院^9|D1^王||SF^聋^L|Y|||||||P1^教区",
    "ARV|1|E|D",
    "NK1|1|张^父|FTH^父^HL70063|路1号|138||EP^急^HL70131|20200101||||||M||19600101||||||||||||||李^娟|139|路2号",
    PV1,
    "PV2||P^私^L|R10^腹痛^I10|||||20261101|20261105|4|3|入院原因|D7^荐||||||||||||X1|||||||||||||A^救护^L",
    "DB1|1|PT|D1^EAST|Y|20260101|20261231",
    "OBX|1|NM|8302-2^身高^LN||170|cm|||||F",
    "AL1|1|DA|P1^青霉素^L|SV|皮疹|20200101",
    "IAM|1|DA|P1^青霉素^L|SV|皮疹|A|I1^EAST||AD||||20200101|D1^王|||C|D9^李|||||D8^记|20190101",
    "IAR|R1^荨麻疹^L|MI|X1^自述^L|饭后",
    "PDA|I46^骤停^I10|W3^R^B|Y|20261101080000|D1^王|Y|20261101^20261102|D2^法|Y",
    "CON|1|001^知情^L|F1|N1|正文||||||A||20261101|20261101|20261102",
    "ROL|1|AD|FHCP^家庭医生^HL70443|D5^吴^敏|20261101|20271101|||G1^内^L||||||X1^东院",
    "PRT|1|AD||PP^^HL70912|D5^吴^敏||X1^东院||DEV1^EAST",
    "MRG|8^^^EAST^MR|9|A1^^^EAST|10|V2^^^EAST|V3|李^四",
    "SFT|V^厂|1.0|系统|B1|说明|20260101",
)
MESSAGES = {
    "DFT^P03": CHARGE,
    "DFT^P11": CHARGE,
    "BAR^P01": CHARGE,
    "BAR^P06": CHARGE,
    "MDM^T02": DOCUMENT,
    "MDM^T10": DOCUMENT,
    "SIU^S12": VISIT_TIME,
    "SIU^S15": VISIT_TIME,
    "REF^I12": REFERRAL,
    "PPR^PC1": PLAN,
    "PGL^PC6": PLAN,
    "PPP^PCB": PLAN,
    "OMB^O27": BLOOD,
    "BTS^O31": BLOOD,
    "ADT^A01": CHART,
    "ADT^A17": CHART,
    "ADT^A24": CHART,
    "ADT^A31": CHART,
    "ADT^A40": CHART,
    "ADT^A45": CHART,
    "ADT^A50": CHART,
    "RSP^K22": CHART,
    "ORM^O01": LAB,
    "OML^O21": LAB,
    "OMG^O19": LAB,
    "ORU^R30": LAB,
    "RDE^O11": DRUG,
    "RDS^O13": DRUG,
    "RAS^O17": DRUG,
    "VXU^V04": VACCINE,
    "OUL^R22": (PID, *SPECIMEN),
    "OUL^R24": (PID, *SPECIMEN[3:], *SPECIMEN[:3]),
}
PIECE = st.one_of(
    st.sampled_from(["|", "^", "~", "&", "\\", "\r", '""', "\\X41\\", "20260231", "-0", "9" * 30, "1e400", "张", "𠮷"]),
    st.text(max_size=6),
)


def message(event: str, segments: list[str] | tuple[str, ...]) -> bytes:
    msh = rf"MSH|^~\&|LIS|EAST^1.2.156.1^ISO|HUB|R|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, *segments)).encode("utf-8", "replace")


def accept(content: bytes) -> Normalised | Refusal:
    """Valid resources, each id of a type once; or a refusal."""
    found = verdict(content, CONTEXT)
    if isinstance(found, Refusal):
        return found
    faults = [(one.type, check_structure(one.body)) for one in found.resources]
    assert [one for one in faults if one[1]] == []
    assert len({(one.type, one.id) for one in found.resources}) == len(found.resources)
    return found


def is_told(found: Normalised | Refusal) -> bool:
    """Whether resources came, or a refusal with a known reason."""
    return found.code in REASONS if isinstance(found, Refusal) else bool(found.resources)


@pytest.mark.parametrize("event", sorted(MESSAGES))
def test_whole_messages_of_every_kind_are_valid(event: str) -> None:
    found = accept(message(event, MESSAGES[event]))
    assert isinstance(found, Normalised)
    assert found.resources


@settings(max_examples=250, deadline=None)  # the first resource of a type compiles its checker
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_damaged_orders_are_converted_or_set_aside(event: str, data: st.DataObject) -> None:
    whole = "\r".join(MESSAGES[event])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole = whole[:at] + data.draw(PIECE) + whole[at + data.draw(st.integers(0, 12)) :]
    assert is_told(accept(message(event, [whole])))


@settings(max_examples=250, deadline=None)  # the first resource of a type compiles its checker
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_segments_in_any_order_or_number_are_converted_or_set_aside(event: str, data: st.DataObject) -> None:
    known = MESSAGES[event]
    drawn = data.draw(st.lists(st.sampled_from(known), max_size=2 * len(known)))
    assert is_told(accept(message(event, [PID, *drawn])))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.integers(0, 30), st.integers(0, 60))
def test_segments_that_end_early_are_converted_or_set_aside(event: str, at: int, fields: int) -> None:
    segments = list(MESSAGES[event])
    at %= len(segments)
    segments[at] = "|".join(segments[at].split("|")[: fields + 1])
    assert is_told(accept(message(event, segments)))
