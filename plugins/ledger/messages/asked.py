"""What a request asks for: one record, shown to be published, or part of a dataset (section 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.chain.leaves import LEAF_BYTES, MAX_LOCATOR, RecordLeaf
from ledger.chain.merkle import leaf_hash, verify_inclusion
from ledger.chain.rules import Ledger
from ledger.chain.state import BATCH, BatchState
from ledger.encoding import DIGEST, Reader, listed, u8, u32, u64, var
from ledger.errors import Refused

_MAX_PATH: Final = 32


@dataclass(frozen=True, slots=True)
class RecordAsked:
    """One version of one record, shown to be published.

    Attributes:
        seq: Number of its batch among the holder's.
        index: Its place in the batch.
        leaf: Its leaf data.
        path: From the leaf to the batch root.
    """

    seq: int
    index: int
    leaf: bytes
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u8(1) + u64(self.seq) + u32(self.index) + var(self.leaf) + listed(self.path)

    def check(self, ledger: Ledger, holder: bytes) -> RecordLeaf:
        """Return the record's leaf.

        Raises:
            Refused: The holder has published no such batch, or the leaf does not stand in it.
        """
        stored = ledger.get(BATCH, holder + u64(self.seq))
        if stored is None:
            raise Refused("link", "14", "the holder has published no batch of that number")
        batch = BatchState.decode(stored)
        if not verify_inclusion(leaf_hash(self.leaf), self.index, batch.count, self.path, batch.batch_root):
            raise Refused("link", "14", "the record asked for does not stand in that batch")
        return RecordLeaf.decode(self.leaf)


@dataclass(frozen=True, slots=True)
class SelectionAsked:
    """Part of a dataset, described elsewhere.

    Attributes:
        digest: SM3 of the request that people and committees read and sign.
        most: Records that may be delivered at most, by all holders together.
    """

    digest: bytes
    most: int

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u8(2) + self.digest + u32(self.most)


Asked = RecordAsked | SelectionAsked


def read_asked(reader: Reader) -> Asked:
    """Return what is asked for, or raise Malformed."""
    kind = reader.u8()
    if kind == 1:
        seq, index, leaf = reader.u64(), reader.u32(), reader.var(LEAF_BYTES + MAX_LOCATOR)
        return RecordAsked(seq, index, leaf, reader.digests(_MAX_PATH))
    if kind == 2:
        found = SelectionAsked(reader.take(DIGEST), reader.u32())
        if not found.most:
            raise reader.wrong("a dataset of no records is asked for")
        return found
    raise reader.wrong(f"kind {kind} of request is none")
