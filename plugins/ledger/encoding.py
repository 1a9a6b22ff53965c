"""Canonical bytes: big-endian fixed-width integers, ``u32 length || bytes``, nothing left over (section 1).

``Reader`` accepts exactly what the writers make: ``encode(decode(b)) == b``, or ``Malformed``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import Malformed

DIGEST = 32
SIGNATURE = 64
PUBLIC_KEY = 64
SHORT_ID = 16
ZERO_DIGEST = bytes(DIGEST)


def u8(value: int) -> bytes:
    """Return one byte."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """Return two bytes, big-endian."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Return four bytes, big-endian."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Return eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def var(value: bytes) -> bytes:
    """Return the bytes behind their own length as u32."""
    return u32(len(value)) + value


def listed(values: Sequence[bytes]) -> bytes:
    """Return a u32 count and each value behind its length."""
    return u32(len(values)) + b"".join(map(var, values))


class Reader:
    """A cursor over untrusted bytes that raises only ``Malformed``.

    Args:
        data: The bytes, whole.
        what: What they should be, for messages.
    """

    def __init__(self, data: bytes, what: str) -> None:
        if not isinstance(data, bytes):
            raise Malformed(f"{what}: expected bytes, got {type(data).__name__}")
        self._data = data
        self._at = 0
        self._what = what

    def take(self, length: int) -> bytes:
        """Return the next ``length`` bytes."""
        end = self._at + length
        if end > len(self._data):
            raise Malformed(f"{self._what}: ends at byte {len(self._data)}, needs {end}")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def _integer(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def u8(self) -> int:
        """Return the next byte as a number."""
        return self._integer(1)

    def u16(self) -> int:
        """Return the next two bytes as a number."""
        return self._integer(2)

    def u32(self) -> int:
        """Return the next four bytes as a number."""
        return self._integer(4)

    def u64(self) -> int:
        """Return the next eight bytes as a number."""
        return self._integer(8)

    def flag(self) -> bool:
        """Return the next byte as a truth value."""
        value = self.u8()
        if value > 1:
            raise self.wrong(f"a truth value of {value}, neither 0 nor 1")
        return bool(value)

    def one_of(self, names: Sequence[str]) -> str:
        """Return the name whose place among these the next byte is."""
        number = self.u8()
        if number >= len(names):
            raise self.wrong(f"{number} stands for none of {', '.join(map(repr, names))}")
        return names[number]

    def var(self, limit: int) -> bytes:
        """Return the next length-prefixed bytes, at most ``limit`` of them."""
        return self.take(self.count(limit))

    def text(self, limit: int) -> str:
        """Return the next length-prefixed bytes as UTF-8."""
        try:
            return self.var(limit).decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong("text is not UTF-8") from None

    def count(self, limit: int) -> int:
        """Return the next u32, at most ``limit``."""
        number = self.u32()
        if number > limit:
            raise self.wrong(f"a length or count of {number}, at most {limit} allowed")
        return number

    def listed(self, most: int, limit: int) -> tuple[bytes, ...]:
        """Return a counted list of at most ``most`` values of at most ``limit`` bytes each."""
        return tuple(self.var(limit) for _ in range(self.count(most)))

    def digests(self, most: int) -> tuple[bytes, ...]:
        """Return a counted list of at most ``most`` digests: a path in a tree."""
        found = self.listed(most, DIGEST)
        if any(len(one) != DIGEST for one in found):
            raise self.wrong("a path holds something that is no digest")
        return found

    def constant(self, expected: bytes) -> None:
        """Pass over bytes that must be exactly ``expected`` (a domain string, a version)."""
        if self.take(len(expected)) != expected:
            raise self.wrong(f"does not begin with {expected!r}")

    def end(self) -> None:
        """Raise unless every byte was read."""
        if self._at != len(self._data):
            raise self.wrong(f"{len(self._data) - self._at} bytes left over")

    def wrong(self, message: str) -> Malformed:
        """Return the error to raise for a rule of this structure."""
        return Malformed(f"{self._what}: {message}")
