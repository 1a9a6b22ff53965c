"""What the chain says to an export: which requests wait for this holder."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.chain.replica import Replica
from ledger.chain.rules import Ledger
from ledger.chain.working_state import WorkingState
from ledger.messages.access import holders_to_answer
from ledger.messages.delivery import current
from ledger.messages.request_state import RequestState


def now(replica: Replica) -> WorkingState:
    """Return the state of the next block as a replica sees it, a moment after its head."""
    view = replica.view
    return WorkingState(view, view.head.timestamp_ms + 1)


def waiting(ledger: Ledger, holder: bytes) -> Iterator[tuple[bytes, RequestState]]:
    """Yield the datasets that were allowed and that a holder may still answer, in order of deadline."""
    for tx_id, request in current(ledger):
        if not request.is_record and holder in holders_to_answer(ledger, tx_id, request):
            yield tx_id, request
