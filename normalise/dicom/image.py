"""Images as Media: what was taken by which device, and where its pixels lie (PS3.3 C.7.6; FHIR R4 Media)."""

from __future__ import annotations

from typing import Final

from normalise.dicom.reading import INSTANCE, Large, Reading
from normalise.dicom.values import DCM, Body, concept, is_oid, oid

_TYPES: Final = "http://terminology.hl7.org/CodeSystem/media-type"
#: Extension of Attachment: SM3 of the bytes, hex. Attachment.hash is SHA-1 by definition.
SM3: Final = "urn:xinglin:fhir:StructureDefinition:sm3"
_PIXELS: Final = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_MOST: Final = 2**31 - 1


def add_image(reading: Reading, study: str, order: str | None) -> None:
    """The image of the object stands as Media, one an object: nothing of another object is in it."""
    item = reading.item
    body: Body = {
        "resourceType": "Media",
        "id": reading.id_within("Media", reading.source, reading.uid),
        "identifier": [{"system": "urn:dicom:uid", "value": oid(reading.uid) if is_oid(reading.uid) else reading.uid}],
        "status": "completed",
        "type": {"coding": [{"system": _TYPES, "code": "video" if reading.kind == "video" else "image"}]},
        "subject": {"reference": f"Patient/{reading.patient}"},
        "partOf": [{"reference": study}],
        "content": attachment(next((reading.large[tag] for tag in _PIXELS if tag in reading.large), None)),
    }
    if order:
        body["basedOn"] = [{"reference": order}]
    if modality := item.text(0x00080060):
        body["modality"] = {"coding": [{"system": DCM, "code": modality.upper()}]}
    view = concept(item.first(0x00540220))
    if view or item.text(0x00185101):
        body["view"] = view or {"text": item.text(0x00185101)}
    if created := reading.moment(0x00080022, 0x00080032) or reading.moment(0x00080023, 0x00080033):
        body["createdDateTime"] = created
    if operators := reading.practitioners(0x00081070, 0x00081072):
        body["operator"] = operators[0]
    site = concept(item.first(0x00082218))
    if site or item.text(0x00180015):
        body["bodySite"] = site or {"text": item.text(0x00180015)}
    if device := add_device(reading):
        body["device"] = {"reference": device}
    elif maker := _maker(reading):
        body["deviceName"] = maker
    for name, tag in (("height", 0x00280010), ("width", 0x00280011), ("frames", 0x00280008)):
        value = item.whole(tag)
        if value is not None and 0 < value <= _MOST:
            body[name] = value
    reading.add(body, INSTANCE)


def is_image(reading: Reading) -> bool:
    """Whether the object has pixels."""
    return any(tag in reading.large for tag in _PIXELS) or reading.item.whole(0x00280010) is not None


def attachment(large: Large | None, kind: str = "application/dicom") -> Body:
    """Return the Attachment that says where a large value lies; without an address where it is not in the vault."""
    body: Body = {"contentType": kind}
    if large is None:
        return body
    body["url"] = large.name
    if large.size <= _MOST:
        body["size"] = large.size
    if large.digest:
        body["extension"] = [{"url": SM3, "valueString": large.digest}]
    return body


def _maker(reading: Reading) -> str:
    return " ".join(filter(None, (reading.item.text(0x00080070), reading.item.text(0x00081090))))


def add_device(reading: Reading) -> str | None:
    """The device stands, where it has a serial number or a name of its own; returns the reference to it."""
    item = reading.item
    serial, station = item.text(0x00181000), item.text(0x00081010)
    if not serial and not station:
        return None
    maker, model = item.text(0x00080070), item.text(0x00081090)
    known = ("serial", maker, model, serial) if serial else ("station", item.text(0x00080080), station)
    body: Body = {"resourceType": "Device", "id": reading.id_within("Device", *known), "status": "active"}
    if serial:
        body["serialNumber"] = serial
    names = ((station, "user-friendly-name"), (model, "model-name"))
    body["deviceName"] = [{"name": name, "type": kind} for name, kind in names if name]
    if maker:
        body["manufacturer"] = maker
    if versions := [one for one in item.texts(0x00181020) if one]:
        body["version"] = [{"value": one} for one in versions]
    if not body["deviceName"]:
        del body["deviceName"]
    return reading.add(body, 0x00181000 if serial else 0x00081010, "ensure", own=False)
