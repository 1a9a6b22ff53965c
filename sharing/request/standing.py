"""Where a request stands: what the chain says of it, who approved, who delivered, who received."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ledger.chain.block import Block
from ledger.chain.leaves import RecordLeaf
from ledger.chain.receipt import read_receipt
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.state import DELIVERY, REQUEST, SEEN
from ledger.chain.transaction import DOMAIN
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval, read_approval
from ledger.messages.asked import RecordAsked
from ledger.messages.delivery import DeliveryState
from ledger.messages.request_state import REFUSED, WAITING, RequestState, Verdict, Voice
from sharing.errors import NotYet

LAPSED: Final = "lapsed"
DENIED: Final = "denied"


@dataclass(frozen=True, slots=True)
class Answered:
    """What one holder did.

    Attributes:
        holder: By id.
        delivery: Its answer, or None so far.
    """

    holder: bytes
    delivery: DeliveryState | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands.

    Attributes:
        asked: Its ACCESS_REQ.
        asked_at: Block of the request.
        stage: ``pending``, ``allowed``, ``refused`` by the committee, ``denied`` by the rules, or ``lapsed``: the
            committee's time is over.
        verdict: What the rules said last, where a receipt of it is kept here.
        until: Last block in which the committee, or the holders, are in time; None where nothing is awaited.
        voices: What the committee said, in order.
        answers: What each holder did.
    """

    asked: AccessRequest
    asked_at: int
    stage: str
    verdict: Verdict | None
    until: int | None
    voices: tuple[Voice, ...]
    answers: tuple[Answered, ...]

    @property
    def digest(self) -> bytes:
        """What a member of the committee signs: the digest of the request file, or of the record's envelope."""
        return digest_of(self.asked)

    @property
    def is_record(self) -> bool:
        """Whether one record is asked for, not a dataset."""
        return isinstance(self.asked.asked, RecordAsked)


def digest_of(tx: AccessRequest) -> bytes:
    """Return what the committee signs of a request."""
    if isinstance(tx.asked, RecordAsked):
        return RecordLeaf.decode(tx.asked.leaf).ct_digest
    return tx.asked.digest


def standing(replica: Replica, tx_id: bytes) -> Standing:
    """Return where a request stands, by the blocks of one replica.

    Raises:
        NotYet: No final block holds this request so far, or its block is not kept here.
    """
    view = replica.view
    seen = view.state(SEEN, tx_id)
    if seen is None:
        raise NotYet("no final block holds this request so far; it is offered to the next ones until it lapses")
    height = int.from_bytes(seen, "big")
    tx, verdict = _made(replica, height, tx_id)
    stored = view.state(REQUEST, tx_id)
    if stored is None:
        return Standing(tx, height, DENIED, verdict, None, (), ())
    state = RequestState.decode(stored)
    lapsed = state.stage == WAITING and view.head.height >= state.deadline
    waits = state.stage not in (DENIED, REFUSED)
    return Standing(
        tx, height, LAPSED if lapsed else state.stage, _decided(replica, tx_id, state) or verdict,
        state.deadline if waits and not lapsed else None, state.voices,
        tuple(Answered(one, _delivery(view, tx_id, one)) for one in state.holders),
    )  # fmt: skip


def requests(replica: Replica, since: int = 1) -> Iterator[AccessRequest]:
    """Yield the ACCESS_REQs in a replica's blocks, newest first.

    Args:
        replica: It.
        since: First block that is looked at.
    """
    for height in range(replica.view.head.height, max(since, 1) - 1, -1):
        try:
            found = list(_requests_of(replica, height))
        except KeyError:
            return  # this replica began with a later state
        yield from reversed(found)


def _requests_of(replica: Replica, height: int) -> Iterator[AccessRequest]:
    for data in Block.decode(replica.block(height)[0]).transactions:
        if data[len(DOMAIN)] == AccessRequest.TYPE:
            yield AccessRequest.decode(data)


def _made(replica: Replica, height: int, tx_id: bytes) -> tuple[AccessRequest, Verdict | None]:
    try:
        tx = next((one for one in _requests_of(replica, height) if one.tx_id == tx_id), None)
    except KeyError:
        tx = None
    if tx is None:
        raise NotYet(f"it is no request, or block {height} is not kept here; ask another node")
    for receipt in replica.receipts(height):
        id_, outcome = read_receipt(receipt)
        if id_ == tx_id:
            return tx, Verdict.decode(outcome.code, outcome.detail)
    return tx, None


def _decided(replica: Replica, tx_id: bytes, state: RequestState) -> Verdict | None:
    """Return what the rules said when the committee had approved: it stands in the receipt of the last approval."""
    if not state.approved:
        return None
    try:
        transactions = Block.decode(replica.block(state.height)[0]).transactions
        receipts = replica.receipts(state.height)
    except KeyError:
        return None  # this replica began with a later state
    found = None
    for data, receipt in zip(transactions, receipts, strict=False):
        if data[len(DOMAIN)] == Approval.TYPE and Approval.decode(data).request == tx_id:
            _, outcome = read_receipt(receipt)
            found = read_approval(outcome.code, outcome.detail)[1] or found
    return found


def _delivery(view: ReplicaView, tx_id: bytes, holder: bytes) -> DeliveryState | None:
    stored = view.state(DELIVERY, tx_id + holder)
    return None if stored is None else DeliveryState.decode(stored)
