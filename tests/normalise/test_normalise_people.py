"""Names, addresses, telephones and identifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2.people import han_name

Bodies = Callable[..., list[dict[str, Any]]]
Build = Callable[..., bytes]


@pytest.mark.parametrize(
    ("whole", "divided"),
    [
        ("张伟", ("张", "伟")),
        ("张媈鑎", ("张", "媈鑎")),
        ("欧阳芳", ("欧阳", "芳")),
        ("司马相如", ("司马", "相如")),
        ("欧阳", ("欧", "阳")),
        ("阿卜杜热西提·买买提", None),
        ("才旦卓玛", None),
        ("Müller", None),
        ("张", None),
    ],
)
def test_chinese_names_divide_where_the_table_of_surnames_says(whole: str, divided: tuple[str, str] | None) -> None:
    assert han_name(whole) == divided


def patient(adt: Build, bodies: Bodies, *fields: str) -> dict[str, Any]:
    return bodies(adt("A08", "PID|" + "|".join(fields)), "Patient")[0]


def test_chinese_name_keeps_its_text(adt: Build, bodies: Bodies) -> None:
    name = patient(adt, bodies, "1", "", "7^^^EAST^MR", "", "欧阳小芳^^^^^^L^I")["name"][0]
    assert (name["text"], name["family"], name["given"], name["use"]) == ("欧阳小芳", "欧阳", ["小芳"], "official")
    assert name["extension"][0]["valueCode"] == "IDE"


def test_name_with_a_middle_dot_is_text_alone(adt: Build, bodies: Bodies) -> None:
    name = patient(adt, bodies, "1", "", "7^^^EAST^MR", "", "阿依古丽·买买提^^^^^^L")["name"][0]
    assert name == {"text": "阿依古丽·买买提", "use": "official"}


def test_western_name_has_all_its_parts(adt: Build, bodies: Bodies) -> None:
    name = patient(
        adt, bodies, "1", "", "7", "", "van Aniston&van&Aniston^Adam^B^III^Dr.^MD^M^^^20200101&20210101^^^^PhD"
    )["name"][0]
    assert name == {
        "family": "van Aniston",
        "given": ["Adam", "B"],
        "suffix": ["III", "MD", "PhD"],
        "prefix": ["Dr."],
        "use": "maiden",
        "period": {"start": "2020-01-01", "end": "2021-01-01"},
    }


def test_resident_identity_number_has_its_system(adt: Build, bodies: Bodies) -> None:
    numbers = patient(
        adt, bodies, "1", "", "7^^^EAST^MR~110101199003070038^^^公安部^NI~8^^^GA&2.16.156.10011.1.3&ISO^NI"
    )["identifier"]
    assert [one["system"] for one in numbers[1:]] == ["urn:oid:2.16.156.10011.1.3"] * 2
    assert numbers[1]["type"]["coding"][0]["code"] == "NI"


def test_assigner_known_by_name_alone_means_the_one_whose_oid_the_message_gives(adt: Build, bodies: Bodies) -> None:
    numbers = patient(adt, bodies, "1", "", "7^^^EAST^MR~8^^^OTHER^PI")["identifier"]
    assert numbers[0]["system"] == "urn:oid:1.2.156.1"  # MSH-4 says what EAST is
    assert numbers[1]["system"] == "urn:xinglin:hospital-east:ids:OTHER"
    assert numbers[1]["assigner"] == {"display": "OTHER"}


def test_chinese_address_is_written_from_the_province_down(adt: Build, bodies: Bodies) -> None:
    fields = [
        "1",
        "",
        "7",
        "",
        "张伟",
        "",
        "",
        "",
        "",
        "",
        "解放路1号2栋^天山区^乌鲁木齐市^新疆维吾尔自治区^830001^CHN^H",
    ]
    found = patient(adt, bodies, *fields)["address"][0]
    assert found["text"] == "新疆维吾尔自治区乌鲁木齐市天山区解放路1号2栋"
    assert (found["district"], found["line"], found["use"]) == ("天山区", ["解放路1号2栋"], "home")


@pytest.mark.parametrize(
    ("xtn", "value", "system", "use"),
    [
        ("^PRN^CP^^86^^13800000000", "+86 13800000000", "phone", "mobile"),
        ("(010)1234-5678", "(010)1234-5678", "phone", "home"),
        ("^WPN^PH^^86^10^12345678^9", "+86 10 12345678 X9", "phone", "work"),
        ("^NET^Internet^a@example.org", "a@example.org", "email", "home"),
        ("^^^b@example.org", "b@example.org", "email", "home"),
        ("^^FX^^^^^^^^^555 0100", "555 0100", "fax", "home"),
    ],
)
def test_telephones_are_one_value(adt: Build, bodies: Bodies, xtn: str, value: str, system: str, use: str) -> None:
    fields = ["1", "", "7", *[""] * 9, xtn]
    found = patient(adt, bodies, *fields)["telecom"][0]
    assert (found["value"], found["system"], found["use"]) == (value, system, use)


def test_deleted_elements_are_absent(adt: Build, bodies: Bodies) -> None:
    found = patient(adt, bodies, "1", "", "7", "", '""', '""', '""', '""')
    assert set(found) == {"resourceType", "id", "identifier"}


@pytest.mark.parametrize(
    ("sex", "gender"),
    [
        ("M", "male"),
        ("F", "female"),
        ("O", "other"),
        ("U", "unknown"),
        ("1", "male"),
        ("2^女性^GB/T 2261.1-2003", "female"),
        ("9^^GB/T 2261.1", "unknown"),
    ],
)
def test_sex_is_read_from_hl7_and_chinese_codes(adt: Build, bodies: Bodies, sex: str, gender: str) -> None:
    assert patient(adt, bodies, "1", "", "7", "", "张伟", "", "", sex)["gender"] == gender


def test_sex_that_is_no_code_is_left_out_with_a_note(adt: Build) -> None:
    from normalise.hl7v2 import convert
    from schemas.records import SourceContext

    found = convert(adt("A08", "PID|1||7||张伟|||gentleman"), SourceContext("s", "i", "Asia/Shanghai"))
    assert "gender" not in found.resources[0].body
    note = next(one for one in found.notes if one.where == "PID-8")
    assert note.code == "bad_value"
    assert "gentleman" not in note.message


def test_birth_time_stands_beside_the_birth_date(adt: Build, bodies: Bodies) -> None:
    found = patient(adt, bodies, "1", "", "7", "", "张伟", "", "199003070815")
    assert found["birthDate"] == "1990-03-07"
    assert found["_birthDate"]["extension"][0]["valueDateTime"] == "1990-03-07T08:15:00+08:00"
