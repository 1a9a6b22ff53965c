"""The suite's rules for orders, medications and vaccinations, from message to refusal."""

from __future__ import annotations

import pytest

from normalise.hl7v2 import convert
from quality.gate import Gate
from schemas.records import SourceContext

CONTEXT = SourceContext("s", "hospital-east", "Asia/Shanghai")
GIVEN = "RXA|0|1|{day}||0101^乙肝^NIP|0.5|mL"


def message(event: str, *segments: str) -> bytes:
    msh = rf"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, "PID|1||7^^^EAST^MR||张伟||20200101|M", *segments)).encode()


def test_rules_say_what_is_wrong_and_where() -> None:
    cases = {
        message("ORM^O01", "ORC|NW|P1"): ("quality:order-code", "ORC[1]"),
        message("ORM^O01", "ORC|OC|P1"): None,  # the end of an order that its number names
        message("ORM^O01", "ORC|NW|P1", "OBR|1|||C^血^L"): None,
        message("OMP^O09", "ORC|NW|P1", "RXO||1||片"): ("quality:medication-order-code", "RXO[1]"),
        message("OMP^O09", "ORC|NW|P1", "RXO|^阿莫西林|1||片"): None,
        message("VXU^V04", "ORC|RE||V1", GIVEN.format(day="20261130")): (
            "quality:vaccination-not-in-future",
            "RXA[1]-3",
        ),
        message("VXU^V04", "ORC|RE||V1", GIVEN.format(day="20261101")): None,
        message("VXU^V04", "ORC|RE||V1", "RXA|0|1|20261101"): ("quality:vaccine-code", "RXA[1]-5"),
        message("RDS^O13", "ORC|RE|P1", "RXD|1||20261101|1|片"): ("quality:medication-dispense-code", "RXD[1]"),
        message("RDS^O13", "ORC|RE|P1", "RXD|1|A1^药^L|20261101|1|片"): None,
        message("RAS^O17", "ORC|RE|P1", "RXA|0|1|20261101|||1|片"): ("quality:medication-given-code", "RXA[1]"),
        message("RAS^O17", "ORC|RE|P1", "RXA|0|1|20261130||A1^药^L|1|片"): (
            "quality:medication-given-not-in-future",
            "RXA[1]-3",
        ),
    }
    report = Gate("hl7v2").check([convert(content, CONTEXT) for content in cases])
    found = [(one[0].code, one[0].where) if one else None for one in report.refusals]
    assert found == list(cases.values())


@pytest.mark.parametrize(("day", "warned"), [("20191201", True), ("20200101", False)])
def test_vaccination_before_birth_is_only_counted(day: str, warned: bool) -> None:
    content = message("VXU^V04", "ORC|RE||V1", GIVEN.format(day=day))
    report = Gate("hl7v2").check([convert(content, CONTEXT)])
    assert report.passed == [0]
    assert ("quality:vaccination-not-before-birth" in {one.code for one in report.warnings[0]}) == warned


def test_an_earlier_document_may_be_named_by_its_number_though_the_message_does_not_hold_it() -> None:
    txa = "TXA|1|CN|TX|20261101083000||||||||D2|D1||||AU"
    made = convert(message("MDM^T09", "EVN||20261101083000", "PV1|1|O", txa), CONTEXT)
    (document,) = [one.body for one in made.resources if one.type == "DocumentReference"]
    assert document["relatesTo"][0]["target"]["identifier"]["value"] == "D1"
    assert Gate("hl7v2").check([made]).passed == [0]
