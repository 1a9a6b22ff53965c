"""FHIR structure of one resource: what is refused, where, and in what words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from quality.structure import MAX_DEPTH, check_structure

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "hb-1",
    "status": "final",
    "category": [{"coding": [{"system": "http://loinc.org", "code": "LP6244-4"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}], "text": "血红蛋白"},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-01-01T10:00:00+08:00",
    "issued": "2026-01-01T10:00:00.123Z",
    "valueQuantity": {"value": 135, "unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"},
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"text": "欧阳䶮", "family": "欧阳", "given": ["䶮"]}],
    "gender": "female",
    "birthDate": "1960-02-29",
}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown element", {"colour": "red"}, "Observation"),
    ("wrong type", {"valueQuantity": {"value": "135"}}, "Observation.valueQuantity.value"),
    ("boolean for a number", {"valueQuantity": {"value": True}}, "Observation.valueQuantity.value"),
    ("not a number", {"valueQuantity": {"value": float("nan")}}, "Observation.valueQuantity.value"),
    ("number of 65 bits", {"valueQuantity": {"value": 2**64}}, "Observation.valueQuantity.value"),
    ("infinite", {"valueQuantity": {"value": float("inf")}}, "Observation.valueQuantity.value"),
    ("array for one", {"subject": [{"reference": "Patient/p1"}]}, "Observation.subject"),
    ("one for an array", {"category": {"text": "x"}}, "Observation.category"),
    ("30 February", {"effectiveDateTime": "2024-02-30"}, "Observation.effectiveDateTime"),
    ("29 February of a common year", {"effectiveDateTime": "1900-02-29"}, "Observation.effectiveDateTime"),
    ("time without an offset", {"effectiveDateTime": "2026-01-01T10:00:00"}, "Observation.effectiveDateTime"),
    ("time without seconds", {"effectiveDateTime": "2026-01-01T10:00+08:00"}, "Observation.effectiveDateTime"),
    ("hour 24", {"effectiveDateTime": "2026-01-01T24:00:00Z"}, "Observation.effectiveDateTime"),
    ("date for an instant", {"issued": "2026-01-01"}, "Observation.issued"),
    ("line after a date", {"effectiveDateTime": "2026-01-01\n"}, "Observation.effectiveDateTime"),
    ("code outside a required value set", {"status": "done"}, "Observation.status"),
    ("comparator of no set", {"valueQuantity": {"comparator": "="}}, "Observation.valueQuantity.comparator"),
    ("two values", {"valueString": "x"}, "Observation"),
    ("empty text", {"code": {"text": ""}}, "Observation.code.text"),
    ("white space", {"code": {"text": " \u3000"}}, "Observation.code.text"),
    ("empty array", {"note": []}, "Observation.note"),
    ("empty object", {"subject": {}}, "Observation.subject"),
    ("null", {"encounter": None}, "Observation.encounter"),
    ("id with a space", {"id": "a b"}, "Observation.id"),
    ("id of 65", {"id": "a" * 65}, "Observation.id"),
    ("contained of no type", {"contained": [{"id": "x"}]}, "Observation.contained[0]"),
    ("fault in contained", {"contained": [{**PATIENT, "gender": "F"}]}, "Observation.contained[0].gender"),
    ("extension without url", {"extension": [{"valueString": "x"}]}, "Observation.extension[0]"),
    ("bad base64", {"note": [{"text": "x", "authorString": "y", "extension": [
        {"url": "urn:x", "valueBase64Binary": "..."}]}]},
        "Observation.note[0].extension[0].valueBase64Binary"),
    ("name that is no text", {7: "x"}, "Observation"),  # type: ignore[dict-item]
]  # fmt: skip


@pytest.mark.parametrize(("change", "where"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_fault_is_refused_at_its_element_and_nothing_is_changed(change: dict[str, Any], where: str) -> None:
    body = {**OBSERVATION, **change}
    before = copy.deepcopy(body)
    refusal = check_structure(body)
    assert refusal is not None
    assert (refusal.code, refusal.where) == ("fhir_structure", where)
    assert repr(body) == repr(before)


@pytest.mark.parametrize("name", ["status", "code"])
def test_missing_required_element_is_named(name: str) -> None:
    refusal = check_structure({key: value for key, value in OBSERVATION.items() if key != name})
    assert refusal is not None
    assert name in f"{refusal.where} {refusal.message}"


def test_required_primitive_may_be_absent_with_a_reason() -> None:
    url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
    reason = {"extension": [{"url": url, "valueCode": "unknown"}]}
    body = {**{key: value for key, value in OBSERVATION.items() if key != "status"}, "_status": reason}
    assert check_structure(body) is None
    assert check_structure({**body, "_status": {"id": "x"}}) is not None


def test_gap_in_an_array_of_primitives_needs_an_extension_in_its_place() -> None:
    extension = {"extension": [{"url": "urn:x", "valueCode": "masked"}]}
    name = {"given": ["䶮", None], "_given": [None, extension]}
    assert check_structure({**PATIENT, "name": [name]}) is None
    for twin in ({}, {"_given": [extension, None]}, {"_given": [extension]}):
        refusal = check_structure({**PATIENT, "name": [{"given": ["䶮", None], **twin}]})
        assert refusal is not None
        assert refusal.where == "Patient.name[0]"


@pytest.mark.parametrize("date", ["2026", "2026-12", "2000-02-29", "2024-02-29", "0001-01-01", "9999-12-31"])
def test_dates_of_the_calendar_are_accepted(date: str) -> None:
    assert check_structure({**PATIENT, "birthDate": date}) is None


@pytest.mark.parametrize("time", ["2016-12-31T23:59:60Z", "2026-01-01T00:00:00-12:00", "2026-01-01T00:00:00.1+14:00"])
def test_times_of_the_standard_are_accepted(time: str) -> None:
    assert check_structure({**OBSERVATION, "effectiveDateTime": time, "issued": time}) is None


@pytest.mark.parametrize(
    "body", [{}, [], None, "Patient", {"resourceType": None}, {"resourceType": "Resource"},
             {"resourceType": "DomainResource"}, {"resourceType": "HumanName"}, {"resourceType": "Kevin"},
             {"resourceType": "ObservationComponent"}, {"resourceType": ["Patient"]}]
)  # fmt: skip
def test_what_is_no_resource_is_refused(body: Any) -> None:
    refusal = check_structure(body)
    assert refusal is not None
    assert refusal.where == "resourceType"


def test_messages_hold_no_value_and_no_unknown_name() -> None:
    secret = "ZhangSan110108199606190893"
    for change in (
        {secret: "x"},
        {"status": secret},
        {"issued": secret},
        {"subject": {secret: 1}},
        {"resourceType": secret},
        {"contained": [{"resourceType": secret}]},
        {"valueQuantity": {"value": secret}},
    ):
        refusal = check_structure({**OBSERVATION, **change})
        assert refusal is not None
        assert secret not in f"{refusal.where} {refusal.message}"


def test_nesting_without_end_is_refused_not_followed() -> None:
    extension: dict[str, Any] = {"url": "urn:x", "valueString": "y"}
    for _ in range(2000):
        extension = {"url": "urn:x", "extension": [extension]}
    body = dict(OBSERVATION)
    for _ in range(MAX_DEPTH + 5):
        body = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": body}]}
    for deep in ({**OBSERVATION, "extension": [extension]}, body):
        refusal = check_structure(deep)
        assert refusal is not None
        assert len(refusal.where) < 1000


TWIN = {"extension": [{"url": "urn:why", "valueCode": "unknown"}]}


@pytest.mark.parametrize(
    ("extension", "where"),
    [
        ({"url": "u"}, None),
        ({"url": "u", "valueString": "a"}, None),
        ({"url": "u", "_valueString": TWIN}, None),
        ({"_url": TWIN, "valueString": "a"}, None),
        ({"url": "u", "valueString": 7}, "Patient.extension[0].valueString"),
        ({"url": "u", "valueString": "a", "valueCode": "b"}, "Patient.extension[0]"),
        ({"valueString": "a"}, "Patient.extension[0]"),
        ({}, "Patient.extension[0]"),
        ({"url": "u", "?value": "a"}, "Patient.extension[0]"),
        (
            {"url": "u", "extension": [{"url": "v", "valueQuantity": {"value": "x"}}]},
            "Patient.extension[0].extension[0].valueQuantity.value",
        ),
    ],
)
def test_an_extension_has_a_url_and_at_most_one_value(extension: dict[str, Any], where: str | None) -> None:
    fault = check_structure({"resourceType": "Patient", "extension": [extension]})
    assert (fault.where if fault else None) == where
