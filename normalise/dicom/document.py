"""Encapsulated documents as DocumentReference (PS3.3 A.45, C.24)."""

from __future__ import annotations

import base64
from typing import Final

from normalise.dicom.image import attachment
from normalise.dicom.reading import INSTANCE, Reading
from normalise.dicom.values import Body, is_oid, oid, stamp

_DOCUMENT: Final = 0x00420011
_TITLE: Final = 0x00420010
_MIME: Final = 0x00420012
_LENGTH: Final = 0x00420015
#: Larger documents stand in the resource only by their size; the connector has put theirs into the bulk store.
_INLINE: Final = 1024 * 1024


def add_document(reading: Reading, study: str) -> None:
    """The document of the object stands, itself or where it lies."""
    item = reading.item
    kind = item.text(_MIME) or "application/pdf"
    content = attachment(reading.large.get(_DOCUMENT), kind)
    raw = item.raw(_DOCUMENT)
    length = item.whole(_LENGTH)
    if raw:
        raw = raw[:length] if length is not None and 0 <= len(raw) - length <= 1 else raw
        content["size"] = len(raw)
        if len(raw) <= _INLINE:
            content["data"] = base64.b64encode(raw).decode()
    title = item.text(_TITLE)
    if title:
        content["title"] = title
    body: Body = {
        "resourceType": "DocumentReference",
        "id": reading.id_within("DocumentReference", reading.uid),
        "identifier": [{"system": "urn:dicom:uid", "value": oid(reading.uid) if is_oid(reading.uid) else reading.uid}],
        "status": "current",
        "docStatus": "final" if item.text(0x0040A493) == "VERIFIED" else "preliminary",
        "subject": {"reference": f"Patient/{reading.patient}"},
        "content": [{"attachment": content}],
        "context": {"related": [{"reference": study}]},
    }
    type_ = reading.concept(0x0040A043)
    if type_ or title:
        body["type"] = type_ or {"text": title}
    made = stamp(item.text(0x0008002A), reading.zone, reading.offset) or reading.moment(0x00080023, 0x00080033)
    if made and "T" in made:
        body["date"] = made
    if description := item.text(0x00081030):
        body["description"] = description
    reading.add(body, INSTANCE)
