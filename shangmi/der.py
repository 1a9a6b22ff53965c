"""The DER (X.690) that SM2 and PKCS#8 need: one encoding for each value, every other one refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shangmi.errors import MalformedInput

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30


def wrap(tag: int, content: bytes) -> bytes:
    """Return one element: tag, minimal length, content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of encoded elements."""
    return wrap(SEQUENCE, b"".join(parts))


def integer(value: int) -> bytes:
    """Return a non-negative INTEGER in its shortest form."""
    return wrap(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER such as ``1.2.156.10197.1.301``."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return wrap(OID, b"".join(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(0x80 | arc & 0x7F)
    return bytes(reversed(digits))


@dataclass(slots=True)
class Reader:
    """Reads elements one after the other; anything but strict DER raises MalformedInput."""

    data: bytes
    at: int = 0

    @property
    def done(self) -> bool:
        """Whether every byte was read."""
        return self.at == len(self.data)

    def peek(self) -> int:
        """Return the next tag, or -1 at the end."""
        return -1 if self.done else self.data[self.at]

    def take(self, tag: int) -> bytes:
        """Return the content of the next element, which must have this tag."""
        if self.peek() != tag:
            raise MalformedInput(f"DER: expected tag 0x{tag:02x} at byte {self.at}, got 0x{self.peek() & 0xFF:02x}")
        start, size = self._length(self.at + 1)
        if start + size > len(self.data):
            raise MalformedInput(f"DER: element at byte {self.at} is longer than what holds it")
        self.at = start + size
        return self.data[start : self.at]

    def inside(self, tag: int = SEQUENCE) -> Reader:
        """Return a reader of the next element's content."""
        return Reader(self.take(tag))

    def take_integer(self) -> int:
        """Return the next INTEGER, not negative and in its shortest form."""
        content = self.take(INTEGER)
        if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and content[1] < 0x80):
            raise MalformedInput(f"DER: the INTEGER before byte {self.at} is negative or not in its shortest form")
        return int.from_bytes(content, "big")

    def finish(self) -> None:
        """Raise MalformedInput where bytes are left."""
        if not self.done:
            raise MalformedInput(f"DER: {len(self.data) - self.at} bytes left after the last element")

    def _length(self, at: int) -> tuple[int, int]:
        head = self.data[at : at + 1]
        if not head:
            raise MalformedInput("DER: ends inside a length")
        if head[0] < 0x80:
            return at + 1, head[0]
        end = at + 1 + (head[0] & 0x7F)
        digits = self.data[at + 1 : end]
        size = int.from_bytes(digits, "big")
        if not digits or len(digits) > 4 or digits[0] == 0 or size < 0x80 or end > len(self.data):
            raise MalformedInput(f"DER: the length at byte {at} is not in its shortest form")
        return end, size


def signature_to_der(signature: bytes) -> bytes:
    """Return r||s as SEQUENCE {r, s} (GM/T 0009 7.3)."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return sequence(integer(r), integer(s))


def signature_from_der(encoded: bytes) -> bytes:
    """Return the 64 bytes r||s of SEQUENCE {r, s}.

    Raises:
        MalformedInput: Not strict DER, bytes left over, or a number above 32 bytes.
    """
    outer = Reader(encoded)
    inner = outer.inside()
    outer.finish()
    r, s = inner.take_integer(), inner.take_integer()
    inner.finish()
    return _coordinate("r", r) + _coordinate("s", s)


def ciphertext_to_der(raw: bytes) -> bytes:
    """Return 0x04||x||y||C3||C2 as SEQUENCE {x, y, C3, C2} (GM/T 0009 7.2)."""
    x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:65], "big")
    return sequence(integer(x), integer(y), wrap(OCTET_STRING, raw[65:97]), wrap(OCTET_STRING, raw[97:]))


def ciphertext_from_der(encoded: bytes) -> bytes:
    """Return 0x04||x||y||C3||C2 of SEQUENCE {x, y, C3, C2}.

    Raises:
        MalformedInput: Not strict DER, bytes left over, C3 not 32 bytes, C2 empty, or a coordinate too long.
    """
    outer = Reader(encoded)
    inner = outer.inside()
    outer.finish()
    x, y = inner.take_integer(), inner.take_integer()
    c3, c2 = inner.take(OCTET_STRING), inner.take(OCTET_STRING)
    inner.finish()
    if len(c3) != 32 or not c2:
        raise MalformedInput(f"SM2 ciphertext: expected C3 of 32 bytes and some C2, got {len(c3)} and {len(c2)}")
    return b"\x04" + _coordinate("x", x) + _coordinate("y", y) + c3 + c2


def _coordinate(name: str, value: int) -> bytes:
    if value.bit_length() > 256:
        raise MalformedInput(f"SM2: {name} is {value.bit_length()} bits; expected at most 256")
    return value.to_bytes(32, "big")
