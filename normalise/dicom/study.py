"""ImagingStudy, its order and where its pixels lie (PS3.3 C.7.2, C.7.3; FHIR R4 ImagingStudy, mapping to DICOM).

One ImagingStudy a study and source. Objects come one by one, in any order, again and late; none of them may push
another out of the list of series. So who lists is the manifest, which the connector makes of the archive's own index
whenever that has changed: it replaces the list (``update``). A single object only ensures that the study stands, with
itself as the one member it can vouch for, and is overruled by the manifest (docs/decisions/0210-imaging.md).
"""

from __future__ import annotations

from typing import Final

from normalise.dicom.dataset import Item
from normalise.dicom.reading import SERIES, STUDY, Reading
from normalise.dicom.values import DCM, Body, concept, is_oid, moment, oid
from normalise.ids import local_uri

ACCESSION: Final = 0x00080050
MODALITY: Final = 0x00080060
_EVIDENCE: Final = 0x0040A375
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_MANIFEST: Final = ("DCM", "113030")
_UID_SYSTEM: Final = "urn:dicom:uid"
#: SOPClassUID where an archive's index does not tell it: the root of DICOM's own classes.
_UNKNOWN_CLASS: Final = "1.2.840.10008"
_SNOMED: Final = "http://snomed.info/sct"
_SIDES: Final = {
    "L": ("419161000", "Unilateral left"),
    "R": ("419465000", "Unilateral right"),
    "B": ("51440002", "Bilateral"),
}


def is_manifest(reading: Reading) -> bool:
    """Whether the object lists all of its study (113030, DCM), as the connector's manifests and XDS-I.b's do."""
    title = reading.item.first(0x0040A043)
    return (
        reading.kind == "key_objects"
        and title is not None
        and (title.text(0x00080102), title.text(0x00080100)) == _MANIFEST
    )


def add_study(reading: Reading) -> str:
    """The ImagingStudy stands, with its order, its referrer and its endpoint; returns the reference to it."""
    item, complete = reading.item, is_manifest(reading)
    body: Body = {
        "resourceType": "ImagingStudy",
        "id": reading.id_within("ImagingStudy", reading.source, reading.study),
        "identifier": [{"system": _UID_SYSTEM, "value": _uri(reading.study)}],
        "status": "available",
        "subject": {"reference": f"Patient/{reading.patient}"},
    }
    if accession := _accession(item, reading):
        body["identifier"].append(accession)
        body["basedOn"] = [{"reference": add_order(accession, reading)}]
    if started := reading.moment(0x00080020, 0x00080030):
        body["started"] = started
    if referrer := reading.practitioners(0x00080090, 0x00080096):
        body["referrer"] = referrer[0]
    if interpreters := reading.practitioners(0x00081060, 0x00081062):
        body["interpreter"] = interpreters
    if description := item.text(0x00081030):
        body["description"] = description
    if procedures := [one for code in item.items(0x00081032) if (one := concept(code))]:
        body["procedureCode"] = procedures
    body["endpoint"] = [{"reference": _endpoint(reading)}]
    series = _listed(reading) if complete else [_own(reading)]
    modalities = [one["modality"] for one in series if "modality" in one]
    body["modality"] = [one for at, one in enumerate(modalities) if one not in modalities[:at]]
    if complete:
        body["numberOfSeries"] = len(series)
        body["numberOfInstances"] = sum(len(one.get("instance", ())) for one in series)
    body["series"] = series
    body = {name: value for name, value in body.items() if value}
    return reading.add(body, STUDY, "update" if complete else "ensure")


def _uri(uid: str) -> str:
    return oid(uid) if is_oid(uid) else uid


def _accession(item: Item, reading: Reading) -> Body | None:
    requested = item.first(0x00400275)
    value = item.text(ACCESSION) or (requested.text(ACCESSION) if requested else "")
    if not value:
        return None
    found: Body = {"type": {"coding": [{"system": _TYPES, "code": "ACSN"}]}, "value": value}
    issuer = item.first(0x00080051)
    if issuer and (local := issuer.text(0x00400031) or issuer.text(0x00400032)):
        found["system"] = local_uri(reading.institution, "assigner", local)
    return found


def add_order(accession: Body, reading: Reading) -> str:
    """The order stands; returns the reference to it. It is the patient's: numbers are given twice by mistake."""
    item = reading.item
    requested = item.first(0x00400275) or item
    issuer = accession.get("system", "")
    body: Body = {
        "resourceType": "ServiceRequest",
        "id": reading.id_within("ServiceRequest", "accession", issuer, accession["value"], reading.patient),
        "identifier": [accession],
        "status": "unknown",
        "intent": "order",
        "subject": {"reference": f"Patient/{reading.patient}"},
    }
    for tag, type_ in ((0x00402016, "PLAC"), (0x00402017, "FILL")):
        if value := requested.text(tag) or item.text(tag):
            body["identifier"].append({"type": {"coding": [{"system": _TYPES, "code": type_}]}, "value": value})
    code = concept(requested.first(0x00321064)) or concept(item.first(0x00321064))
    text = requested.text(0x00321060) or item.text(0x00321060) or requested.text(0x00400007) or item.text(0x00081030)
    if code or text:
        body["code"] = code or {"text": text}
    if requesters := reading.practitioners(0x00321032, 0x00321031) or reading.practitioners(0x00080090, 0x00080096):
        body["requester"] = requesters[0]
    if reason := requested.text(0x00401002):
        body["reasonCode"] = [{"text": reason}]
    return reading.add(body, ACCESSION, "ensure")


def _endpoint(reading: Reading) -> str:
    body: Body = {
        "resourceType": "Endpoint",
        "id": reading.id_within("Endpoint", "bulk", reading.source),
        "status": "active",
        "connectionType": {"system": "urn:xinglin:fhir:CodeSystem:endpoint", "code": "vault-bulk"},
        "payloadType": [{"text": "DICOM objects; pixel data in the vault's bulk store"}],
        "payloadMimeType": ["application/dicom"],
        "address": f"urn:xinglin:bulk:{reading.source}",
    }
    return reading.add(body, STUDY, "ensure", own=False)


def _own(reading: Reading) -> Body:
    """The series of a single object, with that object."""
    item = reading.item
    series = _series(item, reading, reading.series)
    instance = _instance(item, reading.uid, reading.sop_class)
    if title := item.text(0x00420010) or item.text(0x00080008):
        instance["title"] = title
    performers = reading.practitioners(0x00081050, 0x00081052) or reading.practitioners(0x00081070, 0x00081072)
    if performers:
        series["performer"] = [{"actor": one} for one in performers]
    return series | {"instance": [instance]}


def _series(item: Item, reading: Reading, uid: str) -> Body:
    found: Body = {
        "uid": uid,
        "number": _count(item, 0x00200011),
        "modality": {"system": DCM, "code": item.text(MODALITY).upper() or "OT"},
        "description": item.text(0x0008103E),
        "started": moment(item.text(0x00080021), item.text(0x00080031), reading.zone, reading.offset),
    }
    site = concept(item.first(0x00082218))
    if site and "coding" in site:
        found["bodySite"] = site["coding"][0]
    elif part := item.text(0x00180015):
        found["bodySite"] = {"display": part}
    if side := _SIDES.get(item.text(0x00200060) or item.text(0x00200062)):
        found["laterality"] = {"system": _SNOMED, "code": side[0], "display": side[1]}
    return {name: value for name, value in found.items() if value not in ("", None)}


def _instance(item: Item, uid: str, sop_class: str) -> Body:
    found: Body = {"uid": uid, "sopClass": {"system": "urn:ietf:rfc:3986", "code": oid(sop_class)}}
    number = _count(item, 0x00200013)
    return found | ({} if number is None else {"number": number})


def _count(item: Item, tag: int) -> int | None:
    """A number that FHIR's unsignedInt takes, or None."""
    value = item.whole(tag)
    return value if value is not None and 0 <= value < 2**31 else None


def _listed(reading: Reading) -> list[Body]:
    """The series that a manifest lists."""
    found = []
    for evidence in reading.item.items(_EVIDENCE):
        if evidence.uid(STUDY) not in ("", reading.study):
            continue
        for one in evidence.items(0x00081115):
            series = _series(one, reading, one.uid(SERIES))
            series["numberOfInstances"] = len(instances := _members(one))
            if instances:
                series["instance"] = instances
            if performers := [{"actor": {"display": name}} for name in one.texts(0x00081050) if name]:
                series["performer"] = performers
            found.append(series)
    return found


def _members(series: Item) -> list[Body]:
    items = series.items(0x00081199)
    return [_instance(one, one.uid(0x00081155), one.uid(0x00081150) or _UNKNOWN_CLASS) for one in items]
