"""The independent corpora: Chinese messages right to the field, every stratum valid FHIR or a named refusal."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from normalise.errors import SetAside
from normalise.hl7v2 import convert, inspect
from normalise.hl7v2.charsets import decode
from normalise.hl7v2.message import Message, parse
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, SourceContext

pytestmark = pytest.mark.conformance
CONTEXT = SourceContext("corpora", "corpora", "Asia/Shanghai")
#: What a Chinese case says of itself: how the file was written, not what it says.
ABOUT_THE_FILE = {"declared_charset", "actual_encoding", "trap", "utf8_bom"}
#: What its maker knew and did not write into the message: the department's name, of which PV1-3 has the code alone.
NOT_SENT = {"department"}


def chinese(corpora: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((corpora / "hl7v2" / "zh").glob("*.hl7")):
        yield path, json.loads(path.with_suffix(".expected.json").read_bytes())


def only(found: Normalised, type_: str) -> dict[str, Any]:
    return next(one.body for one in found.resources if one.type == type_)


def test_all_chinese_messages_are_decoded_as_they_were_written(corpora: Path) -> None:
    count = 0
    for path, expected in chinese(corpora):
        text, note = decode(path.read_bytes(), "auto")
        message = parse(text)
        declared, actual = expected["declared_charset"], expected["actual_encoding"]
        wrong = bool(declared) and ("UTF-8" in declared) != (actual == "utf-8")
        assert (note is not None) == wrong, path.name
        assert _patient_of(message) == expected["patient"], path.name
        for said in _strings(expected):
            assert said in text.replace("\\T\\", "&").replace("\\F\\", "|").replace("\\S\\", "^").replace(
                "\\R\\", "~"
            ).replace("\\E\\", "\\") or said in (declared, actual), f"{path.name}: {said}"
        count += 1
    assert count == 48


def _patient_of(message: Message) -> dict[str, str]:
    pid = next(one for one in message.segments if one.id == "PID")
    numbers = {one.split("^")[4]: one.split("^")[0] for one in pid.get(3).split("~")}
    phone = pid.get(13).split("^")[6]
    sex, birth = pid.get(8), pid.get(7)
    return {"name": pid.first(5), "sex": sex, "birth": birth, "id": numbers["NI"], "mrn": numbers["MR"], "phone": phone}


def _strings(expected: dict[str, Any]) -> Iterator[str]:
    """What the message itself must say; type, trap and address are the maker's own words."""
    for name in ("diagnosis", "order", "vaccine"):
        yield from (str(one) for one in expected.get(name, {}).values())
    yield from (one["display"] for one in expected.get("observations", ()))
    yield from (one[part] for one in expected.get("charges", ()) for part in ("code", "name", "amount"))
    yield from (one for name in ("note", "merged_from", "text", "appointment") if (one := expected.get(name)))


def test_what_chinese_messages_do_not_say_is_in_none_of_their_texts(corpora: Path) -> None:
    """A department's name is in no message that is expected to have one: nothing can be read that was not sent."""
    count = 0
    for path, expected in chinese(corpora):
        text, _ = decode(path.read_bytes(), "auto")
        for name in NOT_SENT & expected.keys():
            assert expected[name] not in text, path.name
            count += 1
    assert count == 16


def test_chinese_messages_are_right_to_the_field(corpora: Path) -> None:
    count = 0
    for path, expected in chinese(corpora):
        found = convert(path.read_bytes(), CONTEXT)
        _check_patient(only(found, "Patient"), expected)
        compared = {"type", "control_id", "patient", "address", "nationality_code"}
        for name in expected.keys() & _CHECKS.keys():
            _CHECKS[name](found, expected[name])
            compared.add(name)
        assert found.facts["MSH-10"] == expected["control_id"]
        assert f"{found.facts['MSH-9.1']}_{found.facts['MSH-9.2']}" == expected["type"]
        assert expected.keys() - compared == ABOUT_THE_FILE | (NOT_SENT & expected.keys()), path.name
        count += 1
    assert count == 48


def _check_patient(patient: dict[str, Any], expected: dict[str, Any]) -> None:
    said = expected["patient"]
    numbers = {one["type"]["coding"][0]["code"]: one for one in patient["identifier"]}
    assert (numbers["MR"]["value"], numbers["MR"]["system"]) == (said["mrn"], "urn:oid:1.2.156.112600")
    assert (numbers["NI"]["value"], numbers["NI"]["system"]) == (said["id"], "urn:oid:2.16.156.10011.1.3")
    assert patient["name"][0]["text"] == said["name"]
    assert patient["gender"] == {"M": "male", "F": "female"}[said["sex"]]
    assert patient["birthDate"].replace("-", "") == said["birth"]
    assert patient["telecom"][0]["value"] == f"+86 {said['phone']}"
    assert patient["address"][0]["text"] == expected["address"]
    ethnic = next(one for one in patient["extension"] if one["url"].endswith("ethnic-group"))
    assert ethnic["valueCodeableConcept"]["coding"][0]["code"] == expected["nationality_code"]


def _check_diagnosis(found: Normalised, expected: dict[str, str]) -> None:
    coding = only(found, "Condition")["code"]["coding"][0]
    assert (coding["code"], coding["display"]) == (expected["code"], expected["display"])
    assert only(found, "Encounter")["diagnosis"][0]["condition"]["reference"].startswith("Condition/")


def _check_merge(found: Normalised, expected: str) -> None:
    merged = next(one.body for one in found.resources if one.type == "Patient" and one.body["active"] is False)
    assert (merged["identifier"][0]["value"], merged["identifier"][0]["system"]) == (expected, "urn:oid:1.2.156.112600")


def _check_observations(found: Normalised, expected: list[dict[str, Any]]) -> None:
    bodies = [one.body for one in found.resources if one.type == "Observation"]
    assert len(bodies) == len(expected)
    for body, said in zip(bodies, expected, strict=True):
        coding = body["code"]["coding"][0]
        assert (coding["code"], coding["display"], coding["system"]) == (
            said["loinc"],
            said["display"],
            "http://loinc.org",
        )
        assert (body["valueQuantity"]["value"], body["valueQuantity"]["code"]) == (said["value"], said["unit"])
        assert body["interpretation"][0]["coding"][0]["code"] == said["flag"]


def _check_note(found: Normalised, expected: str) -> None:
    assert [one.body["note"] for one in found.resources if "note" in one.body] == [[{"text": expected}]]


def _check_order(found: Normalised, expected: dict[str, str]) -> None:
    request = only(found, "ServiceRequest")
    coding = request["code"]["coding"][0]
    assert (coding["code"], coding["display"]) == (expected["code"], expected["display"])
    placer = next(one for one in request["identifier"] if one["type"]["coding"][0]["code"] == "PLAC")
    assert placer["value"] == expected["placer"]
    condition = only(found, "Condition")
    assert request["reasonReference"] == [{"reference": f"Condition/{condition['id']}"}]
    assert request["note"] == [{"text": "空腹；30天内未服用抗生素"}]
    assert (request["status"], request["intent"], request["priority"]) == ("active", "order", "routine")
    assert "DiagnosticReport" not in {one.type for one in found.resources}


def _check_vaccine(found: Normalised, expected: dict[str, str]) -> None:
    vaccination = only(found, "Immunization")
    coding = vaccination["vaccineCode"]["coding"][0]
    assert (coding["code"], coding["display"]) == (expected["code"], expected["display"])
    assert (vaccination["lotNumber"], vaccination["status"]) == (expected["lot"], "completed")
    assert vaccination["doseQuantity"] == {"value": 0.5, "unit": "毫升"}
    assert vaccination["manufacturer"]["display"] == "北京天坛生物"
    assert [one.body["name"] for one in found.resources if one.type == "Location"] == ["海淀区疾控中心", "接种点"]


def _check_charges(found: Normalised, expected: list[dict[str, str]]) -> None:
    items = [one.body for one in found.resources if one.type == "ChargeItem"]
    assert len(items) == len(expected)
    for item, said in zip(items, expected, strict=True):
        coding = item["code"]["coding"][0]
        assert (coding["code"], coding["display"]) == (said["code"], said["name"])
        assert item["quantity"]["value"] == int(said["qty"])
        assert Decimal(str(item["priceOverride"]["value"])) == Decimal(said["amount"])
        assert item["priceOverride"]["currency"] == "CNY"


def _check_text(found: Normalised, expected: str) -> None:
    data = [
        base64.b64decode(one["attachment"]["data"]).decode()
        for one in only(found, "DocumentReference")["content"]
        if "data" in one["attachment"]
    ]
    assert data == [expected]


def _check_appointment(found: Normalised, expected: str) -> None:
    assert [one["value"] for one in only(found, "Appointment")["identifier"]] == [expected]


_CHECKS = {
    "diagnosis": _check_diagnosis,
    "merged_from": _check_merge,
    "observations": _check_observations,
    "note": _check_note,
    "order": _check_order,
    "vaccine": _check_vaccine,
    "charges": _check_charges,
    "text": _check_text,
    "appointment": _check_appointment,
}


def single_messages(corpora: Path) -> Iterator[tuple[str, bytes]]:
    """Every message of every stratum, batches taken apart."""
    for path in sorted((corpora / "hl7v2").glob("*/*.hl7")):
        for number, content in enumerate(re.split(rb"[\r\n]+(?=MSH)", path.read_bytes()), 1):
            yield (
                f"{path.parent.name}/{path.name}#{number}",
                re.sub(rb"[\r\n]+[BF]TS\|.*", b"", content, flags=re.DOTALL),
            )


def stratum_of(name: str) -> str:
    """The stratum: of ms, the samples of another converter, every message is converted."""
    return name.partition("/")[0]


def test_every_message_is_valid_fhir_or_a_named_refusal(corpora: Path) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    converted = refused = whole = 0
    for name, content in single_messages(corpora):
        try:
            found = convert(content, CONTEXT)
        except SetAside as error:
            assert error.refusal.code in REASONS, name
            assert getattr(inspect(content, CONTEXT), "code", "") in (error.refusal.code, "control_id"), name
            refused += 1
            continue
        told = inspect(content, CONTEXT)
        assert told is None or (told.code == "control_id" and found.facts["MSH-10"] == ""), name
        for resource in found.resources:
            get_fhir_model_class(resource.type).model_validate(resource.body)
            assert check_structure(resource.body) is None, name
        converted += 1
        whole += stratum_of(name) == "ms"
    assert converted >= 470
    assert whole == 92
    assert refused > 0


def test_files_as_they_lie_cause_no_other_error(corpora: Path) -> None:
    for path in sorted((corpora / "hl7v2").glob("*/*.hl7")):
        try:
            convert(path.read_bytes(), CONTEXT)
        except SetAside as error:
            assert error.refusal.code in REASONS, path.name
