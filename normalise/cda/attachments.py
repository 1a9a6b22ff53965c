"""Encapsulated data: ED as Attachment, its bytes, its text or where they are (HL7 V3 Data Types R1, ED)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from normalise.cda.reading import Body, Reading
from normalise.cda.tree import Node

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def attachment(node: Node, reading: Reading) -> Body | None:
    """Return an ED as an Attachment: its bytes, its text, or where they are."""
    found: Body = {}
    media = node.get("mediaType")
    if media:
        found["contentType"] = media
    said = node.own_text
    if node.get("representation") == "B64":
        data = "".join(said.split())
        if not _is_base64(data):
            reading.note("bad_value", "Base64 was expected in an encapsulated document; what came is none.")
            return None
        found["data"] = data
    elif said:
        found["contentType"] = media or "text/plain"
        found["data"] = base64.b64encode(said.encode()).decode()
    reference = node.first("reference")
    if "data" not in found and reference is not None and reference.get("value"):
        target = reading.mentions.get(reference.get("value").removeprefix("#"))
        if target is None:
            found["url"] = "".join(reference.get("value").split())
        else:
            found["contentType"] = "text/plain"
            found["data"] = base64.b64encode(target.text.encode()).decode()
    return found if "data" in found or "url" in found else None


def _is_base64(data: str) -> bool:
    if not _BASE64.fullmatch(data):
        return False
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(data)
