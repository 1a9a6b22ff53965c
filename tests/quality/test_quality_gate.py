"""The gate over whole batches: who passes, who does not, why, where, and that nothing else happens."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from quality import Gate, GateReport
from quality.suite import load_suite
from schemas.reasons import sentence
from schemas.records import Normalised, Resource

TIME = "2026-06-01T08:00:00+08:00"
#: A day and a moment later: what no message can tell of yet.
LATE = "2026-06-02T08:00:01+08:00"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate("hl7v2")


def reference(body: dict[str, Any]) -> dict[str, str]:
    return {"reference": f"{body['resourceType']}/{body['id']}"}


def record(number: int = 1) -> dict[str, dict[str, Any]]:
    """The resources of a good result, by name."""
    patient: dict[str, Any] = {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [
            {"system": "urn:oid:1.2", "value": f"{number:08d}"},
            {"system": "urn:oid:2.16.156.10011.1.3", "value": "110108199606190893"},
        ],
        "name": [{"text": "黄明", "family": "黄", "given": ["明"]}],
        "gender": "male",
        "birthDate": "1996-06-19",
    }
    encounter = {
        "resourceType": "Encounter",
        "id": f"e{number}",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": reference(patient),
        "period": {"start": "2026-05-30T09:00:00+08:00", "end": "2026-05-31T09:00:00+08:00"},
    }
    observation = {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2823-3"}]},
        "subject": reference(patient),
        "effectiveDateTime": "2026-05-30T10:00:00+08:00",
        "valueQuantity": {"value": 4.1, "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
        "referenceRange": [{"low": {"value": 3.5}, "high": {"value": 5.3}}],
    }
    report = {
        "resourceType": "DiagnosticReport",
        "id": f"r{number}",
        "status": "final",
        "code": {"text": "电解质"},
        "subject": reference(patient),
        "result": [reference(observation)],
        "effectiveDateTime": "2026-05-30T10:00:00+08:00",
        "issued": "2026-05-30T12:00:00+08:00",
    }
    provenance = {
        "resourceType": "Provenance",
        "id": f"v{number}",
        "recorded": TIME,
        "target": [reference(report)],
        "agent": [{"who": {"display": "HIS"}}],
    }
    subject = reference(patient)
    order = {"resourceType": "ServiceRequest", "id": f"s{number}", "status": "active", "intent": "order"}
    sample = {"resourceType": "Specimen", "id": f"t{number}", "subject": subject, "receivedTime": "2026-05-30"}
    condition = {"resourceType": "Condition", "id": f"c{number}", "subject": subject, "onsetDateTime": "2026"}
    allergy = {"resourceType": "AllergyIntolerance", "id": f"a{number}", "patient": subject}
    procedure = {"resourceType": "Procedure", "id": f"q{number}", "status": "completed", "subject": subject}
    coverage = {"resourceType": "Coverage", "id": f"i{number}", "status": "active", "beneficiary": subject}
    return {
        "PID": patient,
        "PV1": encounter,
        "OBR[1]": report,
        "OBX[1]": observation,
        "MSH": provenance,
        "ORC": {**order, "subject": subject, "code": {"text": "电解质"}},
        "SPM[1]": {**sample, "collection": {"collectedDateTime": "2026-05-30T10:00:00+08:00"}},
        "DG1[1]": {**condition, "code": {"text": "高血压"}},
        "AL1[1]": {**allergy, "code": {"text": "青霉素"}},
        "PR1[1]": {**procedure, "code": {"text": "阑尾切除术"}, "performedDateTime": "2026-05-30"},
        "IN1[1]": {**coverage, "payor": [{"display": "医保"}], "period": {"start": "2026", "end": "2026"}},
    }


def normalised(parts: dict[str, dict[str, Any]]) -> Normalised:
    patient = parts["PID"]["id"] if "PID" in parts else None
    return Normalised(tuple(Resource(body, segment, patient) for segment, body in parts.items()))


def codes(report: GateReport, number: int = 0) -> list[tuple[str, str]]:
    return [(one.code.removeprefix("quality:"), one.where) for one in report.refusals[number]]


def warned(report: GateReport, number: int = 0) -> list[tuple[str, str]]:
    return [(one.code.removeprefix("quality:"), one.where) for one in report.warnings[number]]


def without_patient(parts: dict[str, dict[str, Any]]) -> None:
    origin = {**parts["MSH"], "target": [{"display": "x"}]}
    parts.clear()
    parts["MSH"] = origin


Change = Callable[[dict[str, dict[str, Any]]], Any]

REFUSED: list[tuple[str, Change, str]] = [
    ("patient-has-identifier", lambda r: r["PID"].pop("identifier"), "PID-3"),
    ("patient-identity-number", lambda r: r["PID"]["identifier"][1].update(value="110108199606190894"), "PID-3"),
    ("patient-birth-not-before-1880", lambda r: r["PID"].update(birthDate="1879"), "PID-7"),
    ("patient-birth-not-in-future", lambda r: r["PID"].update(birthDate="2026-06-04"), "PID-7"),
    ("patient-death-after-birth", lambda r: r["PID"].update(deceasedDateTime="1990-01-01"), "PID-29"),
    ("patient-death-not-in-future", lambda r: r["PID"].update(deceasedDateTime="2027-01-01"), "PID-29"),
    ("encounter-discharge-after-admission", lambda r: r["PV1"]["period"].update(end="2026-05-01"), "PV1-45"),
    ("encounter-admission-not-in-future", lambda r: r["PV1"].update(period={"start": "2026-06-05"}), "PV1-44"),
    ("encounter-has-patient", lambda r: r["PV1"].pop("subject"), "PID"),
    ("observation-code", lambda r: r["OBX[1]"].update(code={"coding": [{"system": LOINC}]}), "OBX[1]-3"),
    ("observation-answer", lambda r: r["OBX[1]"].pop("valueQuantity"), "OBX[1]-5"),
    ("observation-quantity-value", lambda r: r["OBX[1]"]["valueQuantity"].pop("value"), "OBX[1]-5"),
    ("observation-not-implausibly-low", lambda r: r["OBX[1]"]["valueQuantity"].update(value=0.041), "OBX[1]-5"),
    ("observation-not-implausibly-high", lambda r: r["OBX[1]"]["valueQuantity"].update(value=41), "OBX[1]-5"),
    ("observation-not-in-future", lambda r: r["OBX[1]"].update(effectiveDateTime=LATE), "OBX[1]-14"),
    ("report-code", lambda r: r["OBR[1]"].update(code={"coding": [{"display": "x"}]}), "OBR[1]-4"),
    ("report-has-patient", lambda r: r["OBR[1]"].pop("subject"), "PID"),
    ("report-not-in-future", lambda r: r["OBR[1]"].update(effectiveDateTime=LATE, issued=LATE), "OBR[1]-7"),
    ("reference-target-sent", lambda r: r["OBX[1]"].update(encounter={"reference": "Encounter/none"}), "OBX[1]"),
    ("order-code", lambda r: r["ORC"].update(code={"coding": [{"system": LOINC}]}), "ORC"),
    ("condition-code", lambda r: r["DG1[1]"].pop("code"), "DG1[1]-3"),
    ("condition-onset-not-in-future", lambda r: r["DG1[1]"].update(onsetDateTime=LATE), "DG1[1]-5"),
    ("allergy-code", lambda r: r["AL1[1]"].pop("code"), "AL1[1]-3"),
    ("procedure-code", lambda r: r["PR1[1]"].pop("code"), "PR1[1]-3"),
    ("procedure-not-in-future", lambda r: r["PR1[1]"].update(performedDateTime=LATE), "PR1[1]-5"),
    ("record-has-patient", without_patient, "PID"),
    ("record-has-provenance", lambda r: r.pop("MSH"), "MSH"),
    ("record-ids-differ", lambda r: r.update({"OBX[2]": r["OBX[1]"]}), "MSH"),
]  # fmt: skip
WARNED: list[tuple[str, Change, str]] = [
    ("patient-identity-birth-date", lambda r: r["PID"].update(birthDate="1996-06-20"), "PID-7"),
    ("patient-identity-sex", lambda r: r["PID"].update(gender="female"), "PID-8"),
    ("patient-name", lambda r: r["PID"].pop("name"), "PID-5"),
    ("patient-gender-sent", lambda r: r["PID"].pop("gender"), "PID-8"),
    ("encounter-class", lambda r: r["PV1"].update({"class": {"display": "x"}}), "PV1-2"),
    ("encounter-finished-has-end", lambda r: r["PV1"]["period"].pop("end"), "PV1-45"),
    ("observation-quantity-unit", lambda r: r["OBX[1]"].update(valueQuantity={"value": 4.1}), "OBX[1]-6"),
    ("observation-reference-range", lambda r: r["OBX[1]"]["referenceRange"][0]["low"].update(value=9), "OBX[1]-7"),
    ("observation-not-before-birth", lambda r: r["OBX[1]"].update(effectiveDateTime="1996-05"), "OBX[1]-14"),
    ("specimen-received-after-collection", lambda r: r["SPM[1]"].update(receivedTime="2026-05-01"), "SPM[1]"),
    ("coverage-period", lambda r: r["IN1[1]"]["period"].update(end="2025-01-01"), "IN1[1]-13"),
    ("report-has-content", lambda r: r["OBR[1]"].pop("result"), "OBR[1]"),
    ("report-issued-after-observation", lambda r: r["OBR[1]"].update(issued="2026-05-29T12:00:00Z"), "OBR[1]-22"),
]  # fmt: skip


def broken(change: Change, number: int) -> Normalised:
    parts = record(number)
    change(parts)
    return normalised(parts)


@pytest.fixture(scope="module")
def judged(gate: Gate) -> GateReport:
    """One batch of a good record, then every bad one, in order; the batch itself must not change."""
    cases = enumerate(REFUSED + WARNED, 1)
    batch = [normalised(record(0)), *(broken(change, number) for number, (_, change, _) in cases)]
    before = copy.deepcopy(batch)
    report = gate.check(batch)
    assert batch == before
    return report


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[one[0] for one in REFUSED])
def test_record_that_breaks_a_rule_is_set_aside_for_that_rule_alone(judged: GateReport, number: int) -> None:
    rule, _, where = REFUSED[number]
    assert codes(judged, number + 1) == [(rule, where)]


@pytest.mark.parametrize("number", range(len(WARNED)), ids=[one[0] for one in WARNED])
def test_record_that_only_warns_passes(judged: GateReport, number: int) -> None:
    rule, _, where = WARNED[number]
    place = 1 + len(REFUSED) + number
    assert warned(judged, place) == [(rule, where)]
    assert place in judged.passed


def test_others_of_the_batch_go_on_and_are_counted(judged: GateReport) -> None:
    total = 1 + len(REFUSED) + len(WARNED)
    assert judged.passed == [0, *range(1 + len(REFUSED), total)]
    assert judged.failed_share == pytest.approx(len(REFUSED) / total)
    assert {one.rule for one in judged.rules if one.failed} == {one[0] for one in REFUSED + WARNED}


#: Rules for orders, medications and vaccinations, which test_quality_orders.py breaks from the message on.
ORDERS = {
    "medication-dispense-code", "medication-given-code", "medication-given-not-in-future", "medication-order-code",
    "vaccination-not-before-birth", "vaccination-not-in-future", "vaccine-code",
}  # fmt: skip


def test_every_rule_of_the_suite_is_broken_above() -> None:
    broken = [*(one[0] for one in REFUSED + WARNED), *ORDERS]
    assert sorted(broken) == sorted(rule.id for rule in load_suite("hl7v2").rules)


def test_good_records_pass_without_a_word(gate: Gate) -> None:
    report = gate.check([normalised(record(number)) for number in range(50)])
    assert report.passed == list(range(50))
    assert not any(report.warnings)
    assert {one.failed for one in report.rules} == {0}


def test_what_the_sender_left_open_is_not_held_against_it(gate: Gate) -> None:
    """A date in the sender's day, a planned admission, a cancelled result, a value without LOINC code."""
    parts = record()
    parts["PID"].update(birthDate="2026-06-01", identifier=[{"value": "1"}])
    parts["PV1"].update(status="planned", period={"start": "2027"})
    parts["OBX[1]"].update(code={"text": "K"}, effectiveDateTime="2026-06-02")
    parts["OBX[1]"]["valueQuantity"].update(value=9999)
    parts["OBX[2]"] = {**parts["OBX[1]"], "id": "o2", "status": "cancelled"}
    del parts["OBX[2]"]["valueQuantity"]
    assert codes(gate.check([normalised(parts)])) == []


def test_fault_of_structure_is_told_in_the_senders_terms_and_without_echoes(gate: Gate) -> None:
    parts = record()
    parts["PID"]["gender"] = "M"
    (refusal,) = gate.check([normalised(parts)]).refusals[0]
    assert (refusal.code, refusal.where) == ("fhir_structure", "PID")
    assert refusal.message.startswith("Patient.gender: ")


def test_resource_without_an_id_is_set_aside(gate: Gate) -> None:
    parts = record()
    del parts["MSH"]["id"]
    assert codes(gate.check([normalised(parts)])) == [("fhir_structure", "MSH")]


def test_record_without_resources_is_set_aside(gate: Gate) -> None:
    assert [code for code, _ in codes(gate.check([Normalised(())]))] == ["record-has-patient", "record-has-provenance"]


def test_every_failing_row_of_a_large_batch_is_found(gate: Gate) -> None:
    """great-expectations shortens its lists of values; row numbers must come whole."""
    batch = []
    for number in range(1200):
        parts = record(number)
        if number % 3:
            parts["OBX[1]"]["valueQuantity"]["value"] = 41
        batch.append(normalised(parts))
    report = gate.check(batch)
    assert report.passed == list(range(0, 1200, 3))
    statistics = {one.rule: one for one in report.rules}
    high = statistics["observation-not-implausibly-high"]
    assert (high.rows, high.failed, high.records) == (1200, 800, 800)


def test_same_batch_gets_the_same_judgement_again(gate: Gate) -> None:
    bad = record()
    bad["OBX[1]"].pop("valueQuantity")
    batch = [normalised(record(2)), normalised(bad)]
    assert gate.check(batch) == gate.check(batch)


def test_every_code_has_a_sentence(gate: Gate) -> None:
    bad = record()
    bad["PID"]["gender"] = "M"
    bad["OBX[1]"].pop("valueQuantity")
    (refusals,) = gate.check([normalised(bad)]).refusals
    assert len(refusals) == 2
    assert all(sentence(one.code) for one in refusals)
