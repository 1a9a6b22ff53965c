"""The records of a batch as Merkle leaves, and the bytes that carry many of them (section 4).

A leaf is ``"XL/REC/1" 0 || rid 16 || version u32 || ct_digest 32 || key_commit 32 || summary_digest 32 || ct_len u64
|| resource_type u16 || u32 length || locator``. A body is ``"XL/LEAVES/1" 0 || n u32 || width u32 || leaves``; leaves
of different widths have width 0 and n u32 widths before them. A hundred thousand leaves leave no time for one call
each: they are cut and checked by comprehensions over plain bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.encoding import DIGEST, SHORT_ID, Reader, u32
from ledger.errors import Malformed
from ledger.merkle import Levels

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
        _check([data])
        _, rid, version, digest, commit, summary, length, type_, _ = _FIXED.unpack(data[:LEAF_BYTES])
        return cls(rid, version, digest, commit, summary, length, type_, data[LEAF_BYTES:])


class Leaves:
    """The leaves of one batch, well formed and in order.

    Attributes:
        records: Leaf data of each record.
        keys: ``rid || version`` of each record, 20 bytes.
    """

    def __init__(self, records: list[bytes]) -> None:
        self.records = records
        self.keys = _check(records)
        self._levels: Levels | None = None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def levels(self) -> Levels:
        """The Merkle tree over the leaves, computed once."""
        if self._levels is None:
            self._levels = Levels(self.records)
        return self._levels

    @property
    def root(self) -> bytes:
        """The batch root."""
        return self.levels.root()

    def encode(self) -> bytes:
        """Return the canonical body."""
        widths = {len(one) for one in self.records}
        head = _BODY + u32(len(self.records))
        if len(widths) == 1:
            return head + u32(widths.pop()) + b"".join(self.records)
        table = struct.pack(f">{len(self.records)}I", *map(len, self.records))
        return head + u32(0) + table + b"".join(self.records)

    @classmethod
    def decode(cls, data: bytes) -> Leaves:
        """Read a body.

        Raises:
            Malformed: It is not canonical, a leaf is not well formed, or a record stands twice.
        """
        reader = Reader(data, "leaves")
        reader.constant(_BODY)
        count = reader.count(MAX_LEAVES)
        width = reader.count(LEAF_BYTES + MAX_LOCATOR)
        if not count or 0 < width < LEAF_BYTES:
            raise reader.wrong(f"{count} leaves of {width} bytes")
        start = len(_BODY) + 8
        if width:
            reader.take(count * width)
            reader.end()
            return cls([data[at : at + width] for at in range(start, len(data), width)])
        widths = struct.unpack(f">{count}I", reader.take(4 * count))
        if len(set(widths)) == 1 or max(widths) > LEAF_BYTES + MAX_LOCATOR:
            raise reader.wrong("a width for each leaf is given where one would do, or is too great")
        records = [reader.take(one) for one in widths]
        reader.end()
        return cls(records)


def _check(records: Sequence[bytes]) -> list[bytes]:
    """Return ``rid || version`` of each leaf, all well formed and different, or raise Malformed."""
    for width in {len(one) for one in records}:
        if not LEAF_BYTES <= width <= LEAF_BYTES + MAX_LOCATOR:
            raise Malformed(f"leaf: {width} bytes, expected {LEAF_BYTES} to {LEAF_BYTES + MAX_LOCATOR}")
    heads = {(one[: len(DOMAIN)], one[LEAF_BYTES - 4 : LEAF_BYTES], len(one)) for one in records}
    for domain, length, width in heads:
        if domain != DOMAIN or length != u32(width - LEAF_BYTES):
            raise Malformed("leaf: not a record, or its locator's length is wrong")
    keys = [one[len(DOMAIN) : len(DOMAIN) + KEY_BYTES] for one in records]
    if len(set(keys)) != len(keys):
        raise Malformed("leaves: a record of the same id and version stands twice")
    if any(key.endswith(b"\0\0\0\0") for key in keys):
        raise Malformed("leaves: a record has version 0; versions begin at 1")
    return keys


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
            raise ValueError(
                "an entry's rid, digests or locator do not have the length that schemas.records.Entry states"
            )
        records.append(
            pack(
                DOMAIN, one.rid, one.version, one.ct_digest, one.key_commit, one.summary_digest,
                one.ct_len, one.resource_type, len(locator),
            )
            + locator
        )  # fmt: skip
    return Leaves(records)
