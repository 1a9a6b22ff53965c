"""People and organisations that take part: ROL and PRT, in what the segment before them is about.

Sources: HL7 v2-to-FHIR, ROL[Encounter-PractitionerRole], ROL[Patient-GeneralPractitioner], PRT[PractitionerRole],
PRT[Patient-GeneralPractitioner-Practitioner], PRT[Observation-Location]; the person stands for the PractitionerRole.
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment

_TABLES: Final = {
    "ROL": {type_: mapper(f"ROL-{type_}") for type_ in ("Patient", "Encounter", "Procedure")},
    "PRT": {
        type_: mapper(f"PRT-{type_}")
        for type_ in ("Patient", "Encounter", "Procedure", "Observation", "DiagnosticReport", "ServiceRequest")
    },
}
#: Where the table describes one element of the resource: its name, and what it cannot be without.
_ELEMENTS: Final = {"Encounter": ("participant", "individual"), "Procedure": ("performer", "actor")}
#: ROL-2 and PRT-2 of one who takes part no more: delete, unlink, cancel.
_TAKEN_BACK: Final = frozenset({"D", "DE", "UN", "UL", "X", "CA"})


def add_role(segment: Segment, about: tuple[Body, ...], building: Building) -> None:
    """Whoever takes part stands in the resources that the segment is about."""
    building.at = segment
    if text(segment.first(2)) in _TAKEN_BACK:
        building.note("structure", 2, "Somebody takes part no more; an ADT that replaces says so by itself; left out.")
        return
    for body in about:
        type_ = body["resourceType"]
        found = _TABLES[segment.id][type_].apply(segment, {}, building)
        if type_ in _ELEMENTS:
            element, needed = _ELEMENTS[type_]
            found = {element: [found]} if needed in found else {}
        add_to(body, found)


def takes_roles(segment: Segment, about: tuple[Body, ...]) -> bool:
    """Whether the tables say what the segment means there."""
    return bool(about) and all(body["resourceType"] in _TABLES[segment.id] for body in about)
