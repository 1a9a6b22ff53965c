"""Elements as Explicit VR Little Endian, with every length defined (PS3.5 section 7.1), and a file around (PS3.10)."""

from __future__ import annotations

import struct
from typing import Final

from sharing.errors import Malformed

_LONG: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_TEXTS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)
#: Bytes of one number of each VR.
WIDTHS: Final = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "AT": 4,
                  "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}  # fmt: skip
#: Names this implementation in files that it writes (PS3.10 section 7.1); a UUID's UID.
_IMPLEMENTATION: Final = b"2.25.271828182845904523536028747135266249"
_VERSION: Final = b"XINGLIN_DEID_1"
_MOST: Final = 0xFFFFFFFE


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return one element; a value of odd length is padded as its VR wants."""
    if len(value) % 2:
        value += b" " if vr in _TEXTS else b"\0"
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("ascii")
    if vr in _LONG:
        if len(value) > _MOST:
            raise Malformed("expected a value of at most 4 GiB")
        return head + struct.pack("<HI", 0, len(value)) + value
    if len(value) > 0xFFFF:
        raise Malformed(f"expected at most 65535 bytes in an element of VR {vr}")
    return head + struct.pack("<H", len(value)) + value


def fits(vr: str, value: bytes) -> bool:
    """Say whether a value of numbers is made of whole numbers, and of a length that can be written."""
    return len(value) % WIDTHS.get(vr, 1) == 0 and (vr in _LONG or len(value) <= 0xFFFF)


def swapped(vr: str, value: bytes) -> bytes:
    """Return numbers that came high byte first, low byte first."""
    width = 2 if vr == "AT" else WIDTHS.get(vr, 1)  # a tag is two numbers
    if width == 1 or len(value) % width:
        return value
    out = bytearray(len(value))
    for at in range(width):
        out[at::width] = value[width - 1 - at :: width]
    return bytes(out)


def item(content: bytes) -> bytes:
    """Return an item of a sequence, or a fragment of encapsulated pixels."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def encapsulated(tag: int, fragments: list[bytes]) -> bytes:
    """Return encapsulated pixels without an offset table (PS3.5 A.4)."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"OB" + struct.pack("<HI", 0, 0xFFFFFFFF)
    body = b"".join(item(one + b"\0" * (len(one) % 2)) for one in fragments)
    return head + item(b"") + body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def file(sop_class: str, instance: str, syntax: str, dataset: bytes) -> bytes:
    """Return a DICOM file: an empty preamble, meta information without who sent it, the dataset."""

    def uid(tag: int, value: bytes) -> bytes:
        return element(tag, "UI", value)

    meta = element(0x00020001, "OB", b"\0\1")
    meta += uid(0x00020002, sop_class.encode()) + uid(0x00020003, instance.encode()) + uid(0x00020010, syntax.encode())
    meta += uid(0x00020012, _IMPLEMENTATION) + element(0x00020013, "SH", _VERSION)
    return b"\0" * 128 + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + dataset
