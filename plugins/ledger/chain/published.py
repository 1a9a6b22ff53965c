"""Which records may be published already, kept in memory: it forgets none, and suspects a few that are new.

Every validator asks of every record of a block whether it was published before, and the honest answer is nearly always
no. Asking the database costs it more than all hashing of the block. A table of bits answers most of the question: the
first 32 bits of a key name a bit; where that is 0 the key is new, and only what it leaves is asked of the database.
Keys begin with record ids, which their own institution makes by HMAC; one that made them collide would slow its own
batches, and nobody else's: each institution has a table of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from ledger.encoding import SHORT_ID

#: The smallest table has 2^21 bits (256 KiB), the largest 2^29 (64 MiB, for 17 million records).
_SMALLEST: Final = 21
_LARGEST: Final = 29
#: Bits a key: of new keys it suspects 3 in 100, and up to 6 after several doublings.
_SPACE: Final = 32
_FIRST: Final = struct.Struct(f">I{SHORT_ID + 4 - 4}x")
# Each bit of a byte twice, in two bytes: what a table twice as large has in the place of one byte.
_TWICE: Final = [int("".join(bit * 2 for bit in f"{byte:08b}"), 2) for byte in range(256)]
_UPPER, _LOWER = bytes(one >> 8 for one in _TWICE), bytes(one & 255 for one in _TWICE)


class PublishedKeys:
    """The keys of one institution's published records, up to a height.

    Attributes:
        height: Last height whose keys are in; the replica's index has those of later ones.
        count: Keys taken in.
    """

    def __init__(self) -> None:
        self.height = 0
        self.count = 0
        self._shift = 32 - _SMALLEST
        self._bits = bytearray(1 << _SMALLEST - 3)

    def take(self, keys: Sequence[bytes]) -> None:
        """Hold these keys, ``rid || version`` of 20 bytes each."""
        self.count += len(keys)
        while self.count * _SPACE > len(self._bits) * 8 and self._shift > 32 - _LARGEST:
            self._double()
        bits, shift = self._bits, self._shift
        for first in _firsts(keys):
            at = first >> shift
            bits[at >> 3] |= 128 >> (at & 7)

    def suspects(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys that may be held, in order; none that is held is left out."""
        bits, shift = self._bits, self._shift
        return [
            key
            for key, first in zip(keys, _firsts(keys), strict=True)
            if bits[first >> shift >> 3] << (first >> shift & 7) & 128
        ]

    def _double(self) -> None:
        """The table is twice as large and suspects what it suspected before."""
        larger = bytearray(2 * len(self._bits))
        larger[0::2], larger[1::2] = self._bits.translate(_UPPER), self._bits.translate(_LOWER)
        self._bits, self._shift = larger, self._shift - 1


def _firsts(keys: Sequence[bytes]) -> Iterable[int]:
    """Return the first 32 bits of each key as a number."""
    return (first for (first,) in _FIRST.iter_unpack(b"".join(keys)))
