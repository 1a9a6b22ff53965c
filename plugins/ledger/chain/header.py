"""The block header and the id it gives its block (section 3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields

from ledger.encoding import Reader
from ledger.errors import Malformed
from shangmi import sm3

VERSION = 1
_FIELDS = struct.Struct(">H32sQI32s32s32sI32s32s32s32s32s32s32sQ16sI")
HEADER_BYTES = _FIELDS.size


@dataclass(frozen=True, slots=True)
class Header:
    """What a block commits to, in the order of its bytes; no signatures and no voting round.

    Attributes:
        version: 1.
        chain_id: SM3 of the genesis bytes behind their domain.
        height: 0 for genesis.
        epoch: Number of the validator set's term.
        prev_block_id: Id of the block below; zeros in genesis.
        prev_commit_digest: Digest of the certificate of the block below, carried in the body; zeros below height 2.
        tx_root: Merkle root over the transactions.
        tx_count: How many there are.
        history_root: Merkle root over the ids of all blocks below.
        state_root: Root of the state after this block.
        receipts_root: Merkle root over the receipts, one a transaction.
        evidence_root: Merkle root over the evidence.
        validators_hash: Merkle root over the members that vote on this block.
        next_validators_hash: The same for the next height.
        params_hash: Digest of the chain's parameters.
        timestamp_ms: Milliseconds since 1970 UTC, greater than the block's below.
        builder_id: Who built it.
        build_round: In which round it was built; a later round that proposes it again leaves it as it is.
    """

    version: int
    chain_id: bytes
    height: int
    epoch: int
    prev_block_id: bytes
    prev_commit_digest: bytes
    tx_root: bytes
    tx_count: int
    history_root: bytes
    state_root: bytes
    receipts_root: bytes
    evidence_root: bytes
    validators_hash: bytes
    next_validators_hash: bytes
    params_hash: bytes
    timestamp_ms: int
    builder_id: bytes
    build_round: int

    def encode(self) -> bytes:
        """Return the canonical bytes, ``HEADER_BYTES`` long."""
        return _FIELDS.pack(*(getattr(self, one.name) for one in fields(self)))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read a header.

        Raises:
            Malformed: Not the right length, or another version.
        """
        reader = Reader(data, "header")
        header = cls(*_FIELDS.unpack(reader.take(HEADER_BYTES)))
        reader.end()
        if header.version != VERSION:
            raise Malformed(f"header: version {header.version}; this program knows {VERSION}")
        return header

    @property
    def block_id(self) -> bytes:
        """SM3 of the header behind its domain."""
        return sm3(b"XL/BLK/1\0" + self.encode())


def history_leaf(block_id: bytes) -> bytes:
    """Return the leaf data of a block in the history tree."""
    return b"XL/BID/1\0" + block_id
