"""What became of a signed batch: its institution asks its own replica, never whoever carried it."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.batch import SubmitBatch
from ledger.errors import Diverged
from ledger.replica import Replica
from ledger.smt import value_hash
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
        Diverged: The replica's own store was changed.
    """
    batch, view = SubmitBatch.decode(tx), replica.view
    key = batch_key(batch.submitter, batch.seq)
    hash_ = view.tree.hashes([key]).get(key)
    if hash_ is None:
        return Fate(None, view.head.height >= batch.expiry_height)
    stored = view.values([hash_]).get(hash_)
    if stored is None or value_hash(stored) != hash_:
        raise Diverged("a stored value is missing or is not the one the state root commits to")
    found = BatchState.decode(stored)
    same = (found.batch_root, found.count) == (batch.batch_root, batch.count)
    return Fate(found.height if same else None, not same)
