"""What the state holds under its keys (section 2); values of other kinds stand beside their rules."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.smt import state_key
from ledger.encoding import DIGEST, SHORT_ID, Reader, u8, u32, u64

#: Kinds of entry; a number once given is never given again.
INSTITUTION, BATCH, TOMBSTONE, CREDIT, SEEN = 1, 2, 3, 4, 5
GOV_PROPOSAL, GOV_BALLOT, PARAMETERS, VALIDATORS = 6, 7, 8, 9
REQUEST, CONSENT, EVIDENCE, ROSTER, POLICIES, TALLY, DELIVERY, GOV_INDEX = 10, 11, 12, 13, 14, 15, 16, 17
NOTICE, EMERGENCY = 18, 19
#: Identity of an entry that there is one of.
ONLY = b""

ACTIVE, FROZEN, REVOKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class InstitutionState:
    """What the chain remembers of an institution.

    Attributes:
        last_seq: Number of its last batch; the next is one more.
        key_id: The key it signs with.
        standing: ``ACTIVE``; ``FROZEN`` by governance; ``REVOKED`` for good, by governance or evidence. Only who is
            active signs transactions, from this very place in the block on.
    """

    last_seq: int
    key_id: bytes
    standing: int = ACTIVE

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u64(self.last_seq) + self.key_id + u8(self.standing)

    @classmethod
    def decode(cls, data: bytes) -> InstitutionState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "institution state")
        found = cls(reader.u64(), reader.take(SHORT_ID), reader.u8())
        reader.end()
        if found.standing > REVOKED:
            raise reader.wrong(f"standing {found.standing} is none")
        return found


@dataclass(frozen=True, slots=True)
class BatchState:
    """What the chain remembers of a batch.

    Attributes:
        batch_root: Merkle root over its records.
        count: Records in it.
        height: Block it stands in.
        index: Place among the block's transactions.
    """

    batch_root: bytes
    count: int
    height: int
    index: int

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.batch_root + u32(self.count) + u64(self.height) + u32(self.index)

    @classmethod
    def decode(cls, data: bytes) -> BatchState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "batch state")
        found = cls(reader.take(DIGEST), reader.u32(), reader.u64(), reader.u32())
        reader.end()
        return found


def batch_key(submitter: bytes, seq: int) -> bytes:
    """Return the key of a batch."""
    return state_key(BATCH, submitter + u64(seq))


def tombstone_key(submitter: bytes, rid: bytes, version: int) -> bytes:
    """Return the key under which an erased record would stand; nothing there means active."""
    return state_key(TOMBSTONE, submitter + rid + u32(version))
