"""Receipts: what became of a block's transactions, one each; leaves of the header's ``receipts_root`` (section 4)."""

from __future__ import annotations

from typing import Final

from ledger.chain.rules import ACCEPTED, DENIED, PENDING, Outcome
from ledger.encoding import DIGEST, Reader, u8, var

MAX_DETAIL: Final = 1 << 17
MAX_RECEIPT: Final = MAX_DETAIL + 64
_DOMAIN = b"XL/RCPT/1\0"


def encode_receipt(tx_id: bytes, outcome: Outcome) -> bytes:
    """Return a receipt: leaf of ``receipts_root``."""
    return _DOMAIN + tx_id + u8(outcome.code) + var(outcome.detail)


def read_receipt(data: bytes) -> tuple[bytes, Outcome]:
    """Return a receipt's transaction id and outcome, or raise Malformed."""
    reader = Reader(data, "receipt")
    reader.constant(_DOMAIN)
    tx_id, code, detail = reader.take(DIGEST), reader.u8(), reader.var(MAX_DETAIL)
    reader.end()
    if code not in (ACCEPTED, DENIED, PENDING):
        raise reader.wrong(f"outcome {code} is none")
    return tx_id, Outcome(code, detail)
