"""Observations: OBX of every message, and the notes of NTE.

Sources: HL7 v2-to-FHIR, OBX[Observation], NTE[Observation]; HL7 v2.8.2 chapters 2.15.10 and 7.4.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import free_text, text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.references import refer
from normalise.hl7v2.values import absent
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_OBX: Final = mapper("OBX-Observation")
_NTE: Final = mapper("NTE-Annotation")
_VALUES: Final = frozenset(
    f"value{kind}" for kind in ("Quantity", "CodeableConcept", "String", "Range", "Ratio", "Time", "DateTime", "Period")
) | {"component"}


def observe_patient(obx: Segment, building: Building, occurrences: dict[tuple[str, ...], int]) -> Body:
    """The result of an OBX without an order, as ADT sends height and weight, belongs to the patient."""
    scope = (building.institution, building.patient, building.encounter or "", text(obx.first(14)))
    body = observation_of(obx, building, scope, occurrences)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body)


def observe(
    obx: Segment,
    building: Building,
    scope: tuple[str, ...],
    occurrences: dict[tuple[str, ...], int],
    specimen: Body | None = None,
    about: str = "",
) -> Body | None:
    """The observation of an OBX that came along with something else belongs to the message, or None: it says nothing.

    Args:
        obx: The observation.
        building: The message.
        scope: What it is known within: the same code, OBX-4 and OBX-1 in it are the same observation.
        occurrences: How often each came there before.
        specimen: What it was observed on, or None.
        about: What words without OBX-3 are about, or ``""``.
    """
    body = observation_of(obx, building, scope, occurrences)
    if "code" not in body and about and says_something(body):
        building.note("required", 3, "Expected what was observed; written as what was ordered.")
        body["code"] = {"text": about}
    elif "code" not in body:
        building.note("required", 3, "Expected what was observed; the segment is left out.")
        return None
    if specimen is not None:
        body["specimen"] = refer(specimen)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body)


def note_of(nte: Segment, building: Building) -> Body | None:
    """Return the Annotation of an NTE: its repetitions are lines."""
    comment = "\n".join(free_text(one) for one in nte.get(3).split("~")).strip()
    return _NTE.apply(nte, {"text": comment}, building) if comment else None


def observation_of(
    obx: Segment, building: Building, scope: tuple[str, ...], occurrences: dict[tuple[str, ...], int]
) -> Body:
    """The Observation of an OBX. Its id: the order, OBX-3, OBX-4, and OBX-1 or else how often that came before."""
    what = _what(obx.fields)
    occurrences[what] = count = occurrences.get(what, 0) + 1
    id_ = derive("Observation", *scope, *what, *((str(count),) if count > 1 else ()))
    body: Body = {"resourceType": "Observation", "id": id_, "subject": subject(building)}
    _OBX.apply(obx, body, building)
    if "status" not in body:
        building.note("required", 11, "Expected a result status; written as unknown.")
        body["status"] = "unknown"
    if not says_something(body):
        body["dataAbsentReason"] = absent(text(obx.first(11)))
    return body


def _what(fields: list[str]) -> tuple[str, str, str, str]:
    """Code (or wording) and system of OBX-3, OBX-4 and OBX-1: what tells the results of one order apart."""
    if len(fields) < 5:
        fields = [*fields, "", "", "", ""]
    return *_named(fields[3]), fields[4], fields[1]


@lru_cache(maxsize=4096)
def _named(code: str) -> tuple[str, str]:
    parts = [*code.split("^", 3), "", ""]
    return parts[0].strip() or parts[1].strip(), parts[2].strip()


def says_something(body: Body) -> bool:
    """Whether an Observation has a value, be it a component or a document."""
    return not _VALUES.isdisjoint(body) or any("valueAttachment" in one for one in body.get("extension", ()))
