"""People, organisations, places and devices that a document mentions, each as a resource and the Reference to it.

They are the institution's own (no patient's) and only stored where nothing stands yet: a document that mentions a
doctor is no news about the doctor. Who has an id is known by it everywhere; who has none, by name in this document.
"""

from __future__ import annotations

from normalise.cda.engine import REFERENCES, mapper
from normalise.cda.names import one_line
from normalise.cda.reading import Body, Reading
from normalise.cda.tree import Node
from normalise.ids import id_of, id_within

_URI = "urn:ietf:rfc:3986"


def practitioner(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to who is assigned (AssignedEntity, AssignedAuthor), or to the organisation behind it."""
    body = mapper("header/Assigned-Practitioner").apply(node, None, {"resourceType": "Practitioner"}, reading)
    represented = node.first("representedOrganization") or node.first("sdtc:representedOrganization")
    employer = organization(represented, reading) if represented is not None else None
    device = node.first("assignedAuthoringDevice")
    if device is not None:
        return _authoring_device(node, device, employer, reading)
    if "name" not in body and "identifier" not in body:
        return employer
    body["id"] = _known(body, reading, one_line(body["name"][0]) if "name" in body else "")
    reference = reading.mention(body)
    _role(node, body, reference, employer, reading)
    if "name" in body:
        reference = {**reference, "display": one_line(body["name"][0])}
    return reference


def _role(node: Node, person: Body, reference: Body, employer: Body | None, reading: Reading) -> None:
    """A PractitionerRole, where the document says what somebody is or for whom."""
    role = mapper("header/Assigned-PractitionerRole").apply(node, None, {}, reading)
    if not role and employer is None:
        return
    body: Body = {"resourceType": "PractitionerRole", "practitioner": reference, **role}
    if employer is not None:
        body["organization"] = employer
    codes = str(sorted(one["code"] for each in role.get("code", ()) for one in each.get("coding", ())))
    place = employer["reference"] if employer is not None else ""
    body["id"] = id_within("PractitionerRole", reading.institution, person["id"], place, codes)
    reading.mention(body)


def _authoring_device(node: Node, device: Node, owner: Body | None, reading: Reading) -> Body | None:
    body = mapper("header/Authoring-Device").apply(node, device, {"resourceType": "Device"}, reading)
    if "identifier" not in body and "deviceName" not in body:
        return owner
    if owner is not None:
        body["owner"] = owner
    names = " ".join(one["name"] for one in body.get("deviceName", ()))
    body["id"] = _known(body, reading, names)
    return reading.mention(body)


def organization(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to an organisation (representedOrganization, custodian, scopingEntity …)."""
    body = mapper("header/Organization").apply(node, None, {"resourceType": "Organization"}, reading)
    if "name" not in body and "identifier" not in body:
        return None
    body["id"] = _known(body, reading, body.get("name", ""))
    whole = node.first("asOrganizationPartOf")
    above = whole.first("wholeOrganization") if whole is not None else None
    if above is not None and (part_of := organization(above, reading)) is not None:
        body["partOf"] = part_of
    reference = reading.mention(body)
    return {**reference, "display": body["name"]} if "name" in body else reference


def location(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to a place (ParticipantRole SDLOC, HealthCareFacility)."""
    body = mapper("header/Place-Location").apply(node, None, {"resourceType": "Location"}, reading)
    if body.keys() <= {"resourceType"}:
        return None
    body["id"] = _known(body, reading, body.get("name", "") or str(sorted(map(str, body.items()))))
    reference = reading.mention(body)
    return {**reference, "display": body["name"]} if "name" in body else reference


def device(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to a device of the patient's (Product Instance, ManufacturedProduct)."""
    body = mapper("header/Product-Device").apply(node, None, {"resourceType": "Device"}, reading)
    if body.keys() <= {"resourceType"}:
        return None
    first = next((one for one in node.all("id") if one.get("root")), None)
    body["id"] = reading.statement_id(
        "Device", first.get("root") if first is not None else "", first.get("extension") if first is not None else ""
    )
    body["patient"] = {"reference": f"Patient/{reading.patient}"}
    return reading.add(body)


def related_person(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to somebody near the patient (RelatedEntity, AssociatedEntity, Guardian)."""
    body = mapper("header/Related-RelatedPerson").apply(node, None, {"resourceType": "RelatedPerson"}, reading)
    if "name" not in body:
        return None
    body["patient"] = {"reference": f"Patient/{reading.patient}"}
    kind = str([one.get("coding") for one in body.get("relationship", ())])
    identity = [one["value"] for one in body.get("identifier", ())]
    body["id"] = id_within(
        "RelatedPerson", reading.institution, reading.patient, one_line(body["name"][0]), kind, *identity
    )
    return reading.mention(body, own=True)


def performer(node: Node, reading: Reading, _: str = "") -> Body | None:
    """Return the Reference to whoever a participation names: a person, an organisation, somebody near the patient."""
    for name in ("assignedEntity", "assignedAuthor", "associatedEntity", "relatedEntity", "intendedRecipient"):
        one = node.first(name)
        if one is not None:
            return related_person(one, reading) if name == "relatedEntity" else practitioner(one, reading)
    return None


def _known(body: Body, reading: Reading, name: str) -> str:
    """The id of somebody: by the first identifier that is one (with an extension), else by name in this document."""
    type_ = body["resourceType"]
    for one in body.get("identifier", ()):
        if one.get("system") != _URI:
            return id_of(type_, one.get("system", ""), one["value"], reading.institution)
    own = [one["value"] for one in body.get("identifier", ())]
    if own:  # a root alone is often that of an organisation and shared by its people
        return id_within(type_, reading.institution, own[0], name)
    return id_within(type_, reading.institution, reading.document, name)


REFERENCES.update(
    {
        "Practitioner": practitioner,
        "Organization": organization,
        "Location": location,
        "Device": device,
        "RelatedPerson": related_person,
        "performer": performer,
    }
)
