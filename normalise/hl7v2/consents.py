"""Consents: CON of MDM, ADT and ORM as Consent.

HL7 v2-to-FHIR has no map of CON; the fields are HL7 v2.8.2 chapter 9.6.2, the elements FHIR R4 Consent.
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.people import human_name, one_line
from normalise.hl7v2.tables import Mode
from normalise.hl7v2.visits import subject

_CONSENTER: Final = mapper("CON-RelatedPerson")
#: CON-25 of the patient (HL7 table 0548).
_SELF: Final = frozenset({"1", "SEL"})
_CON: Final = mapper("CON-Consent")
_SCOPE: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/consentscope",
            "code": "patient-privacy",
            "display": "Privacy Consent",
        }
    ]
}


def add_consent(con: Segment, building: Building, mode: Mode) -> None:
    """The Consent of a CON belongs to the message: known by its number, else by type, form and time of the patient.

    It stays what a sender told: what the region itself may do is asked of the ledger, never of this resource.
    """
    body: Body = {"resourceType": "Consent", "scope": _SCOPE, "patient": subject(building)}
    _CON.apply(con, body, building)
    if "category" not in body:
        building.note("required", 2, "Expected a type of consent; the segment is left out.")
        return
    if "status" not in body:
        building.note("required", 11, "Expected a consent status; written as proposed.")
        body["status"] = "proposed"
    body.setdefault("policyRule", {"text": text(con.first(2, 2)) or text(con.first(2))})
    body["performer"] = [_consenter(con, building, mode)]
    number = tuple(text(con.first(field)) for field in (4, 3)) if text(con.first(4)) else ()
    key = number or tuple(text(con.first(field)) for field in (2, 3, 13))
    body["id"] = building.id_within("Consent", building.patient, *key)
    building.add(body, mode)


def _consenter(con: Segment, building: Building, mode: Mode) -> Body:
    """CON-24 and 25: who consented, the patient where nobody else is named."""
    name = human_name(con.first_whole(24), building)
    relationship = text(con.first(25))
    if name is None or relationship in _SELF:
        return {**subject(building), "display": one_line(name)} if name else subject(building)
    body: Body = {"resourceType": "RelatedPerson", "patient": subject(building)}
    _CONSENTER.apply(con, body, building)
    body["id"] = building.id_within("RelatedPerson", building.patient, "consenter", one_line(name), relationship)
    return {"reference": f"RelatedPerson/{building.add(body, mode)['id']}", "display": one_line(name)}
