"""A field that says who the patient is must be readable; elsewhere what cannot be read is a note and no more."""

from __future__ import annotations

import pytest

from normalise.hl7v2 import convert
from quality import Gate
from schemas.records import SourceContext

CONTEXT = SourceContext("lis", "lab", "Asia/Shanghai")
MESSAGE = (
    "MSH|^~\\&|LIS|A|ESB|B|20260328164515+0800||ORU^R01|Z3|P|2.5.1\r"
    "PID|1||005^^^A^MR||Zhang^San||{birth}|M\r"
    "OBR|1|P1|F1|718-7^HGB^LN|||20260328164515+0800|||||||||||||||20260328164515+0800|||F\r"
    "OBX|1|NM|718-7^HGB^LN||{value}|g/L|||||F\r"
)


@pytest.mark.parametrize(
    ("birth", "value", "expected"),
    [
        ("19800101", "140", []),
        ("1980XX01", "140", [("bad_value", "PID-7")]),
        ("", "140", []),
        ("19800101", "see remark", []),
    ],
)
def test_an_unreadable_birth_date_sets_the_record_aside_and_names_the_field(
    birth: str, value: str, expected: list[tuple[str, str]]
) -> None:
    made = convert(MESSAGE.format(birth=birth, value=value).encode(), CONTEXT)
    found = Gate("hl7v2").check([made]).refusals[0]
    assert [(one.code, one.where) for one in found] == expected
    assert not any("1980" in one.message for one in found)


def test_a_word_in_a_numeric_result_is_kept_as_it_came() -> None:
    made = convert(MESSAGE.format(birth="19800101", value="see remark").encode(), CONTEXT)
    observation = next(one.body for one in made.resources if one.type == "Observation")
    assert observation["valueString"] == "see remark"
