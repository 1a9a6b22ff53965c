"""A block's bytes: header, the certificate of the block below, transactions, evidence (section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.header import HEADER_BYTES, Header
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.encoding import Reader, listed, var

MAX_TRANSACTIONS = 1_024
MAX_EVIDENCE = 64
#: Bytes of transactions and evidence together.
MAX_CONTENT = 1 << 20
MAX_CERTIFICATE = 1 << 18
_DOMAIN = b"XL/BLOCK/1\0"


@dataclass(frozen=True, slots=True)
class Block:
    """A block without its own certificate, which travels beside it.

    Attributes:
        header: What the id is made of.
        prev_commit: CommitQC of the block below; empty at height 1.
        transactions: Signed transactions, in order.
        evidence: Proofs of double signing; they are executed first.
    """

    header: Header
    prev_commit: bytes
    transactions: tuple[bytes, ...]
    evidence: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            _DOMAIN + self.header.encode() + var(self.prev_commit) + listed(self.transactions) + listed(self.evidence)
        )

    @classmethod
    def decode(cls, data: bytes) -> Block:
        """Read a block, or raise Malformed; nothing in it is believed yet."""
        reader = Reader(data, "block")
        reader.constant(_DOMAIN)
        found = cls(
            Header.decode(reader.take(HEADER_BYTES)),
            reader.var(MAX_CERTIFICATE),
            reader.listed(MAX_TRANSACTIONS, MAX_TRANSACTION),
            reader.listed(MAX_EVIDENCE, MAX_CERTIFICATE),
        )
        reader.end()
        return found
