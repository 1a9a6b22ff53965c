"""Accidents, disabilities and deaths: ACC, DB1 and PDA as Observation, Condition and Procedure.

HL7 v2-to-FHIR has no map of them; the fields are HL7 v2.8.2 chapters 3.4.12 (DB1), 3.4.14 (PDA) and 6.5.9 (ACC).
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import term_coding
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import Mode
from normalise.hl7v2.visits import code_key, subject

_ACC: Final = mapper("ACC-Observation")
_DISABLED: Final = mapper("DB1-Observation")
_NUMBER: Final = mapper("DB1-Patient")
_CAUSE: Final = mapper("PDA-Condition")
_AUTOPSY: Final = mapper("PDA-Procedure")
_DEATH: Final = mapper("PDA-Observation")
#: The fields of ACC that are yes or no, and what they answer.
_ANSWERS: Final = ((5, "job-related"), (6, "death"), (10, "police-notified"))


def _coded(name: str) -> Body:
    coding = term_coding("Incident", name)
    return {"coding": [coding], "text": coding["display"]}


def add_accident(acc: Segment, building: Building, mode: Mode) -> None:
    """The Observation of an ACC belongs to the message: what happened, where and when; ACC-13 or its time names it."""
    body: Body = {"resourceType": "Observation", "status": "final", "code": _coded("accident")}
    body["subject"] = subject(building)
    _ACC.apply(acc, body, building)
    answers = [
        {"code": _coded(name), "valueCodeableConcept": {"coding": [term_coding("YesNo", said)]}}
        for field, name in _ANSWERS
        if (said := text(acc.first(field)).upper()) in ("Y", "N")
    ]
    if answers:
        body["component"] = answers
    if len(body) < 5:
        building.note("required", 1, "Expected when or what happened; the segment is left out.")
        return
    number = body.get("identifier", [{}])[0]
    key = (number.get("system", ""), number["value"]) if number else (text(acc.first(1)), text(acc.first(8)))
    body["id"] = building.id_within("Observation", building.patient, "accident", *key)
    _within(body, building)
    building.add(body, mode)


def add_disability(db1: Segment, patient: Body, building: Building, mode: Mode) -> None:
    """The Observation of a DB1 about the patient belongs to the message, and its number to the patient."""
    building.at = db1
    if text(db1.first(2)) not in ("PT", ""):
        building.note("structure", 2, "The disability of somebody else than the patient is left out.")
        return
    add_to(patient, _NUMBER.apply(db1, {}, building))
    body: Body = {"resourceType": "Observation", "status": "final", "code": _coded("disability")}
    body["subject"] = subject(building)
    _DISABLED.apply(db1, body, building)
    if len(body) > 4:
        key = (text(db1.first(3)), text(db1.first(5)))
        body["id"] = building.id_within("Observation", building.patient, "disability", *key)
        building.add(body, mode)


def add_death(pda: Segment, building: Building, mode: Mode) -> None:
    """What a PDA says belongs to the message: the causes of death, its certificate and the autopsy."""
    building.at = pda
    for raw in filter(None, pda.get(1).split("~")):
        alone = Segment("PDA", ["PDA", raw, *pda.fields[2:]], pda.label)
        body: Body = {"resourceType": "Condition", "subject": subject(building)}
        _CAUSE.apply(alone, body, building)
        if "code" in body:
            body["id"] = building.id_within("Condition", building.patient, "cause of death", *code_key(body["code"]))
            body["clinicalStatus"] = {"coding": [term_coding("Incident", "ended")]}
            body["category"] = [_coded("cause of death")]
            _within(body, building)
            building.add(body, mode)
    body = {"resourceType": "Observation", "status": "final", "code": _coded("death"), "subject": subject(building)}
    _DEATH.apply(pda, body, building)
    if len(body) > 4:
        body["id"] = building.id_within("Observation", building.patient, "death")
        building.add(_within(body, building), mode)
    _add_autopsy(pda, building, mode)


def _add_autopsy(pda: Segment, building: Building, mode: Mode) -> None:
    """PDA-6 to 9: whether an autopsy was made, by whom and when, and whether the coroner was asked."""
    made = text(pda.first(6)).upper()
    body: Body = {"resourceType": "Procedure", "code": _coded("autopsy"), "subject": subject(building)}
    body["status"] = "completed" if made == "Y" else "not-done" if made == "N" else "unknown"
    _AUTOPSY.apply(pda, body, building)
    if made or len(body) > 4:
        body["id"] = building.id_within("Procedure", building.patient, "autopsy")
        building.add(_within(body, building), mode)


def _within(body: Body, building: Building) -> Body:
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return body
