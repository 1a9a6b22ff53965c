"""The header: whose document it is, what it is, who answers for it (CDA R2 section 4.2)."""

from __future__ import annotations

import hashlib
from typing import Final

from normalise.cda import actors
from normalise.cda.engine import mapper
from normalise.cda.reading import Body, Reading
from normalise.cda.statements import own_id
from normalise.cda.tables import DOCUMENTS
from normalise.cda.tree import Node
from normalise.cda.values import assigned, instant_of, uri
from normalise.errors import set_aside
from normalise.ids import id_within
from normalise.patients import patient_id

_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def identity(root: Node, content: bytes) -> str:
    """Return what a document is known by: root and extension of its id, else a digest of its bytes."""
    own, extension = own_id(root)
    return f"{own}^{extension}" if own else f"sha256:{hashlib.sha256(content).hexdigest()}"


def template(root: Node) -> str:
    """Return the name of the document's kind by its templateIds (``documents.csv``), ``""`` where none is known."""
    names = (DOCUMENTS.get(one.get("root"), "") for one in reversed(root.all("templateId")))
    return next((one for one in names if one), "")


def patient(root: Node, reading: Reading) -> None:
    """The document's patient belongs to it, and is who everything in it is about.

    Raises:
        SetAside: ``required`` where nobody is named, ``structure`` where several are.
    """
    targets = root.all("recordTarget")
    roles = [one for target in targets if (one := target.first("patientRole")) is not None]
    if len(targets) > 1:
        where = f"{reading.where}/recordTarget[2]"
        raise set_aside("structure", where, f"One recordTarget was expected, {len(targets)} came; split the document.")
    if not roles:
        where = f"{reading.where}/recordTarget/patientRole"
        raise set_aside("required", where, "Whose document it is was expected and does not stand there; send it.")
    role = roles[0]
    with reading.at("recordTarget"):
        body = mapper("header/RecordTarget-Patient").apply(role, None, {"resourceType": "Patient"}, reading)
        # A root alone is that of an institution: it stands in all of its documents and names no patient.
        naming = [one for one in body.get("identifier", ()) if not one["value"].startswith("urn:oid:")]
        found = patient_id(naming, reading.institution)
        if found is None:
            raise set_aside(
                "required",
                f"{reading.where}/patientRole/id",
                "An id with an extension was expected, none came; send the record or identity number.",
            )
        reading.patient = body["id"] = found
        provider = role.first("providerOrganization")
        if provider is not None and (manager := actors.organization(provider, reading)) is not None:
            body["managingOrganization"] = manager
        reading.mention(body, own=True)
        person = role.first("patient")
        for guardian in person.all("guardian") if person is not None else ():
            actors.related_person(guardian, reading)


def composition(root: Node, reading: Reading) -> Body:
    """Return the Composition of the header alone, its sections to come; the people it names are added.

    Raises:
        SetAside: ``required`` where the document does not say what it is.
    """
    body: Body = {"resourceType": "Composition", "status": "final"}
    own, extension = own_id(root)
    body["id"] = id_within("Composition", reading.institution, reading.patient, own or reading.document, extension)
    body["subject"] = {"reference": f"Patient/{reading.patient}"}
    mapper("header/Document-Composition").apply(root, None, body, reading)
    name = template(root)
    if "type" not in body:
        if not (name or body.get("title")):
            raise set_aside("required", f"{reading.where}/code", "What kind of document it is was expected; send code.")
        reading.note("required", "What kind of document it is does not stand in its code; its title is kept.", "code")
        body["type"] = {"text": name or body["title"]}
    body.setdefault("title", body["type"].get("text") or name or "CDA document")
    if "date" not in body:
        reading.note("required", "When the document was made was expected and does not stand there.", "effectiveTime")
        body["_date"] = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    if "author" not in body:
        reading.note("required", "Who wrote the document was expected and does not stand there.", "author")
        body["author"] = [body.get("custodian", {"display": "unknown"})]
    encounter = _encounter(root, reading)
    if encounter is not None:
        body["encounter"] = encounter
    return body


def _encounter(root: Node, reading: Reading) -> Body | None:
    component = root.first("componentOf")
    node = component.first("encompassingEncounter") if component is not None else None
    if node is None:
        return None
    with reading.at("componentOf"):
        body: Body = {"resourceType": "Encounter", "subject": {"reference": f"Patient/{reading.patient}"}}
        mapper("header/Encompassing-Encounter").apply(node, None, body, reading)
        body["id"] = reading.statement_id("Encounter", *own_id(node))
        return reading.add(body)


def recorded(root: Node, reading: Reading) -> str:
    """Return when the document was made as an instant, ``""`` where it is not exact to the minute."""
    node = root.first("effectiveTime")
    found = instant_of(node, reading) if node is not None else None
    return (found.instant or "") if found is not None else ""


def relations(root: Node, reading: Reading) -> list[Body]:
    """Return Composition.relatesTo: which documents it replaces, completes or was made from."""
    found: list[Body] = []
    for related in root.all("relatedDocument"):
        code = {"RPLC": "replaces", "APND": "appends", "XFRM": "transforms"}.get(related.get("typeCode"))
        parent = related.first("parentDocument")
        own, extension = own_id(parent) if parent is not None else ("", "")
        if code and own:
            target = {"value": uri(own, reading.institution)}
            if extension:
                target = {"system": assigned(own, reading.institution), "value": extension}
            found.append({"code": code, "targetIdentifier": target})
    return found
