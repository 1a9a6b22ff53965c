r"""Acknowledgements as HL7 v2 chapter 2 has them (v2.5.1 sections 2.9.2, 2.9.3 and 2.14.5 ERR, 2.14.8 MSA).

AA: the message is durable. AE: its content is at fault, so sending it again unchanged is no use. AR: it is
refused for its kind: no HL7, an event or version that is not taken, too large. In enhanced mode the same
verdicts are the accept acknowledgements CA, CE and CR.

An acknowledgement depends on the message and the verdict alone: MSH-7 is the message's own, MSH-10 a digest
of its bytes. So a repeat is answered with the same bytes, and nothing has to be kept to do so. It is written
in the message's version, delimiters and charset; MSH-3 to MSH-6 come back swapped, byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from connectors.his.header import Header, read_header
from schemas.records import Refusal

#: Refusals for what a message is rather than for what it says: HL7 answers them with reject.
REJECTED: Final = frozenset({"not_hl7", "unknown_event", "version", "oversize"})

#: Reason to condition code and text of HL7 table 0357.
CONDITIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "not_hl7": ("100", "Segment sequence error"),
        "truncated": ("100", "Segment sequence error"),
        "structure": ("100", "Segment sequence error"),
        "required": ("101", "Required field missing"),
        "control_id": ("101", "Required field missing"),
        "bad_value": ("102", "Data type error"),
        "charset": ("102", "Data type error"),
        "unknown_event": ("201", "Unsupported event code"),
        "version": ("203", "Unsupported version id"),
    }
)
_OTHER: Final = ("207", "Application internal error")

_VERSION: Final = re.compile(r"2(?:\.\d){0,2}")
_TIME: Final = re.compile(r"\d{4,14}(?:\.\d{1,4})?(?:[+-]\d{4})?")
_WHERE: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+))?(?:\[(\d+)\])?(?:[.-](\d+))?(?:[.-](\d+))?")
_DEFAULT: Final = Header("utf-8", "|", ("MSH", "^~\\&"))
_FALLBACK_VERSION: Final = "2.5.1"


def acknowledge(content: bytes, refusal: Refusal | None, charset: str = "auto", enhanced: bool = False) -> bytes | None:
    """Return the acknowledgement of ``content``, or None where the sender wants none.

    Args:
        content: The message; of one too large, its beginning.
        refusal: Why it was not accepted, or None.
        charset: The source's codec for messages that are not UTF-8.
        enhanced: Whether MSH-15 is followed where the sender fills it. Many senders fill it without meaning
            it, so that without this the answer is always AA, AE or AR.
    """
    header = read_header(content, charset) or _DEFAULT
    code = "AA" if refusal is None else "AR" if refusal.code in REJECTED else "AE"
    if enhanced and (header.field(15) or header.field(16)):
        wanted = header.field(15)
        if wanted == "NE" or (wanted == "ER" and code == "AA") or (wanted == "SU" and code != "AA"):
            return None
        code = "C" + code[1]
    segments = [_msh(header, content), *_answer(header, code, refusal)]
    made = "".join(one + "\r" for one in segments).encode(header.codec, "replace")
    # What comes back from the message must not end the block it is sent in.
    return made.translate(None, b"\x0b\x1c")


def _version(header: Header) -> tuple[str, tuple[int, ...]]:
    given = header.component(12, 1)
    text = given if _VERSION.fullmatch(given) else _FALLBACK_VERSION
    return text, tuple(int(part) for part in text.split("."))


def _msh(header: Header, content: bytes) -> str:
    text, version = _version(header)
    component, separator = header.delimiters[0], header.separator
    event = header.component(9, 2)
    kind = ["ACK", event] if event and version >= (2, 2) else ["ACK"]
    if len(kind) == 2 and version >= (2, 3, 1):
        kind.append("ACK")
    time = header.component(7, 1)
    fields = [
        "MSH", header.field(2) or header.delimiters,
        header.field(5), header.field(6), header.field(3), header.field(4),
        time if _TIME.fullmatch(time) else "", "", component.join(kind), _control_id(content),
        header.field(11) or "P", text,
    ]  # fmt: skip
    if header.field(18) and version >= (2, 3):
        fields += [""] * 5 + [header.field(18)]
    return separator.join(fields)


def _control_id(content: bytes) -> str:
    """Return MSH-10 of the acknowledgement: at most 20 characters, the same for the same message."""
    return "X" + hashlib.sha256(content).hexdigest()[:19].upper()


def _answer(header: Header, code: str, refusal: Refusal | None) -> list[str]:
    separator = header.separator
    msa = ["MSA", code, header.field(10)]
    if refusal is None:
        return [separator.join(msa)]
    text = _escaped(f"{refusal.code}: {refusal.message}", header)
    number, name = CONDITIONS.get(refusal.code, _OTHER)
    version = _version(header)[1]
    if version < (2, 5):
        return [
            separator.join([*msa, text[:80]]),
            separator.join(["ERR", _location_before_25(header, refusal, number)]),
        ]
    component = header.delimiters[0]
    condition = component.join([number, name, "HL70357"])
    own = component.join([_escaped(refusal.code, header), "", "L"])
    err = ["ERR", "", _location(header, refusal), condition, "E", own, "", "", text[:250]]
    return [separator.join(msa), separator.join(err)]


def _parts(refusal: Refusal) -> tuple[str, ...]:
    """Return segment, occurrence, field, repetition, component, subcomponent of the coordinates."""
    match = _WHERE.fullmatch(refusal.where)
    if match is None:
        return ()
    segment, *rest = match.groups()
    return (segment, rest[0] or "1", *(one or "" for one in rest[1:]))


def _location(header: Header, refusal: Refusal) -> str:
    """Return ERR-2, type ERL (v2.5 and later)."""
    segment = _parts(refusal)
    if len(segment) > 2 and segment[2] and not segment[3]:
        segment = (*segment[:3], "1", *segment[4:])
    return header.delimiters[0].join(segment).rstrip(header.delimiters[0])


def _location_before_25(header: Header, refusal: Refusal, number: str) -> str:
    """Return ERR-1, type ELD: segment, sequence, field, code (before v2.5)."""
    parts = (*_parts(refusal), "", "", "")[:3]
    delimiters = header.delimiters
    subcomponent = delimiters[3] if len(delimiters) > 3 else "&"
    name = CONDITIONS.get(refusal.code, _OTHER)[1]
    return delimiters[0].join([*parts, subcomponent.join([number, name, "HL70357"])])


def _escaped(text: str, header: Header) -> str:
    r"""Return ``text`` with the message's delimiters written as ``\F\ \S\ \R\ \E\ \T\`` and on one line."""
    delimiters = header.delimiters
    escape = delimiters[2] if len(delimiters) > 2 else ""
    names = {header.separator: "F", **dict(zip(delimiters, "SRET", strict=False))}
    return "".join(
        f"{escape}{names[one]}{escape}" if one in names else one if one.isprintable() else " " for one in text
    )
