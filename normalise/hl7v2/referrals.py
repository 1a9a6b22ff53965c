"""Referrals: RF1, PRD and AUT of REF^I12 to I15 as ServiceRequest, PractitionerRole and ClaimResponse.

HL7 v2-to-FHIR has no map of them; the fields are HL7 v2.8.2 chapter 11, the elements FHIR R4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identifiers import entity
from normalise.hl7v2.message import Segment
from normalise.hl7v2.participation import in_role
from normalise.hl7v2.people import address, contact_point, one_line
from normalise.hl7v2.quantities import money, quantity
from normalise.hl7v2.references import coded_organization, refer
from normalise.hl7v2.results import order_scope
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_RF1: Final = mapper("RF1-ServiceRequest")
_WHO: Final = mapper("PRD-Practitioner")
_ROLE: Final = mapper("PRD-PractitionerRole")
_AUT: Final = mapper("AUT-ClaimResponse")
_REFERRAL: Final = {
    "coding": [{"system": "http://snomed.info/sct", "code": "3457005", "display": "Patient referral"}],
    "text": "Patient referral",
}
_ADJUDICATION: Final = "urn:xinglin:fhir:CodeSystem:adjudication"


class Referrals(Group):
    """RF1, PRD and AUT; they come before and after the PID, and so wait for the end of the message."""

    __slots__ = ("_authorisations", "_providers", "_referral")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._referral: Segment | None = None
        self._providers: list[Segment] = []
        self._authorisations: list[Segment] = []

    def rf1(self, segment: Segment) -> None:
        """What is referred."""
        self._referral = self._referral or segment

    def prd(self, segment: Segment) -> None:
        """Who refers, to whom, and who else cares."""
        self._providers.append(segment)

    def aut(self, segment: Segment) -> None:
        """What an insurer agreed to."""
        self._authorisations.append(segment)

    def ctd(self, segment: Segment) -> None:
        """How a provider is reached: what PRD says of him is kept, another contact of his is not."""
        self.scene.leave_out(segment)

    def close(self) -> None:
        """The message ends (its one patient begins with nothing read about him): the referral is whole."""
        if not self.scene.patient:
            return
        building = self.scene.building
        for segment in self._authorisations:
            add_authorisation(segment, building)
        if self._referral is not None or self._providers:
            add_referral(self._referral, self._providers, self.scene)
        self._referral, self._providers, self._authorisations = None, [], []

    READS: ClassVar[Mapping[str, Read]] = {"RF1": rf1, "PRD": prd, "CTD": ctd, "AUT": aut}


def add_referral(rf1: Segment | None, providers: list[Segment], scene: Scene) -> Body:
    """The ServiceRequest of an RF1 belongs to the message, with those who refer and are referred to."""
    building = scene.building
    body: Body = {"resourceType": "ServiceRequest", "intent": "order", "code": _REFERRAL}
    body["subject"] = subject(building)
    if rf1 is not None:
        _RF1.apply(rf1, body, building)
    if scene.reading.event.code == "I14":
        body["status"] = "revoked"
    body.setdefault("status", "active")
    number = (body.get("identifier") or [None])[0]
    alone = ("referral", building.control_id)
    body["id"] = derive("ServiceRequest", *order_scope(number, alone, building), "referral")
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    for segment in providers:
        who = _provider(segment, building)
        if who is None:
            continue
        if text(segment.first(1)) == "RP":
            body.setdefault("requester", who)
        elif who not in body.setdefault("performer", []):
            body["performer"].append(who)
    conditions = [refer(one.body) for one in building.resources if one.type == "Condition"]
    if conditions:
        body["reasonReference"] = conditions
    return building.add(body)


def _provider(prd: Segment, building: Building) -> Body | None:
    """A PRD: a person by number or name, in a role."""
    said = _WHO.apply(prd, {"resourceType": "Practitioner"}, building)
    role = _ROLE.apply(prd, {}, building)
    if organization := role.get("organization"):
        home, phone = address(prd.first_whole(11), building), contact_point(prd.first_whole(13), building)
        known = {"address": [home] if home else None, "telecom": [phone] if phone else None}
        building.complete(organization, {name: value for name, value in known.items() if value})
    number, name = said.get("identifier", [{}])[0], one_line(said["name"][0]) if "name" in said else ""
    if number or name:
        key = (number.get("system", ""), number["value"]) if number else ("name", name)
        said["id"] = building.id_of("Practitioner", *key) if number else building.id_within("Practitioner", *key)
        role["practitioner"] = refer(building.add(said, "ensure", own=False), name)
    return in_role(role, building)


def add_authorisation(aut: Segment, building: Building) -> None:
    """The ClaimResponse of an AUT belongs to the message: known by AUT-6, else by plan and period."""
    body: Body = {"resourceType": "ClaimResponse", "status": "active", "use": "preauthorization", "outcome": "complete"}
    body |= {"type": {"text": "Referral"}, "patient": subject(building)}
    _AUT.apply(aut, body, building)
    number = entity(aut.first_whole(6), building)
    key = (number.get("system", ""), number["value"]) if number else tuple(text(aut.first(n)) for n in (1, 2, 3, 4))
    body["id"] = building.id_within("ClaimResponse", building.patient, *key)
    body["insurer"] = _insurer(aut, building)
    body.setdefault("created", body.get("preAuthPeriod", {}).get("start", ""))
    if not body["created"]:
        building.note("required", 10, "Expected when it was authorised; the segment is left out.")
        return
    adjudicated = [
        {"category": {"coding": [{"system": _ADJUDICATION, "code": code, "display": name}]}, "value": found["value"]}
        for field, code, name in ((8, "requested", "Requested treatments"), (9, "authorised", "Authorised treatments"))
        if (found := quantity(text(aut.first(field)), {}))
    ]
    if adjudicated:
        body["item"] = [{"itemSequence": 1, "adjudication": adjudicated}]
    if amount := money(aut.first_whole(7)):
        benefit = {"system": "http://terminology.hl7.org/CodeSystem/adjudication", "code": "benefit"}
        body["total"] = [{"category": {"coding": [benefit]}, "amount": amount}]
    building.add(body)


def _insurer(aut: Segment, building: Building) -> Body:
    """AUT-2 and AUT-3: the company by its number and name."""
    company, name = aut.first_whole(2), text(aut.first(3))
    found = coded_organization(company if "^" in company or not name else f"{company}^{aut.first(3)}", building)
    return found or {"display": name or "unknown"}
