"""A DICOM dataset as it arrives, turned into Explicit VR Little Endian without its pixel data (PS3.5 section 7).

Nothing is decoded: a text's bytes stay what they were, so that a wrong character set does no harm here. The same
dataset gives the same bytes whether it came with implicit or explicit VR, with lengths or delimiters: sequences and
items are always written with delimiters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from pydicom.datadict import dictionary_VR

from connectors.pacs.streams import Ended, Stream
from schemas.records import Refusal

UNDEFINED: Final = 0xFFFFFFFF
#: Deeper sequences are refused: none of the standard's is half as deep.
MAX_DEPTH: Final = 24
#: Longest value of binary elements, bytes, that stays in the record; longer ones go where pixel data go.
INLINE: Final = 64 * 1024

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
#: Float, double and integer pixel data (PS3.3 C.7.6.24, C.7.6.25, C.7.6.3).
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_PADDING: Final = 0xFFFCFFFC
_PIXEL_REPRESENTATION: Final = 0x00280103
#: Explicit VR with two reserved bytes and a length of 32 bits (PS3.5 table 7.1-1).
_LONG: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_SHORT: Final = frozenset(
    ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI")
) | {"UL", "US"}
_BINARY: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_SHORTEST: Final = 0xFFFF

_HEAD: Final = struct.Struct("<HHI")
_TAG: Final = struct.Struct("<HH")
_LENGTH: Final = struct.Struct("<I")


class Fault(Exception):
    """The dataset cannot become a record; ``refusal`` says where and why."""

    def __init__(self, code: str, tag: int | str, message: str) -> None:
        self.refusal = Refusal(code, tag if isinstance(tag, str) else name(tag), message)
        super().__init__(code)


class Sink(Protocol):
    """Takes the large values of a dataset."""

    def __call__(self, tag: int, vr: str, pieces: Iterator[bytes]) -> None:
        """Take the whole value; what is left of it when this returns is passed over."""


def name(tag: int) -> str:
    """Return a tag the way DICOM writes it: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian, its value padded to an even length (PS3.5 section 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    if vr not in _LONG and len(value) > _SHORTEST:
        vr = "UN"  # PS3.5 6.2.2, note 2: no other way to write a value that implicit VR allowed
    head = _TAG.pack(tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG:
        return b"".join((head, b"\0\0", _LENGTH.pack(len(value)), value))
    return b"".join((head, struct.pack("<H", len(value)), value))


def sequence(tag: int, items: list[bytes]) -> bytes:
    """Return a sequence of encoded items with delimiters, as `Transcriber` writes them."""
    body = b"".join(b"".join((_delimiter(_ITEM, UNDEFINED), item, _delimiter(_ITEM_END, 0))) for item in items)
    return b"".join((_sequence_head(tag), body, _delimiter(_SEQUENCE_END, 0)))


def _delimiter(tag: int, length: int) -> bytes:
    return _HEAD.pack(tag >> 16, tag & 0xFFFF, length)


def _sequence_head(tag: int) -> bytes:
    return _TAG.pack(tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + _LENGTH.pack(UNDEFINED)


class Transcriber:
    """Reads one dataset from a stream.

    Args:
        stream: The dataset, from its first element on.
        implicit: Whether it came with implicit VR.
        limit: Bytes that the record may have.
        sink: Takes pixel data and other large binary values.

    Attributes:
        out: The dataset in Explicit VR Little Endian, without what the sink took.
        values: The short values of top-level elements that who asks may need, by tag.
    """

    KEPT: Final = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E))

    def __init__(self, stream: Stream, implicit: bool, limit: int, sink: Sink) -> None:
        self._stream = stream
        self._implicit = implicit
        self._limit = limit
        self._sink = sink
        self._signed = False
        self.out = bytearray()
        self.values: dict[int, bytes] = {}

    def run(self) -> None:
        """The whole stream is read.

        Raises:
            Fault: It is no dataset, ends too early, or is larger than the limit. What ``sink`` raises is let through.
        """
        tag = 0
        try:
            while not self._stream.ended():
                tag, vr, length = self._head(self._implicit)
                self._top(tag, vr, length)
        except Ended:
            raise Fault("truncated", tag, "The dataset ends inside this element or right after it.") from None

    def _top(self, tag: int, vr: str, length: int) -> None:
        if tag in _PIXELS or (vr in _BINARY and length != UNDEFINED and length > INLINE):
            pieces = self._encapsulated(tag) if length == UNDEFINED else self._stream.pass_on(length)
            self._sink(tag, vr, pieces)
            for _ in pieces:
                pass
        elif tag == _PADDING or not tag & 0xFFFF:
            for _ in self._stream.pass_on(length):
                pass  # lengths of groups (PS3.5 7.2) would be wrong here, and padding says nothing
        else:
            value = self._element(tag, vr, length, self._implicit, 0)
            if tag in self.KEPT:
                self.values[tag] = value

    def _head(self, implicit: bool) -> tuple[int, str, int]:
        """Read tag, VR and length of an element; the VR of delimiters is empty."""
        group, number, length = _HEAD.unpack(self._stream.read(8))
        tag = group << 16 | number
        if group == 0xFFFE:
            return tag, "", length
        if implicit:
            return tag, self._vr(tag), length
        vr = _LENGTH.pack(length)[:2].decode("latin-1")
        if vr in _SHORT:
            return tag, vr, length >> 16
        if vr in _LONG:
            return tag, vr, _LENGTH.unpack(self._stream.read(4))[0]
        raise Fault("structure", tag, "Expected a value representation of PS3.5 section 6.2; other bytes came.")

    def _vr(self, tag: int) -> str:
        """The VR of an element that came without one (PS3.6; PS3.5 annex A.1 where it depends)."""
        if tag & 0xFFFF == 0:
            return "UL"
        if tag >> 16 & 1:
            return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            return "UN"
        if vr == "US or SS":
            return "SS" if self._signed else "US"
        return "OW" if "or" in vr else vr

    def _write(self, tag: int, *pieces: bytes) -> None:
        for piece in pieces:
            self.out += piece
        self._room(tag, 0)

    def _room(self, tag: int, length: int) -> None:
        """Refuse what makes the record larger than its limit, before it is read."""
        if len(self.out) + length > self._limit:
            most = f"{self._limit} bytes (record_bytes of the source)"
            raise Fault("oversize", tag, f"Without its pixel data the object is larger than {most}.")

    def _element(self, tag: int, vr: str, length: int, implicit: bool, depth: int) -> bytes:
        """Copy one element; returns its value where it is a plain one."""
        if not vr:
            raise Fault("structure", tag, "An item or delimiter stands where an element was expected.")
        if vr == "SQ" or (vr == "UN" and length == UNDEFINED):
            # Of undefined length, UN is a sequence in implicit VR, whatever surrounds it (PS3.5 6.2.2, note 3).
            self._sequence(tag, length, implicit or vr == "UN", depth)
            return b""
        if length == UNDEFINED:
            self._fragments(tag, vr)
            return b""
        if not tag & 0xFFFF:
            self._stream.read(length)
            return b""
        self._room(tag, length)
        value = self._stream.read(length)
        if tag == _PIXEL_REPRESENTATION:
            self._signed = value[:1] == b"\1"
        self._write(tag, element(tag, vr, value))
        return value

    def _fragments(self, tag: int, vr: str) -> None:
        """Copy an encapsulated value inside a sequence (the pixel data of an icon)."""
        if vr not in ("OB", "OW"):
            raise Fault("structure", tag, f"A value of type {vr} cannot have an undefined length.")
        self._write(tag, _TAG.pack(tag >> 16, tag & 0xFFFF), b"OB\0\0", _LENGTH.pack(UNDEFINED))
        for piece in self._encapsulated(tag):
            self._write(tag, piece)

    def _encapsulated(self, tag: int) -> Iterator[bytes]:
        """Yield an encapsulated value with its item headers, the delimiter at its end included (PS3.5 A.4)."""
        while True:
            head = self._stream.read(8)
            group, number, length = _HEAD.unpack(head)
            item = group << 16 | number
            if item == _SEQUENCE_END:
                yield head
                return
            if item != _ITEM or length == UNDEFINED:
                raise Fault("structure", tag, "Expected fragments of a known length; something else came.")
            yield head
            yield from self._stream.pass_on(length)

    def _sequence(self, tag: int, length: int, implicit: bool, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise Fault("structure", tag, f"Sequences stand inside each other deeper than {MAX_DEPTH}.")
        self._write(tag, _sequence_head(tag))
        end = None if length == UNDEFINED else self._stream.at + length
        while end is None or self._stream.at < end:
            group, number, size = _HEAD.unpack(self._stream.read(8))
            item = group << 16 | number
            if item == _SEQUENCE_END and end is None:
                break
            if item != _ITEM:
                raise Fault("structure", tag, "Expected an item of the sequence; something else came.")
            self._write(tag, _delimiter(_ITEM, UNDEFINED))
            self._item(tag, size, implicit, depth)
            self._write(tag, _delimiter(_ITEM_END, 0))
        if end is not None and self._stream.at != end:
            raise Fault("structure", tag, "An item is longer than its sequence.")
        self._write(tag, _delimiter(_SEQUENCE_END, 0))

    def _item(self, sequence: int, length: int, implicit: bool, depth: int) -> None:
        end = None if length == UNDEFINED else self._stream.at + length
        while end is None or self._stream.at < end:
            tag, vr, size = self._head(implicit)
            if tag == _ITEM_END and end is None:
                return
            self._element(tag, vr, size, implicit, depth + 1)
        if self._stream.at != end:
            raise Fault("structure", sequence, "An element is longer than its item.")
