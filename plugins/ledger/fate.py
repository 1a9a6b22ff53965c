"""What became of a signed batch: its institution asks its own replica, never whoever carried it."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.batch import SubmitBatch
from ledger.replica import Replica
from ledger.state import BatchState, batch_key


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a batch stands.

    Attributes:
        height: The final block it is in, or None.
        lapsed: It can never become final: it expired, or another batch took its number.
    """

    height: int | None
    lapsed: bool


def fate_of(replica: Replica, tx: bytes) -> Fate:
    """Return what this replica knows of a SUBMIT_BATCH transaction.

    Raises:
        Malformed: The bytes are none.
    """
    batch, view = SubmitBatch.decode(tx), replica.view
    key = batch_key(batch.submitter, batch.seq)
    stored = view.values([key]).get(key)
    if stored is None:
        return Fate(None, view.head.height >= batch.expiry_height)
    found = BatchState.decode(stored)
    same = (found.batch_root, found.count) == (batch.batch_root, batch.count)
    return Fate(found.height if same else None, not same)
