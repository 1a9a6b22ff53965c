"""Consents: CON of MDM, ADT and ORM as Consent.

HL7 v2-to-FHIR has no map of CON; the fields are HL7 v2.8.2 chapter 9.6.2, the elements FHIR R4 Consent.
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import Mode
from normalise.hl7v2.visits import subject

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
    body["performer"] = [subject(building)]
    number = tuple(text(con.first(field)) for field in (4, 3)) if text(con.first(4)) else ()
    key = number or tuple(text(con.first(field)) for field in (2, 3, 13))
    body["id"] = building.id_within("Consent", building.patient, *key)
    building.add(body, mode)
