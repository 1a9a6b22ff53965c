"""The Chinese charges, documents and appointments of the corpora, right to the field."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import Normalised, SourceContext

pytestmark = pytest.mark.conformance
CONTEXT = SourceContext("corpora", "corpora", "Asia/Shanghai")


def messages(corpora: Path, type_: str) -> Iterator[tuple[str, dict[str, Any], Normalised]]:
    for path in sorted((corpora / "hl7v2" / "zh").glob(f"*-{type_}-*.hl7")):
        expected = json.loads(path.with_suffix(".expected.json").read_bytes())
        found = convert(path.read_bytes(), CONTEXT)
        assert found.facts["MSH-10"] == expected["control_id"]
        assert [fault for one in found.resources if (fault := check_structure(one.body))] == []
        check_patient(only(found, "Patient"), expected)
        yield path.name, expected, found


def bodies(found: Normalised, type_: str) -> list[dict[str, Any]]:
    return [one.body for one in found.resources if one.type == type_]


def only(found: Normalised, type_: str) -> dict[str, Any]:
    (body,) = bodies(found, type_)
    return body


def check_patient(patient: dict[str, Any], expected: dict[str, Any]) -> None:
    said = expected["patient"]
    numbers = {one["type"]["coding"][0]["code"]: one for one in patient["identifier"]}
    assert (numbers["MR"]["value"], numbers["NI"]["value"]) == (said["mrn"], said["id"])
    assert patient["name"][0]["text"] == said["name"]
    assert patient["gender"] == {"M": "male", "F": "female"}[said["sex"]]
    assert patient["birthDate"].replace("-", "") == said["birth"]
    assert patient["telecom"][0]["value"] == f"+86 {said['phone']}"
    assert patient["address"][0]["text"] == expected["address"]


def test_charges_keep_code_name_quantity_and_amount_to_the_cent(corpora: Path) -> None:
    count = 0
    for name, expected, found in messages(corpora, "DFT_P03"):
        charges = bodies(found, "ChargeItem")
        assert len(charges) == len(expected["charges"]), name
        for body, said in zip(charges, expected["charges"], strict=True):
            coding = body["code"]["coding"][0]
            assert (coding["code"], coding["display"]) == (said["code"], said["name"])
            assert Decimal(str(body["quantity"]["value"])) == Decimal(said["qty"])
            price, unit = body["priceOverride"], body["extension"][1]["valueMoney"]
            assert Decimal(str(price["value"])) == Decimal(said["amount"])
            assert places(price) == len(said["amount"].partition(".")[2])
            assert price["currency"] == "CNY"
            assert Decimal(str(unit["value"])) * Decimal(said["qty"]) == Decimal(said["amount"])
            assert body["subject"]["reference"] == f"Patient/{only(found, 'Patient')['id']}"
            assert body["context"]["reference"] == f"Encounter/{only(found, 'Encounter')['id']}"
        count += 1
    assert count == 5


def places(money: dict[str, Any]) -> int:
    """The decimal places that the sender wrote: the number's own, or the extension's where JSON drops zeros."""
    for one in money.get("_value", {}).get("extension", ()):
        return int(one["valueInteger"])
    return len(str(money["value"]).partition(".")[2])


def test_a_document_is_its_text_word_for_word(corpora: Path) -> None:
    count = 0
    for name, expected, found in messages(corpora, "MDM_T02"):
        document = only(found, "DocumentReference")
        (content,) = document["content"]
        assert base64.b64decode(content["attachment"]["data"]).decode() == expected["text"], name
        assert content["attachment"]["contentType"] == "text/plain; charset=utf-8"
        assert document["status"] == "current"
        assert document["masterIdentifier"]["value"].startswith("R")
        assert document["author"][0]["display"].startswith("欧阳")
        assert document["context"]["encounter"] == [{"reference": f"Encounter/{only(found, 'Encounter')['id']}"}]
        count += 1
    assert count == 2


def test_an_appointment_has_its_number_time_reason_and_service(corpora: Path) -> None:
    count = 0
    for name, expected, found in messages(corpora, "SIU_S12"):
        body = only(found, "Appointment")
        assert body["identifier"][0]["value"] == expected["appointment"], name
        assert (body["status"], body["minutesDuration"]) == ("booked", 30)
        assert body["start"] < body["end"]
        actors = [one["actor"] for one in body["participant"]]
        assert actors[0] == {"reference": f"Patient/{only(found, 'Patient')['id']}"}
        assert body["reasonCode"][0]["coding"][0] == {"code": "复诊", "display": "糖尿病复诊"}
        assert body["serviceType"][0]["coding"][0]["display"]
        count += 1
    assert count == 6
