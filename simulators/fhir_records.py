"""What an invented hospital's FHIR server holds: patients, stays, diagnoses, results, and now and then a bad one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from simulators.people import patient, staff

Body = dict[str, Any]

#: When the server wrote its first resource; every next one a second later.
BEGAN: Final = datetime(2026, 1, 5, 0, 0, tzinfo=UTC)
#: One resource of each kind of trouble in so many patients.
_TROUBLE_EVERY: Final = 40
_LOINC: Final = "http://loinc.org"
_UCUM: Final = "http://unitsofmeasure.org"
_RESIDENT: Final = "urn:oid:2.16.156.10011.1.3"
_CLASS: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
#: LOINC, name, unit, and the range values are drawn from.
_MEASURED: Final = (
    ("8867-4", "心率", "/min", 55, 110),
    ("8310-5", "体温", "Cel", 36, 39),
    ("2345-7", "血糖", "mmol/L", 4, 12),
    ("718-7", "血红蛋白", "g/L", 95, 165),
)
_DIAGNOSES: Final = (("I10", "原发性高血压"), ("E11", "2型糖尿病"), ("J18.9", "肺炎"), ("K29.5", "慢性胃炎"))


def stamp(at: datetime) -> str:
    """Return a FHIR instant."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def resources(seed: int, patients: int, day: int = 0) -> Iterator[tuple[Body, str]]:
    """Yield resources without ``meta``, each with the reason for which it must be set aside, ``""`` for a right one."""
    for one in range(2):
        yield {**_organization(one)}, ""
        yield {**_practitioner(seed, one)}, ""
    for number in range(day * patients, (day + 1) * patients):
        chance = random.Random(f"fhir {seed} {number}")
        right = [_patient(seed, number), _encounter(number, chance), _condition(number, chance)]
        right += [_observation(number, order, chance) for order in range(3)]
        yield from ((body, "") for body in right)
        if number % _TROUBLE_EVERY == 0:
            for order, (reason, spoil) in enumerate(TROUBLES):
                bad = spoil(_observation(number, 0, random.Random(f"fhir {seed} {number}")))
                yield {**bad, "id": f"bad-{number}-{order}"}, reason


def expected(seed: int, patients: int, day: int = 0) -> tuple[int, Counter[str]]:
    """Return how many resources of ``resources`` are right, and the reasons of the others."""
    reasons = Counter(reason for _, reason in resources(seed, patients, day))
    right = reasons.pop("", 0)
    return right, reasons


def _organization(number: int) -> Body:
    return {
        "resourceType": "Organization",
        "id": f"org-{number}",
        "identifier": [{"system": "urn:oid:1.2.156.112699.9", "value": f"DEPT{number}"}],
        "name": ("内科", "检验科")[number],
    }


def _practitioner(seed: int, number: int) -> Body:
    code, name = staff(seed, number)
    return {
        "resourceType": "Practitioner",
        "id": f"dr-{number}",
        "identifier": [{"system": "urn:oid:1.2.156.112699.8", "value": code}],
        "name": [{"text": name}],
    }


def _patient(seed: int, number: int) -> Body:
    who = patient(seed, number)
    return {
        "resourceType": "Patient",
        "id": f"p-{number}",
        "identifier": [
            {"type": {"coding": [{"system": _TYPES, "code": "MR"}]}, "system": "urn:oid:1.2.156.112699.7",
             "value": f"F{number:07d}"},
            {"system": _RESIDENT, "value": who.identity},
        ],
        "name": [{"text": who.name}],
        "gender": "male" if who.sex == "M" else "female",
        "birthDate": who.born.isoformat(),
        "telecom": [{"system": "phone", "value": who.phone}],
    }  # fmt: skip


def _encounter(number: int, chance: random.Random) -> Body:
    start = BEGAN - timedelta(days=chance.randrange(1, 200))
    return {
        "resourceType": "Encounter",
        "id": f"e-{number}",
        "status": "finished",
        "class": {"system": _CLASS, "code": chance.choice(("AMB", "IMP"))},
        "subject": {"reference": f"Patient/p-{number}"},
        "serviceProvider": {"reference": "Organization/org-0"},
        "period": {"start": stamp(start), "end": stamp(start + timedelta(hours=chance.randrange(1, 90)))},
    }


def _condition(number: int, chance: random.Random) -> Body:
    code, name = chance.choice(_DIAGNOSES)
    return {
        "resourceType": "Condition",
        "id": f"c-{number}",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code, "display": name}]},
        "subject": {"reference": f"Patient/p-{number}"},
        "encounter": {"reference": f"Encounter/e-{number}"},
    }


def _observation(number: int, order: int, chance: random.Random) -> Body:
    code, name, unit, low, high = _MEASURED[(number + order) % len(_MEASURED)]
    return {
        "resourceType": "Observation",
        "id": f"o-{number}-{order}",
        "status": "final",
        "code": {"coding": [{"system": _LOINC, "code": code, "display": name}]},
        "subject": {"reference": f"Patient/p-{number}"},
        "encounter": {"reference": f"Encounter/e-{number}"},
        "performer": [{"reference": "Practitioner/dr-1"}],
        "effectiveDateTime": stamp(BEGAN - timedelta(minutes=chance.randrange(1, 300_000))),
        "valueQuantity": {
            "value": round(chance.uniform(low, high), 1), "unit": unit, "system": _UCUM, "code": unit,
        },
    }  # fmt: skip


def _without_code(body: Body) -> Body:
    return {key: value for key, value in body.items() if key != "code"}


def _with_reason_beside_value(body: Body) -> Body:
    return {**body, "dataAbsentReason": {"text": "设备故障"}}


def _of_a_practitioner(body: Body) -> Body:
    return {**body, "subject": {"reference": "Medication/m-1"}}


def _negated(body: Body) -> Body:
    url = "http://hospital.example.org/fhir/StructureDefinition/not-done"
    return {**body, "modifierExtension": [{"url": url, "valueBoolean": True}]}


def _next_century(body: Body) -> Body:
    return {**body, "effectiveDateTime": "2126-01-01T00:00:00Z"}


#: Reason for which it must be set aside, and what makes a right observation bad.
TROUBLES: Final[tuple[tuple[str, Callable[[Body], Body]], ...]] = (
    ("fhir_structure", _without_code),
    ("fhir_invariant", _with_reason_beside_value),
    ("fhir_reference", _of_a_practitioner),
    ("fhir_modifier", _negated),
    ("quality:observation-not-in-future", _next_century),
)
