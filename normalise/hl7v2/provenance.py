"""Where resources come from: one Provenance a patient a message, naming the segment of each.

Sources: HL7 v2-to-FHIR, MSH[Provenance-Source], MSH[Provenance-Transformation], EVN[Provenance], SCH[Provenance],
PID[Provenance-Patient], SFT[Device].
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.header import Reading
from normalise.hl7v2.message import Segment
from normalise.hl7v2.references import authority, named_organization, refer
from normalise.hl7v2.tables import MAPPING
from schemas.records import Resource

SEGMENT: Final = "urn:xinglin:fhir:StructureDefinition:segment"
_EVN: Final = mapper("EVN-Provenance")
_SCH: Final = mapper("SCH-Provenance")
_SFT: Final = mapper("SFT-Device")
_LAST: Final = mapper("PID-Provenance")
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def add_provenance(reading: Reading, building: Building) -> None:
    """Each patient of the message has a Provenance: who sent what, when, by which tables, from which segments.

    What is the institution's own (Practitioner, Location) stands in that of the first.
    """
    msh = reading.message.segments[0]
    building.at = msh
    author = (
        named_organization(msh.get(22), building) if msh.get(22) else authority(msh.get(4).partition("~")[0], building)
    )
    event = _event(reading, building)
    by_patient: dict[str, list[Body]] = {}
    own: list[Body] = []
    for resource in building.resources:
        if resource.type != "Provenance":
            targets = own if resource.patient is None else by_patient.setdefault(resource.patient, [])
            targets.append(_target(resource))
    if by_patient:
        next(iter(by_patient.values())).extend(own)
    application = text(msh.first(3))
    for patient, targets in by_patient.items():
        building.at, building.patient = msh, patient
        body = _provenance(reading, building, author, application, targets)
        body["agent"] += event.get("agent", [])
        body["entity"] += event.get("entity", [])
        building.add({**event, **body})


def _event(reading: Reading, building: Building) -> Body:
    """What EVN, SCH and SFT say of how the message came about."""
    event: Body = {}
    if (evn := reading.message.one("EVN")) is not None:
        _EVN.apply(evn, event, building)
    if (sch := reading.message.one("SCH")) is not None:
        _SCH.apply(sch, event, building)
    if reading.recorded:
        event.setdefault("occurredDateTime", reading.recorded)
    for sft in reading.message.all("SFT"):
        body = _SFT.apply(sft, {"resourceType": "Device"}, building)
        if "deviceName" not in body or "name" not in body["deviceName"][0]:
            continue
        if "value" not in body.get("version", [{"value": ""}])[0]:  # when it was installed, and not which version
            del body["version"]
        software = "software", *(text(sft.first(field)) for field in (1, 2, 3, 4))
        body["id"] = building.id_within("Device", *software)
        what = refer(building.add(body, "ensure", own=False), body["deviceName"][0]["name"])
        event.setdefault("entity", []).append({"role": "source", "what": what})
    return event


def add_last_update(pid: Segment, reading: Reading, building: Building) -> None:
    """PID-33 and 34: when and where the patient's record was last changed is a Provenance of the patient alone."""
    body = _LAST.apply(pid, {"resourceType": "Provenance"}, building)
    if "agent" not in body or "occurredDateTime" not in body:
        return
    body["id"] = building.id_within("Provenance", building.patient, "last update", body["occurredDateTime"])
    body["target"] = [{"reference": f"Patient/{building.patient}"}]
    building.add({**body, **({"recorded": reading.recorded} if reading.recorded else {"_recorded": _unknown()})})


def _target(resource: Resource) -> Body:
    extension = [{"url": SEGMENT, "valueString": resource.segment}]
    body = resource.body
    return {"reference": f"{body['resourceType']}/{body['id']}", "extension": extension}


def _unknown() -> Body:
    return {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}


def _provenance(
    reading: Reading, building: Building, author: Body | None, application: str, targets: list[Body]
) -> Body:
    event = reading.event
    scope = (building.context.source, application, reading.control_id, event.message, event.code)
    sender = author or {"identifier": {"value": building.institution}, "display": building.institution}
    system = f"urn:xinglin:{building.institution}:source:{building.context.source}:message"
    message = {"identifier": {"system": system, "value": reading.control_id}, "display": application or None}
    code = {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": event.code}
    return {
        "resourceType": "Provenance",
        "id": building.id_within("Provenance", building.patient, *scope),
        "target": targets,
        **({"recorded": reading.recorded} if reading.recorded else {"_recorded": _unknown()}),
        "activity": {"coding": [code], "text": f"{event.message}^{event.code}"},
        "agent": [
            {"type": {"coding": [{"system": _TYPES, "code": "author"}]}, "who": sender},
            {"type": {"coding": [{"system": _TYPES, "code": "assembler"}]}, "who": {"display": f"xinglin {MAPPING}"}},
        ],
        "entity": [{"role": "source", "what": {name: one for name, one in message.items() if one}}],
    }
