"""ERASE: a record's owner says that nobody shall read it again (section 15).

Nothing on the chain changes: digests stay, and proofs of inclusion hold. The record's tombstone makes every status
proof say ``erased``, contracts deny it from here on, nodes purge its sealed summary, and its owner has destroyed the
key. Only an owner can: the tombstone stands under the sender's own id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import TOMBSTONE
from ledger.chain.transaction import Transaction
from ledger.encoding import SHORT_ID, Reader, u8, u32, u64
from ledger.errors import Refused

#: Why, by number: the patient asked for it, its retention ended, it was published by mistake, or the patient does not
#: want to be read in summaries (the record itself stays).
REASONS: Final = ("patient", "retention", "mistake", "directory")
DIRECTORY: Final = "directory"
#: Records in one message; with them it stays under ``transaction.MAX_TRANSACTION``.
MAX_RECORDS: Final = 3_000
RecordKey = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What the state holds of an erased record.

    Attributes:
        height: Block of the erasure.
        reason: One of ``REASONS``.
    """

    height: int
    reason: str

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u64(self.height) + u8(REASONS.index(self.reason))

    @classmethod
    def decode(cls, data: bytes) -> Tombstone:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "tombstone")
        height, reason = reader.u64(), reader.one_of(REASONS)
        reader.end()
        return cls(height, reason)


def identity(owner: bytes, rid: bytes, version: int) -> bytes:
    """Return under what a record's tombstone stands."""
    return owner + rid + u32(version)


def erased(ledger: Ledger, owner: bytes, rid: bytes, version: int) -> bool:
    """Say whether a record is erased."""
    return ledger.get(TOMBSTONE, identity(owner, rid, version)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase(Transaction):
    """The signed message.

    Attributes:
        reason: One of ``REASONS``; ``directory`` purges the summaries alone.
        records: Id and version of each record of the sender's, in order, none twice.
    """

    TYPE: ClassVar[int] = 8
    NAME: ClassVar[str] = "ERASE"

    reason: str
    records: tuple[RecordKey, ...]

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        records = b"".join(rid + u32(version) for rid, version in self.records)
        return u8(REASONS.index(self.reason)) + u32(len(self.records)) + records

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        reason, count = reader.one_of(REASONS), reader.count(MAX_RECORDS)
        records = tuple((reader.take(SHORT_ID), reader.u32()) for _ in range(count))
        if not records or list(records) != sorted(set(records)) or any(not version for _, version in records):
            raise reader.wrong("records are missing, not in order, named twice or of version 0")
        return {"reason": reason, "records": records}

    def execute(self, ledger: Ledger) -> Outcome:
        """Every record is erased, from here on in this very block.

        Raises:
            Refused: One of them is erased already.
        """
        places = [identity(self.sender, rid, version) for rid, version in self.records]
        if any(ledger.get(TOMBSTONE, one) is not None for one in places):
            raise Refused("erased already", "15", "a record of the message is erased; name those that are not")
        if self.reason != DIRECTORY:
            stone = Tombstone(ledger.height, self.reason).encode()
            for one in places:
                ledger.put(TOMBSTONE, one, stone)
        return Outcome(detail=u8(REASONS.index(self.reason)) + u32(len(places)))


def portions(records: Iterable[RecordKey]) -> Iterator[Sequence[RecordKey]]:
    """Yield the records in order, each once, in lists that fit one message."""
    wanted = sorted(set(records))
    yield from (wanted[at : at + MAX_RECORDS] for at in range(0, len(wanted), MAX_RECORDS))
