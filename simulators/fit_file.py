"""FIT files as a watch writes them: an activity with a heart rate every second, its checksums right.

Source: FIT protocol: file header of 14 bytes, definition and data messages, CRC-16.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

_EPOCH: Final = datetime(1989, 12, 31, tzinfo=UTC)
_CRC: Final = (
    0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
    0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400,
)  # fmt: skip
#: Base types: number in a definition and struct's letter.
_TYPES: Final = {"enum": (0x00, "B"), "uint8": (0x02, "B"), "uint16": (0x84, "H"), "uint32": (0x86, "I"),
                 "uint32z": (0x8C, "I")}  # fmt: skip

Fields = Sequence[tuple[int, str]]


def _crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        for nibble in (byte & 15, byte >> 4):
            crc = (crc >> 4) ^ _CRC[crc & 15] ^ _CRC[nibble]
    return crc


def _seconds(time: datetime) -> int:
    return int((time - _EPOCH).total_seconds())


def _messages(local: int, number: int, fields: Fields, rows: Iterable[Sequence[int]]) -> bytes:
    """Return a definition and its data messages."""
    shape = "<" + "".join(_TYPES[kind][1] for _, kind in fields)
    out = bytearray(struct.pack("<BBBHB", 0x40 | local, 0, 0, number, len(fields)))
    for field, kind in fields:
        out += bytes([field, struct.calcsize(_TYPES[kind][1]), _TYPES[kind][0]])
    for row in rows:
        out += bytes([local]) + struct.pack(shape, *row)
    return bytes(out)


def activity(serial: int, start: datetime, heart_rates: Sequence[int], offset_hours: int = 8) -> bytes:
    """Return an activity file: one heart rate a second from ``start``, and a summary.

    Args:
        serial: The device's serial number.
        start: With an offset, whole seconds.
        heart_rates: Beats a minute, 0 to 254.
        offset_hours: How far the wearer's clock is ahead of UTC.
    """
    begin, count = _seconds(start), len(heart_rates)
    end = begin + count - 1
    body = _messages(
        0, 0, [(0, "enum"), (1, "uint16"), (2, "uint16"), (3, "uint32z"), (4, "uint32")],
        [(4, 1, 2697, serial, begin)],
    )  # fmt: skip
    body += _messages(
        1, 20, [(253, "uint32"), (3, "uint8")], [(begin + at, rate) for at, rate in enumerate(heart_rates)]
    )
    body += _messages(
        2, 18, [(253, "uint32"), (2, "uint32"), (7, "uint32"), (8, "uint32"), (5, "enum"), (11, "uint16")],
        [(end, begin, count * 1000, count * 1000, 11, count // 10)],
    )  # fmt: skip
    body += _messages(
        3, 34, [(253, "uint32"), (0, "uint32"), (1, "uint16"), (5, "uint32")],
        [(end, count * 1000, 1, end + offset_hours * 3600)],
    )  # fmt: skip
    head = struct.pack("<BBHI4s", 14, 0x20, 2132, len(body), b".FIT")
    whole = head + struct.pack("<H", _crc(head)) + body
    return whole + struct.pack("<H", _crc(whole))
