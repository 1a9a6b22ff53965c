"""SUBMIT_BATCH: one institution's signature over the root of many records (section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.leaves import MAX_LEAVES
from ledger.encoding import DIGEST, SHORT_ID, SIGNATURE, Reader, u8, u32, u64, var
from shangmi import sm3

SUBMIT_BATCH = 1
_DOMAIN = b"XL/TX/1\0"


@dataclass(frozen=True, slots=True)
class SubmitBatch:
    """The signed announcement of a batch.

    Attributes:
        chain_id: The chain it is meant for.
        submitter: Institution that signs.
        key_id: Key it signs with.
        seq: Number among its batches, from 1 and strictly one more each time.
        batch_root: Merkle root over the record leaves.
        count: Number of leaves.
        policy_id: Policy the records are published under.
        expiry_height: Last height at which it may enter a block.
        locator: Where its envelopes lie.
        signature: SM2 over ``signed_bytes``, r||s.
    """

    chain_id: bytes
    submitter: bytes
    key_id: bytes
    seq: int
    batch_root: bytes
    count: int
    policy_id: bytes
    expiry_height: int
    locator: str
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """Return what the institution signs."""
        return (
            _DOMAIN
            + u8(SUBMIT_BATCH)
            + self.chain_id
            + self.submitter
            + self.key_id
            + u64(self.seq)
            + self.batch_root
            + u32(self.count)
            + self.policy_id
            + u64(self.expiry_height)
            + var(self.locator.encode())
        )

    def encode(self) -> bytes:
        """Return the transaction: leaf of the block's ``tx_root``."""
        return self.signed_bytes() + self.signature

    @property
    def tx_id(self) -> bytes:
        """SM3 of the signed bytes: SM2 is randomised, so a signature names nothing."""
        return sm3(self.signed_bytes())

    @classmethod
    def decode(cls, data: bytes) -> SubmitBatch:
        """Read a transaction, or raise Malformed; the signature is not verified here."""
        reader = Reader(data, "SUBMIT_BATCH")
        reader.constant(_DOMAIN + u8(SUBMIT_BATCH))
        found = cls(
            chain_id=reader.take(DIGEST),
            submitter=reader.take(SHORT_ID),
            key_id=reader.take(SHORT_ID),
            seq=reader.u64(),
            batch_root=reader.take(DIGEST),
            count=reader.count(MAX_LEAVES),
            policy_id=reader.take(SHORT_ID),
            expiry_height=reader.u64(),
            locator=reader.text(256),
            signature=reader.take(SIGNATURE),
        )
        reader.end()
        if not found.seq or not found.count:
            raise reader.wrong("number or count is 0")
        return found
