"""The records of a batch as Merkle leaves, and the bytes that carry many of them (section 4).

A leaf is ``"XL/REC/1" 0 || rid 16 || version u32 || ct_digest 32 || key_commit 32 || summary_digest 32 || ct_len u64
|| resource_type u16 || u32 length || locator``. A body is ``"XL/LEAVES/1" 0 || n u32 || width u32 || leaves``; leaves
of different widths have width 0 and n u32 widths before them. A hundred thousand leaves leave no time for one call
each: they are checked column by column and cut only where one is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from ledger.chain.merkle import Levels
from ledger.encoding import DIGEST, SHORT_ID, Reader, u32
from ledger.errors import Malformed
from shangmi import sm3

if TYPE_CHECKING:
    from schemas.records import Entry

DOMAIN = b"XL/REC/1\0"
MAX_LOCATOR = 128
MAX_LEAVES = 1_000_000
_BODY = b"XL/LEAVES/1\0"
_FIXED = struct.Struct(">9s16sI32s32s32sQHI")
LEAF_BYTES = _FIXED.size  # without the locator
KEY_BYTES = SHORT_ID + 4


@dataclass(frozen=True, slots=True)
class RecordLeaf:
    """One record as the chain knows it; the fields are those of ``schemas.records.Entry``."""

    rid: bytes
    version: int
    ct_digest: bytes
    key_commit: bytes
    summary_digest: bytes
    ct_len: int
    resource_type: int
    locator: bytes

    def encode(self) -> bytes:
        """Return the leaf data."""
        return (
            _FIXED.pack(
                DOMAIN, self.rid, self.version, self.ct_digest, self.key_commit, self.summary_digest,
                self.ct_len, self.resource_type, len(self.locator),
            )
            + self.locator
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> RecordLeaf:
        """Read one leaf, or raise Malformed."""
        Reader(data, "leaf").take(LEAF_BYTES)
        _check_columns(data, 0, len(data))
        _, rid, version, digest, commit, summary, length, type_, _ = _FIXED.unpack(data[:LEAF_BYTES])
        return cls(rid, version, digest, commit, summary, length, type_, data[LEAF_BYTES:])


class Leaves:
    """The leaves of one batch, well formed, different and in order.

    Args:
        body: The bytes that carry them, already cut by ``decode``.
        bounds: Where each leaf begins in them, and where the last one ends.

    Attributes:
        keys: ``rid || version`` of each record, 20 bytes, in order.
        key_set: The same as a set.
    """

    def __init__(self, body: bytes, bounds: Sequence[int]) -> None:
        self._body = body
        self._bounds = bounds
        self.keys = [body[at : at + KEY_BYTES] for at in _shifted(bounds, len(DOMAIN))]
        self.key_set = frozenset(self.keys)
        if len(self.key_set) != len(self.keys):
            raise Malformed("leaves: a record of the same id and version stands twice")
        if any(key.endswith(b"\0\0\0\0") for key in self._may_be_unversioned()):
            raise Malformed("leaves: a record has version 0; versions begin at 1")

    def _may_be_unversioned(self) -> Sequence[bytes]:
        """Return the keys to look at for version 0; nearly always none, seen in one look at a whole column."""
        if isinstance(self._bounds, range):
            column = self._body[self._bounds.start + len(DOMAIN) + KEY_BYTES - 1 :: self._bounds.step]
            return self.keys if b"\0" in column else []
        return self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def record(self, index: int) -> bytes:
        """Return the leaf data of one record."""
        return self._body[self._bounds[index] : self._bounds[index + 1]]

    @cached_property
    def levels(self) -> Levels:
        """The Merkle tree over the leaves."""
        body = self._body
        spans = zip(self._bounds, self._bounds[1:], strict=False)
        return Levels(b"".join([sm3(b"\x00" + body[start:end]) for start, end in spans]))

    @property
    def root(self) -> bytes:
        """The batch root."""
        return self.levels.root()

    def encode(self) -> bytes:
        """Return the canonical body."""
        return self._body

    @classmethod
    def decode(cls, data: bytes) -> Leaves:
        """Read a body.

        Raises:
            Malformed: It is not canonical, a leaf is not well formed, or a record stands twice.
        """
        reader = Reader(data, "leaves")
        reader.constant(_BODY)
        count, width = reader.count(MAX_LEAVES), reader.count(LEAF_BYTES + MAX_LOCATOR)
        if not count or 0 < width < LEAF_BYTES:
            raise reader.wrong(f"{count} leaves of {width} bytes")
        start = len(_BODY) + 8
        if width:
            if len(data) != start + count * width:
                raise reader.wrong(f"{len(data)} bytes for {count} leaves of {width}")
            _check_columns(data, start, width)
            return cls(data, range(start, len(data) + 1, width))
        widths = struct.unpack(f">{count}I", reader.take(4 * count))
        if len(set(widths)) == 1 or not LEAF_BYTES <= min(widths) <= max(widths) <= LEAF_BYTES + MAX_LOCATOR:
            raise reader.wrong("a width for each leaf where one would do, or a width no leaf can have")
        for one in widths:
            _check_columns(reader.take(one), 0, one)
        reader.end()
        return cls(data, list(accumulate(widths, initial=start + 4 * count)))

    @classmethod
    def join(cls, records: Sequence[bytes]) -> Leaves:
        """Return the leaves whose data are these."""
        widths = [len(one) for one in records]
        uniform = len(set(widths)) == 1
        table = b"" if uniform else struct.pack(f">{len(widths)}I", *widths)
        head = _BODY + u32(len(records)) + u32(widths[0] if uniform else 0) + table
        return cls.decode(head + b"".join(records))


def _shifted(bounds: Sequence[int], by: int) -> Sequence[int]:
    """Return each leaf's beginning, ``by`` bytes on."""
    if isinstance(bounds, range):
        return range(bounds.start + by, bounds.stop - 1, bounds.step)
    return [one + by for one in bounds[:-1]]


def _check_columns(data: bytes, start: int, width: int) -> None:
    """Raise Malformed unless every ``width`` bytes from ``start`` on are a leaf of that width.

    What is the same in all leaves is compared byte column by byte column: a hundred thousand leaves cost
    thirteen steps.
    """
    if not LEAF_BYTES <= width <= LEAF_BYTES + MAX_LOCATOR:
        raise Malformed(f"leaf: {width} bytes, expected {LEAF_BYTES} to {LEAF_BYTES + MAX_LOCATOR}")
    count = (len(data) - start) // width
    length = u32(width - LEAF_BYTES)
    for offset, expected in (*enumerate(DOMAIN), *enumerate(length, LEAF_BYTES - len(length))):
        if data[start + offset :: width].count(expected) != count:
            raise Malformed("leaf: not a record, or its locator's length is wrong")


def leaves_of(entries: Sequence[Entry]) -> Leaves:
    """Return the leaves of sealed records, in their order.

    Raises:
        ValueError: An entry's field has the wrong length, or its locator is empty or too long.
        Malformed: An entry stands twice or has version 0.
    """
    pack = _FIXED.pack
    records = []
    for one in entries:
        locator = one.locator.encode()
        if not (
            len(one.rid) == SHORT_ID
            and len(one.ct_digest) == len(one.key_commit) == len(one.summary_digest) == DIGEST
            and 0 < len(locator) <= MAX_LOCATOR
        ):
            raise ValueError("an entry has a field of another length than schemas.records.Entry states")
        records.append(
            pack(
                DOMAIN, one.rid, one.version, one.ct_digest, one.key_commit, one.summary_digest,
                one.ct_len, one.resource_type, len(locator),
            )
            + locator
        )  # fmt: skip
    return Leaves.join(records)


def entries_of(leaves: Leaves) -> list[Entry]:
    """Return the sealed records that leaves were made of, in their order: what ``leaves_of`` was given.

    Raises:
        Malformed: A locator is not UTF-8.
    """
    from schemas.records import Entry

    found = []
    for record in map(leaves.record, range(len(leaves))):  # checked when they were cut: only unpacked here
        _, rid, version, digest, commit, summary, length, type_, _ = _FIXED.unpack_from(record)
        try:
            locator = record[LEAF_BYTES:].decode()
        except UnicodeDecodeError:
            raise Malformed("leaf: its locator is not UTF-8") from None
        found.append(Entry(rid, version, digest, commit, summary, length, type_, locator))
    return found
