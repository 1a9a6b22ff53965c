"""People, organisations, places and things that a message mentions: each becomes a resource and a Reference.

Sources: HL7 v2-to-FHIR, XCN[Practitioner], XON[Organization], HD[Organization], PL[Location], CWE[Device], DLD, NDL.
They belong to the institution, not to the patient, and are only mentioned: mode ``ensure``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import concept, term_coding, wording
from normalise.hl7v2.escapes import components, text
from normalise.hl7v2.identifiers import entity, put_assigner, put_type
from normalise.hl7v2.memory import LIMIT, Copy, copier
from normalise.hl7v2.participation import in_role
from normalise.hl7v2.people import address, human_name, one_line
from normalise.hl7v2.times import moment

#: The levels of a PL from the widest to the narrowest, and the component (from 0) that names each.
_LEVELS: Final = (("facility", 3), ("building", 6), ("floor", 7), ("point of care", 0), ("room", 1), ("bed", 2))
_LEVEL_CODINGS: Final = {name: term_coding("LocationLevel", name) for name, _ in _LEVELS}


def remembered(
    kind: str, make: Callable[[str, Building], Body | None], *, lasting: Callable[[str], bool] | None = None
) -> Callable[[str, Building], Body | None]:
    """Return ``make``, run once a message for the same field: the doctor of forty results is one Practitioner.

    Args:
        kind: Tells fields of one text and different types apart.
        make: Adds resources to the message and returns the reference.
        lasting: Whether a field means the same in every message of the institution; then ``make`` runs once for all
            of them, and a copy of what it added is added to each. Staff and places only, never patients.
    """
    known: dict[tuple[str, str], Copy] = {}

    def reference(raw: str, building: Building) -> Body | None:
        found: Body | None
        here = (kind, raw)
        if here in building.remembered:
            return building.remembered[here]
        kept = known.get((raw, building.scope))
        if kept is not None:
            found, added = kept()
            for body in added:
                building.add(body, "ensure", own=False)
        elif lasting is not None and lasting(raw):
            found, added = building.watch(make, raw)
            if len(known) >= LIMIT:
                known.clear()
            known[raw, building.scope] = copier((found, added))
        else:
            found = make(raw, building)
        building.remembered[here] = found
        return found

    return reference


def refer(body: Body, display: str = "") -> Body:
    """Return a Reference to a resource of this message."""
    found: Body = {"reference": f"{body['resourceType']}/{body['id']}"}
    if display:
        found["display"] = display
    return found


def _practitioner(raw: str, building: Building) -> Body | None:
    parts = [*components(raw), *[""] * 14]
    name = human_name(raw, building, 1)
    line = one_line(name) if name else ""
    body: Body = {"resourceType": "Practitioner"}
    if parts[0]:
        number: Body = {"value": parts[0]}
        put_assigner(number, raw.split("^")[8] if raw.count("^") > 7 else "", building)
        put_type(number, parts[12], building)
        body["id"] = building.id_of("Practitioner", number.get("system", ""), parts[0])
        body["identifier"] = [number]
    elif line:
        body["id"] = building.id_within("Practitioner", "name", line)
    else:
        return None
    if name:
        body["name"] = [name]
    if parts[6]:
        body["qualification"] = [{"code": {"text": parts[6]}}]
    return refer(building.add(body, "ensure", own=False), line)


def _named_organization(raw: str, building: Building) -> Body | None:
    """An XON: the name, and the identifier of XON.10 or XON.3."""
    parts = [*components(raw), *[""] * 10]
    body: Body = {"resourceType": "Organization"}
    value = parts[9] or parts[2]
    if value:
        number: Body = {"value": value}
        put_assigner(number, raw.split("^")[5] if raw.count("^") > 4 else "", building)
        put_type(number, parts[6], building)
        body["id"] = building.id_of("Organization", number.get("system", ""), value)
        body["identifier"] = [number]
    elif parts[0]:
        body["id"] = building.id_within("Organization", "name", parts[0])
    else:
        return None
    if parts[0]:
        body["name"] = parts[0]
    return refer(building.add(body, "ensure", own=False), parts[0])


def _authority(raw: str, building: Building) -> Body | None:
    """An HD (its parts divided by ``^`` or ``&``): a facility by its name and its universal id."""
    parts = [*map(text, raw.replace("&", "^").split("^")), "", ""]
    system, name = building.assigner(parts[0], parts[1])
    if not system:
        return None
    body: Body = {"resourceType": "Organization", "id": building.id_of("Organization", "urn:ietf:rfc:3986", system)}
    body["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": system}]
    body["name"] = name or parts[1]
    return refer(building.add(body, "ensure", own=False), body["name"])


def _coded_organization(raw: str, building: Building) -> Body | None:
    """A CWE, CE or IS that names an organisation by a code."""
    parts = [*components(raw), "", ""]
    name = parts[1] or parts[0]
    if not name:
        return None
    body: Body = {"resourceType": "Organization", "name": name}
    body["id"] = building.id_within("Organization", "code", parts[2], parts[0] or name)
    if parts[0]:
        body["identifier"] = [{"value": parts[0]}]
    return refer(building.add(body, "ensure", own=False), name)


def _location(raw: str, building: Building) -> Body | None:
    """A PL: one Location a level, each part of the one before; the reference is to the narrowest."""
    sent = raw.split("^")
    parts = [text(part.partition("&")[0]) for part in sent] + [""] * 9
    inner: Body | None = None
    path: list[str] = []
    for level, place in _LEVELS:
        name = parts[place]
        if not name:
            continue
        path += [level, name]
        body: Body = {"resourceType": "Location", "id": building.id_within("Location", *path), "status": "active"}
        body |= {"name": name, "mode": "instance", "physicalType": {"coding": [_LEVEL_CODINGS[level].copy()]}}
        body["identifier"] = [{"value": name}]
        if universal := text(sent[place].partition("&")[2].partition("&")[0]):
            body["identifier"].append({"system": "urn:ietf:rfc:3986", "value": building.assigner("", universal)[0]})
        if inner:
            body["partOf"] = inner
        if level == _narrowest(parts) and parts[8]:
            body["description"] = parts[8]
        inner = refer(building.add(body, "ensure", own=False))
    if inner is None and parts[8]:
        body = {"resourceType": "Location", "id": building.id_within("Location", "description", parts[8])}
        return refer(building.add(body | {"name": parts[8]}, "ensure", own=False))
    return inner


def _narrowest(parts: list[str]) -> str:
    return next((level for level, place in reversed(_LEVELS) if parts[place]), "")


def _discharge(raw: str, building: Building) -> Body | None:
    """A DLD: where a patient was discharged to, a kind of place."""
    kind = concept(raw.partition("^")[0].replace("&", "^"), building)
    if kind is None:
        return None
    name = wording(kind)
    body: Body = {"resourceType": "Location", "id": building.id_within("Location", "discharged to", name)}
    return refer(building.add(body | {"name": name, "type": [kind]}, "ensure", own=False), name)


def _signatory(raw: str, building: Building) -> Body | None:
    """An NDL: a person whose name's parts are divided by ``&``, when and where; from some senders an XCN."""
    first = raw.partition("^")[0]
    if "&" not in first and "^" in raw:
        return practitioner(raw, building)
    parts = [*raw.split("^"), *[""] * 11]
    who = practitioner(first.replace("&", "^"), building)
    where = location("^".join((*parts[3:7], "", parts[8], parts[9], parts[10])), building)
    ends = [moment(text(part), building.zone) for part in parts[1:3]]
    period = {name: end.value for name, end in zip(("start", "end"), ends, strict=True) if end}
    said: Body = {"practitioner": who, "location": [where] if where else None, "period": period}
    return in_role(said, building)


def _facility(raw: str, building: Building) -> Body | None:
    """An HD as a place: a site by its name and its universal id."""
    parts = [*map(text, raw.replace("&", "^").split("^")), "", ""]
    if not (parts[0] or parts[1]):
        return None
    system, name = building.assigner(parts[0], parts[1])
    body: Body = {"resourceType": "Location", "id": building.id_of("Location", "urn:ietf:rfc:3986", system)}
    body |= {"status": "active", "name": name or parts[1], "mode": "instance"}
    body["physicalType"] = {"coding": [_LEVEL_CODINGS["facility"].copy()]}
    if parts[1]:
        body["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": system}]
    return refer(building.add(body, "ensure", own=False), body["name"])


def _addressed(raw: str, building: Building) -> Body | None:
    """An XAD of a place that has no other name."""
    found = address(raw, building)
    if found is None:
        return None
    parts = (*found.get("line", ()), *(str(found[name]) for name in ("city", "state", "postalCode") if name in found))
    name = str(found.get("text") or ", ".join(parts))
    body: Body = {"resourceType": "Location", "id": building.id_within("Location", "address", name)}
    return refer(building.add(body | {"name": name, "address": found}, "ensure", own=False), name)


def _device(raw: str, building: Building) -> Body | None:
    """An EI: a piece of equipment, by its number."""
    number = entity(raw, building)
    if number is None:
        return None
    id_ = building.id_of("Device", number.get("system", ""), number["value"])
    return refer(building.add({"resourceType": "Device", "id": id_, "identifier": [number]}, "ensure", own=False))


def _coded_device(raw: str, building: Building) -> Body | None:
    """A CWE that names equipment: its code, or both codes, and what it is called."""
    kind = concept(raw, building)
    if kind is None:
        return None
    codings = kind.get("coding", [])
    name = wording(kind)
    key = (codings[0].get("system", ""), codings[0]["code"]) if codings else ("", name)
    body: Body = {"resourceType": "Device", "id": building.id_within("Device", *key)}
    if codings:
        body["identifier"] = [
            {"value": one["code"], **({"system": one["system"]} if "system" in one else {})} for one in codings
        ]
    body["deviceName"] = [{"name": name, "type": "model-name"}]
    return refer(building.add(body, "ensure", own=False), name)


practitioner = remembered("XCN", _practitioner, lasting=lambda raw: raw.count("^") < 8 and len(raw) < 200)
named_organization = remembered("XON", _named_organization)
authority = remembered("HD", _authority)
coded_organization = remembered("CWE", _coded_organization)
location = remembered("PL", _location, lasting=lambda raw: len(raw) < 200)
facility = remembered("HD.location", _facility)
addressed = remembered("XAD", _addressed)
device = remembered("EI.device", _device)
coded_device = remembered("CWE.device", _coded_device)
discharge = remembered("DLD", _discharge)
signatory = remembered("NDL", _signatory)
REFERENCES: Final = {
    "XCN": practitioner,
    "XON": named_organization,
    "HD": authority,
    "CWE.organization": coded_organization,
    "IS.organization": coded_organization,
    "PL": location,
    "HD.location": facility,
    "XAD": addressed,
    "EI.device": device,
    "CWE.device": coded_device,
    "DLD": discharge,
    "NDL": signatory,
}
