"""What became of a transaction: its institution asks its own replica, never whoever carried it."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.replica import Replica
from ledger.chain.state import SEEN, BatchState, batch_key
from ledger.chain.transaction import Transaction
from ledger.chain.transactions import open_transaction


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a transaction stands.

    Attributes:
        height: The final block it is in, or None.
        lapsed: It can never become final: it expired, or for a batch, another one took its number.
    """

    height: int | None
    lapsed: bool


def fate_of(replica: Replica, tx: bytes) -> Fate:
    """Return what this replica knows of a transaction.

    Raises:
        Malformed: The bytes are none.
        Diverged: The replica's own store was changed.
    """
    opened, view = open_transaction(tx), replica.view
    lapsed = view.head.height >= opened.expiry_height
    if isinstance(opened, Transaction):
        seen = view.state(SEEN, opened.tx_id)
        return Fate(None, lapsed) if seen is None else Fate(int.from_bytes(seen, "big"), lapsed=False)
    batch, key = opened, batch_key(opened.submitter, opened.seq)
    stored = view.state_values([key]).get(key)
    if stored is None:
        return Fate(None, lapsed)
    found = BatchState.decode(stored)
    same = (found.batch_root, found.count) == (batch.batch_root, batch.count)
    return Fate(found.height if same else None, not same)
