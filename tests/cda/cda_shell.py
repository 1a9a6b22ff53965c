"""Documents made of fragments, and what a document becomes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from normalise.cda import convert
from normalise.errors import SetAside
from schemas.records import Normalised, Refusal, SourceContext

SHELL = (
    '<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="1.2.3.4" extension="D1"/>'
    '<code code="34133-9" codeSystem="2.16.840.1.113883.6.1" displayName="Summary"/><title>Summary</title>'
    '<effectiveTime value="20240102030405+0800"/>{}</ClinicalDocument>'
)
PATIENT = (
    '<recordTarget><patientRole><id root="1.2.3.4.5" extension="P1"/><patient><name><given>Ada</given>'
    "<family>Test</family></name></patient></patientRole></recordTarget>"
)
AROUND = {
    "ClinicalDocument": None,
    "recordTarget": "{}",
    "documentationOf": PATIENT + "{}",
    "component": PATIENT + "<component><structuredBody>{}</structuredBody></component>",
    "section": PATIENT + "<component><structuredBody><component>{}</component></structuredBody></component>",
    "observation": PATIENT + "<component><structuredBody><component><section><entry>{}</entry></section></component>"
    "</structuredBody></component>",
}


def whole(fragment: bytes) -> bytes:
    """Return the document around a fragment of the corpus; a whole document as it is."""
    text = re.sub(r"<\?xml.*?\?>", "", fragment.decode("utf-8-sig"), flags=re.DOTALL)
    root = re.search(r"<(?![?!])([\w:.-]+)", text)
    around = AROUND.get(root[1]) if root else None
    return SHELL.format(around.format(text)).encode() if around else fragment


def in_section(entry: str, code: str = "", text: str = "") -> bytes:
    """Return a document of one section with one entry."""
    coded = f'<code code="{code}" codeSystem="2.16.840.1.113883.6.1"/>' if code else ""
    entries = f"<entry>{entry}</entry>" if entry else ""
    return whole(f"<section>{coded}<title>T</title><text>{text}</text>{entries}</section>".encode())


def read(content: bytes, zone: str = "Asia/Shanghai", charset: str = "auto") -> Normalised:
    """What a document becomes."""
    return convert(content, SourceContext("ward", "hospital-east", zone, charset))


def refused(content: bytes) -> Refusal:
    """Why a document is refused."""
    with pytest.raises(SetAside) as caught:
        read(content)
    return caught.value.refusal


def bodies(found: Normalised, type_: str) -> list[dict[str, Any]]:
    """The resources of a type."""
    return [one.body for one in found.resources if one.type == type_]


def only(found: Normalised, type_: str) -> dict[str, Any]:
    """The one resource of a type."""
    (one,) = bodies(found, type_)
    return one
