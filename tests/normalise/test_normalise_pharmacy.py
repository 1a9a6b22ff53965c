"""Medications ordered, encoded, dispensed and given: RXO, RXE, RXD, RXA with their routes, mixtures and timing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from schemas.records import SourceContext

Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟"
RXO = "RXO|A1^阿莫西林^L|1|{max}|片|{form}||^饭后||G||14|盒|2"


def message(event: str, *segments: str) -> bytes:
    msh = rf"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, PID, *segments)).encode()


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(found) == 1
    return found[0]


def test_prescription_is_a_medication_request_and_no_service(bodies: Bodies, context: SourceContext) -> None:
    found = convert(message("OMP^O09", "ORC|NW|P1^HIS|||||||20261101|||D1^王^医", RXO.format(max="", form="")), context)
    request = one(bodies(found, "MedicationRequest"))
    assert (request["status"], request["intent"]) == ("active", "original-order")
    assert request["medicationCodeableConcept"]["text"] == "阿莫西林"
    dosage = one(request["dosageInstruction"])
    assert dosage["doseAndRate"] == [{"doseQuantity": {"value": 1, "unit": "片"}}]
    assert dosage["additionalInstruction"] == [{"text": "饭后"}]
    assert request["dispenseRequest"] == {"quantity": {"value": 14, "unit": "盒"}, "numberOfRepeatsAllowed": 2}
    assert request["substitution"]["allowedCodeableConcept"]["coding"][0]["code"] == "G"
    assert bodies(found, "ServiceRequest") == bodies(found, "Medication") == []


def test_dose_with_a_maximum_is_a_range(bodies: Bodies) -> None:
    request = one(bodies(message("OMP^O09", "ORC|NW|P1", RXO.format(max="2", form="")), "MedicationRequest"))
    low, high = {"value": 1, "unit": "片"}, {"value": 2, "unit": "片"}
    assert request["dosageInstruction"][0]["doseAndRate"] == [{"doseRange": {"low": low, "high": high}}]


def test_form_makes_the_medication_a_resource_of_its_own(bodies: Bodies, context: SourceContext) -> None:
    found = convert(message("OMP^O09", "ORC|NW|P1", RXO.format(max="", form="CAP^胶囊^L")), context)
    medication = one(bodies(found, "Medication"))
    reference = one(bodies(found, "MedicationRequest"))["medicationReference"]
    assert reference == {"reference": f"Medication/{medication['id']}", "display": "阿莫西林"}
    assert medication["form"]["text"] == "胶囊"


def test_mixture_has_bases_and_active_additives(bodies: Bodies) -> None:
    content = message(
        "OMP^O09", "ORC|NW|P1", "RXO|M1^补液^L|1||袋", "RXC|B|NS^盐水^L|100|mL", "RXC|A|KCL^氯化钾^L|10|mL"
    )
    base, additive = one(bodies(content, "Medication"))["ingredient"]
    assert (base["isActive"], base["itemCodeableConcept"]["text"]) == (False, "盐水")
    assert additive["strength"] == {"numerator": {"value": 10, "unit": "mL"}, "denominator": {"value": 1}}


def test_each_timing_is_a_dosage(bodies: Bodies) -> None:
    content = message(
        "OMP^O09",
        "ORC|NW|P1",
        "TQ1|1||QAM|0800",
        "TQ1|2||QPM|2000||||||疼痛时",
        RXO.format(max="", form=""),
        "RXR|PO^口服^HL70162",
    )
    morning, evening = one(bodies(content, "MedicationRequest"))["dosageInstruction"]
    assert (morning["sequence"], evening["sequence"]) == (1, 2)
    assert morning["timing"]["repeat"]["timeOfDay"] == ["08:00:00"]
    assert evening["timing"]["repeat"]["timeOfDay"] == ["20:00:00"]
    assert evening["additionalInstruction"] == [{"text": "疼痛时"}]
    assert morning["doseAndRate"] == evening["doseAndRate"]
    assert morning["route"]["coding"][0]["code"] == evening["route"]["coding"][0]["code"] == "PO"


def test_encoded_order_goes_back_to_the_prescription(bodies: Bodies) -> None:
    content = message(
        "RDE^O11", "ORC|NW|P1^HIS", RXO.format(max="", form=""), "RXE||A1^阿莫西林^L|1||片" + "|" * 10 + "RX9"
    )
    original, encoded = bodies(content, "MedicationRequest")
    assert (original["intent"], encoded["intent"]) == ("original-order", "filler-order")
    assert encoded["basedOn"] == [{"reference": f"MedicationRequest/{original['id']}"}]
    assert [number["value"] for number in encoded["identifier"]] == ["P1", "RX9"]
    assert original["id"] != encoded["id"]


def test_dispense_goes_back_to_the_order_and_the_prescription_number(bodies: Bodies, context: SourceContext) -> None:
    found = convert(
        message(
            "RDS^O13",
            "ORC|RE|P1",
            RXO.format(max="", form=""),
            "RXD|1|A1^阿莫西林^L|20261101090000|14|片||RX9||饭后服|D8^药^师" + "|" * 8 + "LOT1|20270101",
        ),
        context,
    )
    dispense, request = one(bodies(found, "MedicationDispense")), one(bodies(found, "MedicationRequest"))
    assert dispense["authorizingPrescription"][0]["identifier"]["value"] == "RX9"
    assert dispense["authorizingPrescription"][1] == {"reference": f"MedicationRequest/{request['id']}"}
    assert (dispense["status"], dispense["quantity"]) == ("completed", {"value": 14, "unit": "片"})
    assert dispense["whenHandedOver"] == "2026-11-01T09:00:00+08:00"
    assert one(bodies(found, "Medication"))["batch"] == {"lotNumber": "LOT1", "expirationDate": "2027-01-01"}


RXA = "RXA|0|1|{start}|{end}|A1^阿莫西林^L|250|mg|||D9^护^士||||||||{reason}||{done}|{action}"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"done": "CP"}, "completed"),
        ({"done": "PA"}, "completed"),
        ({"done": "RE", "reason": "R1^拒绝^L"}, "not-done"),
        ({"done": "NA"}, "not-done"),
        ({"done": "CP", "action": "D"}, "entered-in-error"),
        ({}, "completed"),
    ],
)
def test_administration_says_whether_it_was_given(bodies: Bodies, fields: dict[str, str], status: str) -> None:
    said = {"start": "20261101100000", "end": "", "reason": "", "done": "", "action": ""} | fields
    given = one(bodies(message("RAS^O17", "ORC|RE|P1", RXA.format(**said)), "MedicationAdministration"))
    assert given["status"] == status
    assert given["effectiveDateTime"] == "2026-11-01T10:00:00+08:00"
    assert given["dosage"]["dose"] == {"value": 250, "unit": "mg"}


def test_each_dose_given_is_an_administration_of_its_own(bodies: Bodies) -> None:
    said = {"end": "", "reason": "", "done": "CP", "action": ""}
    first, second = (RXA.format(start=f"2026110{day}100000", **said) for day in (1, 2))
    found = bodies(message("RAS^O17", "ORC|RE|P1", first, "RXR|PO", second, "RXR|PO"), "MedicationAdministration")
    assert len({body["id"] for body in found}) == 2
    assert [body["dosage"]["route"]["coding"][0]["code"] for body in found] == ["PO", "PO"]


def test_correction_of_a_dose_replaces_it(bodies: Bodies) -> None:
    said = {"start": "20261101100000", "end": "", "reason": "", "action": ""}
    before = bodies(message("RAS^O17", "ORC|RE|P1", RXA.format(done="CP", **said)), "MedicationAdministration")
    after = bodies(message("RAS^O17", "ORC|RE|P1", RXA.format(done="NA", **said)), "MedicationAdministration")
    assert one(before)["id"] == one(after)["id"]


@pytest.mark.parametrize(
    ("control", "status"), [("NW", "active"), ("CA", "active"), ("OC", "cancelled"), ("DC", "stopped")]
)
def test_control_code_says_the_status(bodies: Bodies, control: str, status: str) -> None:
    request = one(bodies(message("RDE^O11", f"ORC|{control}|P1", "RXE||A1^药^L|1||片"), "MedicationRequest"))
    assert request["status"] == status


def test_medication_that_is_not_named_is_unknown_with_a_note(bodies: Bodies, context: SourceContext) -> None:
    found = convert(message("OMP^O09", "ORC|NW|P1", "RXO||1||片"), context)
    assert "extension" in one(bodies(found, "MedicationRequest"))["medicationCodeableConcept"]
    assert ("required", "RXO[1]") in {(note.code, note.where) for note in found.notes}


def test_words_without_a_name_are_about_the_medication(bodies: Bodies) -> None:
    content = message("OMP^O09", "ORC|NW|P1", RXO.format(max="", form=""), "OBX|1|TX|||皮试阴性||||||F")
    observation = one(bodies(content, "Observation"))
    assert (observation["code"], observation["valueString"]) == ({"text": "阿莫西林"}, "皮试阴性")


def test_time_of_an_older_field_is_noted_by_that_field(context: SourceContext) -> None:
    found = convert(message("RDE^O11", "ORC|NW|P1||||| ^^^20269999".replace(" ", ""), "RXE||A1^药^L|1||片"), context)
    assert [note.where for note in found.notes if note.code == "bad_value"] == ["ORC[1]-7 as TQ1-7"]


def test_the_same_order_twice_has_its_dosage_once(bodies: Bodies) -> None:
    order = ("ORC|NW|P1|||||^BID", RXO.format(max="", form=""))
    request = one(bodies(message("OMP^O09", *order, *order), "MedicationRequest"))
    assert len(request["dosageInstruction"]) == 1
