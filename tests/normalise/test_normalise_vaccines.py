"""Vaccinations of VXU^V04: RXA with its order, route, place and observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from schemas.records import SourceContext

Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||{number}^^^EAST^MR||张伟"
RXA = (
    "RXA|0|1|20261101||0101^乙肝^NIP|{amount}|mL||{notes}|D9^护^士|{place}||||LOT1|20270101|M1^厂^L|{refused}||{done}"
    "|{action}"
)
USUAL = {"amount": "0.5", "notes": "", "place": "", "refused": "", "done": "CP", "action": "A"}


def message(*segments: str, number: str = "7") -> bytes:
    msh = r"MSH|^~\&|CDC|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||VXU^V04|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, PID.format(number=number), *segments)).encode()


def rxa(**fields: str) -> str:
    return RXA.format(**(USUAL | fields))


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(found) == 1
    return found[0]


def test_vaccination_has_who_where_what_and_how_much(bodies: Bodies, context: SourceContext) -> None:
    content = message(
        "ORC|RE|P1|V1|||||||||D1^王^医", rxa(place="接种点^^^东院^^^^^路1号^^市"), "RXR|IM^肌内^HL70162|LA"
    )
    found = convert(content, context)
    vaccination = one(bodies(found, "Immunization"))
    assert (vaccination["occurrenceDateTime"], vaccination["status"]) == ("2026-11-01", "completed")
    assert vaccination["doseQuantity"] == {"value": 0.5, "unit": "mL"}
    assert (vaccination["lotNumber"], vaccination["expirationDate"]) == ("LOT1", "2027-01-01")
    roles = [performer["function"]["coding"][0]["code"] for performer in vaccination["performer"]]
    assert roles == ["OP", "AP"]
    assert vaccination["route"]["coding"][0]["code"] == "IM"
    assert [number["value"] for number in vaccination["identifier"]] == ["P1", "V1"]
    place = next(body for body in bodies(found, "Location") if body["name"] == "接种点")
    assert vaccination["location"]["reference"] == f"Location/{place['id']}"
    assert place["address"]["line"] == ["路1号"]
    assert bodies(found, "ServiceRequest") == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "completed"),
        ({"done": "PA"}, "completed"),
        ({"done": "RE"}, "not-done"),
        ({"done": "", "refused": "R1^拒绝^L"}, "not-done"),
        ({"action": "D"}, "entered-in-error"),
    ],
)
def test_status_says_whether_it_was_given(bodies: Bodies, fields: dict[str, str], status: str) -> None:
    assert one(bodies(message("ORC|RE||V1", rxa(**fields)), "Immunization"))["status"] == status


def test_origin_of_the_report_is_no_note(bodies: Bodies) -> None:
    own = one(bodies(message("ORC|RE||V1", rxa(notes="00^New^NIP001~^左臂红肿")), "Immunization"))
    told = one(bodies(message("ORC|RE||V1", rxa(notes="01^Historical^NIP001")), "Immunization"))
    assert (own["primarySource"], own["note"], "reportOrigin" in own) == (True, [{"text": "左臂红肿"}], False)
    assert (told["primarySource"], told["reportOrigin"]["coding"][0]["code"]) == (False, "01")


def test_unknown_amount_is_no_dose(bodies: Bodies) -> None:
    assert "doseQuantity" not in one(bodies(message("ORC|RE||V1", rxa(amount="999")), "Immunization"))


def test_record_of_no_vaccine_is_not_done(bodies: Bodies) -> None:
    """CVX 998 carries observations, such as a contraindication; nobody was vaccinated."""
    none = rxa().replace("0101^乙肝^NIP", "998^No vaccine administered^CVX")
    assert one(bodies(message("ORC|RE||V1", none), "Immunization"))["status"] == "not-done"


def test_observation_is_part_of_its_vaccination(bodies: Bodies, context: SourceContext) -> None:
    eligible = "OBX|1|CE|64994-7^eligibility^LN|1|V01^Not eligible^HL70064||||||F"
    found = convert(message("OBX|1|ST|1^过敏^L||无||||||F", "ORC|RE||V1", rxa(), eligible, "NTE|1||观察"), context)
    before, after = bodies(found, "Observation")
    vaccination = one(bodies(found, "Immunization"))
    assert "partOf" not in before
    assert after["partOf"] == [{"reference": f"Immunization/{vaccination['id']}"}]
    assert after["note"] == [{"text": "观察"}]
    assert vaccination["programEligibility"][0]["coding"][0]["code"] == "V01"


def test_the_same_number_of_two_children_is_not_one_vaccination(bodies: Bodies) -> None:
    """Senders give 9999 to whatever has no number (CDC guide): one child's record must never replace another's."""
    ids = {one(bodies(message("ORC|RE||9999", rxa(), number=child), "Immunization"))["id"] for child in "78"}
    assert len(ids) == 2


def test_correction_replaces_the_vaccination(bodies: Bodies) -> None:
    ids = {one(bodies(message("ORC|RE||V1", rxa(action=action)), "Immunization"))["id"] for action in "AUD"}
    assert len(ids) == 1


def test_order_without_a_vaccination_says_nothing_of_one(bodies: Bodies, context: SourceContext) -> None:
    found = convert(message("ORC|RE||V1", "ORC|RE||V2", rxa()), context)
    assert [body["identifier"][0]["value"] for body in bodies(found, "Immunization")] == ["V2"]
