"""People, organisations and equipment that take part: ROL and PRT, in what the segment before them is about.

Sources: HL7 v2-to-FHIR, ROL[Encounter-PractitionerRole], ROL[Patient-GeneralPractitioner], ROL[CareTeam],
PRT[PractitionerRole], PRT[Patient-GeneralPractitioner-Practitioner], PRT[CareTeam], PRT[Observation-Location],
PRT[Device]. Who takes part is a Practitioner, and a PractitionerRole where the segment tells more of him than the
element that names him can hold.
"""

from __future__ import annotations

from typing import Any, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import concept
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.participation import in_role
from normalise.hl7v2.people import address, contact_point
from normalise.hl7v2.references import device, refer
from normalise.hl7v2.visits import subject

_TABLES: Final = {
    "ROL": {type_: mapper(f"ROL-{type_}") for type_ in ("Patient", "Encounter", "Procedure")},
    "PRT": {
        type_: mapper(f"PRT-{type_}")
        for type_ in (
            "Patient",
            "Encounter",
            "Procedure",
            "Observation",
            "DiagnosticReport",
            "ServiceRequest",
            "ChargeItem",
            "DocumentReference",
            "Immunization",
            "MedicationAdministration",
            "MedicationDispense",
            "MedicationRequest",
        )
    },
}
_ROLES: Final = {id_: mapper(f"{id_}-PractitionerRole") for id_ in ("ROL", "PRT")}
_TEAMS: Final = {id_: mapper(f"{id_}-CareTeam") for id_ in ("ROL", "PRT")}
_DEVICE: Final = mapper("PRT-Device")
#: What FHIR gives no roles of its own: they are a care team's.
_TEAMED: Final = frozenset({"Condition", "Goal", "CarePlan"})
_TEAM: Final = "urn:xinglin:fhir:StructureDefinition:care-team"
#: Where the table describes one element of the resource: its name, and what it cannot be without.
_ELEMENTS: Final = {
    "Encounter": ("participant", "individual"),
    "Procedure": ("performer", "actor"),
    "ChargeItem": ("performer", "actor"),
    "MedicationDispense": ("performer", "actor"),
    "MedicationAdministration": ("performer", "actor"),
    "Immunization": ("performer", "actor"),
}
#: Whose performers may be equipment.
_EQUIPPED: Final = frozenset({"Procedure", "ChargeItem", "MedicationDispense", "MedicationAdministration"})
#: What such an element says of the role itself.
_SAID: Final = {"Encounter": frozenset({"code", "period"})}
#: ROL-2 and PRT-2 of one who takes part no more: delete, unlink, cancel.
_TAKEN_BACK: Final = frozenset({"D", "DE", "UN", "UL", "X", "CA"})
#: Whose address it is by XAD.7 (HL7 v2-to-FHIR, ROL-11): the place's, the organisation's, else the person's.
_PLACES: Final = frozenset({"M", "O", "S", "SH", "TM"})
_ORGANIZATIONS: Final = frozenset({"B", "BI", "L"})
#: PRT-23, the preferred way of contact, as the element of a ContactPoint that tells it.
_PREFERRED: Final = {
    "B": ("system", "pager"),
    "C": ("use", "mobile"),
    "E": ("system", "email"),
    "F": ("system", "fax"),
    "H": ("use", "home"),
    "O": ("use", "work"),
}
_PREFERENCE: Final = {"url": "http://hl7.org/fhir/StructureDefinition/iso21090-preferred", "valueBoolean": True}


def add_role(segment: Segment, about: tuple[Body, ...], building: Building) -> None:
    """Whoever takes part stands in the resources that the segment is about."""
    building.at = segment
    if text(segment.first(2)) in _TAKEN_BACK:
        building.note("structure", 2, "Somebody takes part no more; an ADT that replaces says so by itself; left out.")
        return
    role = _role(segment, building)
    who = role.get("practitioner") or role.get("organization")
    equipment = _add_device(segment, building) if segment.id == "PRT" else None
    for body in about:
        type_ = body["resourceType"]
        if type_ in _TEAMED:
            _join_team(segment, role, building, body)
        if type_ not in _TABLES[segment.id]:
            continue
        found = _TABLES[segment.id][type_].apply(segment, {}, building)
        if type_ == "Patient" and not found:
            _join_team(segment, role, building)
            continue
        if who is not None:
            said = in_role(role, building, beside=_SAID.get(type_, frozenset({"code"})))
            found = _replaced(found, who, said or who)
        if type_ in _ELEMENTS:
            element, needed = _ELEMENTS[type_]
            parts = [found] if needed in found else []
            if type_ in _EQUIPPED and equipment is not None:
                parts.append({needed: equipment})
            found = {element: parts} if parts else {}
        add_to(body, found)


def takes_roles(segment: Segment, about: tuple[Body, ...]) -> bool:
    """Whether the tables say what the segment means there."""
    return any(body["resourceType"] in _TEAMED | _TABLES[segment.id].keys() for body in about)


def _role(segment: Segment, building: Building) -> Body:
    """The elements of the PractitionerRole; the address stands in the person, the place or the organisation."""
    role = _ROLES[segment.id].apply(segment, {}, building)
    prt = segment.id == "PRT"
    raw = segment.first_whole(14 if prt else 11)
    home = address(raw, building) if raw else None
    if home:
        kind = text(raw.split("^")[6]) if raw.count("^") > 5 else ""
        if kind in _PLACES and not prt and "location" in role:
            building.complete(role["location"][0], {"address": home})
        elif kind in _ORGANIZATIONS and not prt and "organization" in role:
            building.complete(role["organization"], {"address": [home]})
        elif whose := role.get("practitioner") or role.get("organization"):
            building.complete(whose, {"address": [home]})
    unit = concept(segment.first_whole(7 if prt else 10), building)
    if unit and "organization" in role:
        building.complete(role["organization"], {"type": [unit]})
    if prt and (preferred := _PREFERRED.get(text(segment.first(23)))):
        for one in role.get("telecom", ()):
            if one.get(preferred[0]) == preferred[1]:
                one.setdefault("extension", []).append(dict(_PREFERENCE))
    return role


def _replaced(value: Any, plain: Body, role: Body) -> Any:
    """The same elements, with the role where the person stood."""
    if value == plain:
        return role
    if isinstance(value, dict):
        return {name: _replaced(inner, plain, role) for name, inner in value.items()}
    return [_replaced(one, plain, role) for one in value] if isinstance(value, list) else value


def _join_team(segment: Segment, role: Body, building: Building, of: Body | None = None) -> None:
    """Who cares for the patient, and is not the general practitioner, is in his care team.

    A problem, goal or pathway has a team of its own.
    """
    member = _TEAMS[segment.id].apply(segment, {}, building)
    who = role.get("practitioner") or role.get("organization")
    if "member" not in member or who is None:
        return
    said = in_role(role, building, beside=frozenset({"code", "period", "organization"}))
    member["member"] = said or who
    within = (of["resourceType"], of["id"]) if of is not None else ()
    team: Body = {"resourceType": "CareTeam", "id": building.id_within("CareTeam", building.patient, *within)}
    team |= {"status": "active", "subject": subject(building)}
    stored = building.find("CareTeam", team["id"]) or building.add(team)
    if of is not None:
        _link_team(of, stored)
    found: Body = {"participant": [member]}
    if segment.id == "ROL":
        if why := concept(segment.first_whole(8), building):
            found["reasonCode"] = [why]
        if phone := contact_point(segment.first_whole(12), building):
            found["telecom"] = [phone]
    add_to(stored, found)


def _link_team(of: Body, team: Body) -> None:
    if of["resourceType"] == "Condition":
        add_to(team, {"reasonReference": [refer(of)]})
    elif of["resourceType"] == "CarePlan":
        add_to(of, {"careTeam": [refer(team)]})
    else:
        add_to(of, {"extension": [{"url": _TEAM, "valueReference": refer(team)}]})


def _add_device(prt: Segment, building: Building) -> Body | None:
    """Equipment that took part, and the Reference to it: by PRT-10, else by its UDI of PRT-16."""
    known = device(prt.first_whole(10), building)
    body = _DEVICE.apply(prt, {}, building)
    if known is not None:
        building.complete(known, body)
    elif "udiCarrier" in body:
        id_ = building.id_of("Device", "udi", str(body["udiCarrier"][0]["deviceIdentifier"]))
        known = refer(building.add({"resourceType": "Device", "id": id_, **body}, "ensure", own=False))
    return known
