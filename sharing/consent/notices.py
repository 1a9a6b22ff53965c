"""After a patient took something back: who holds a dataset with the patient is told, by number and never by name.

A statement that narrows marks every dataset that its patient is in (``sharing.consent.desk``). Once it stands on the
chain, ``raise_notices`` has the chain say of how many persons rows must go. Called again and again, it says nothing
twice and forgets nothing: a mark is done with only when the chain shows that it was told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ledger.chain.block import Block
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.state import DELIVERY, NOTICE, REQUEST
from ledger.chain.transaction import DOMAIN
from ledger.chain.working_state import WorkingState
from ledger.encoding import u8
from ledger.exchange import Exchange
from ledger.messages.consent import ConsentState
from ledger.messages.delivery import GIVEN, DeliveryState
from ledger.messages.notice import DELETED, RAISED, ROUNDED, Notice, NoticeState
from ledger.messages.request_state import RequestState
from ledger.notary import Notary
from sharing.consent.cutting import statements
from sharing.consent.desk import Desk, settle
from vault.shares import Narrowed


@dataclass(frozen=True, slots=True)
class CalledBack:
    """A dataset of which rows must go.

    Attributes:
        request: Id of the ACCESS_REQ.
        requester: Who holds it, by name.
        holder: Who delivered it, by name.
        purpose: What for.
        persons: Of how many persons, rounded up to fives.
        stage: ``offered`` to the next block, or what stands on the chain: ``raised``, ``recut``, ``replaced``,
            ``deleted``.
        package: SM3 of the package cut anew, hex; "" where there is none.
        height: Block of the last message; 0 where none stands.
    """

    request: bytes
    requester: str
    holder: str
    purpose: str
    persons: int
    stage: str
    package: str = ""
    height: int = 0


def raise_notices(desk: Desk) -> list[CalledBack]:
    """Who holds datasets of which rows must go is told by the next block; returns what is told now.

    Meant to be called now and then rather than after each withdrawal: several patients are then told of together, and
    fewer can guess whom a notice is about.
    """
    settle(desk)
    view, found = desk.replica.view, list[CalledBack]()
    for request, marks in _standing(desk, view).items():
        persons = _persons(desk, request)
        if _told(view, desk.holder, request, persons, marks):
            desk.vault.shares.tell([one for one, _ in marks])
        elif _delivered(view, request + desk.holder) and not _on_its_way(desk, request):
            found.append(_raise(desk, view, request, persons))
    return found


def _standing(desk: Desk, view: ReplicaView) -> dict[bytes, list[tuple[Narrowed, int]]]:
    """Return by request the marks not told of whose statement stands, each with the statement's block."""
    marks = list(desk.vault.shares.narrowed(told=False))
    pseudonym = desk.vault.summaries.pseudonym
    values = statements(view, desk.holder, [pseudonym(one.owner) for one in marks])
    found: defaultdict[bytes, list[tuple[Narrowed, int]]] = defaultdict(list)
    for one in marks:
        value = values.get(pseudonym(one.owner))
        state = None if value is None else ConsentState.decode(value)
        if state is not None and state.sequence >= one.sequence:
            found[one.request].append((one, state.height))
    return dict(found)


def _persons(desk: Desk, request: bytes) -> int:
    """Return how many persons of a dataset took something back, rounded up."""
    owners = sorted({one.owner for one in desk.vault.shares.narrowed(request)})
    persons = len(set(desk.vault.extract.persons(owners).values()))
    return -(-persons // ROUNDED) * ROUNDED


def _told(
    view: ReplicaView, holder: bytes, request: bytes, persons: int, marks: Sequence[tuple[Narrowed, int]]
) -> bool:
    """Say whether what stands on the chain tells of all these marks, or nothing is left to tell of."""
    stored = view.state(NOTICE, request + holder)
    if stored is None:
        return False
    state = NoticeState.decode(stored)
    after = state.raised > max(height for _, height in marks)
    return state.stage == DELETED or (state.affected >= persons and (after or state.stage == RAISED))


def _delivered(view: ReplicaView, place: bytes) -> bool:
    stored = view.state(DELIVERY, place)
    return stored is not None and DeliveryState.decode(stored).answer == GIVEN


def _on_its_way(desk: Desk, request: bytes) -> bool:
    """Say whether a notice of this dataset waits for a block; what is final or lapsed no longer does."""
    tx = desk.vault.shares.saying(request)
    if tx is None:
        return False
    fate = desk.node.fate(tx)
    if fate.height is None and not fate.lapsed:
        desk.exchange.post_submission(tx, b"")
        return True
    desk.exchange.retire_submission(tx, b"")
    desk.vault.shares.say(request, None)
    return False


def _raise(desk: Desk, view: ReplicaView, request: bytes, persons: int) -> CalledBack:
    draft = Notice(**desk.node.heading(), request=request, holder=desk.holder, step=RAISED, affected=persons)
    tx = desk.node.sign(draft)
    desk.vault.shares.say(request, tx)
    desk.exchange.post_submission(tx, b"")
    requester, purpose = _asked(view, request)
    return CalledBack(request, requester, desk.node.institution, purpose, persons, "offered")


def _asked(view: ReplicaView, request: bytes) -> tuple[str, str]:
    stored = view.state(REQUEST, request)
    if stored is None:
        return "", ""
    asked = RequestState.decode(stored)
    return view.name(asked.requester), asked.purpose


# --- what was said -------------------------------------------------------------------------------------------------


def post_notice(node: Notary, exchange: Exchange, replica: Replica, **content: Any) -> bytes:
    """A NOTICE is offered to the next block; returns its id.

    Args:
        node: Of who says it.
        exchange: Where producers find it.
        replica: Its copy of the chain.
        content: Fields of ``ledger.messages.notice.Notice``: ``recut`` by who delivered, with both digests of the
            package cut anew; ``replaced`` or ``deleted`` by who asked.

    Raises:
        Refused: The next block would not take it; nothing was signed.
    """
    view = replica.view
    draft, trial = Notice(**node.heading(), **content), WorkingState(view, view.head.timestamp_ms + 1)
    draft.execute(trial)
    exchange.post_submission(node.sign(draft), b"")
    return draft.tx_id


def called_back(
    replica: Replica, institution: bytes, side: Literal["holder", "requester"] = "requester"
) -> list[CalledBack]:
    """Return the datasets of which rows must go, or went: those an institution received, or those it delivered.

    Every block is looked through; the oldest notice comes first.
    """
    view = replica.view
    found = (_called_back(view, *place) for place in dict.fromkeys(_places(replica, view.head.height)))
    name = view.name(institution)
    return [one for one in found if getattr(one, side) == name]


def _places(replica: Replica, head: int) -> Iterator[tuple[bytes, bytes]]:
    mark = DOMAIN + u8(Notice.TYPE)
    for height in range(1, head + 1):
        for tx in Block.decode(replica.block(height)[0]).transactions:
            if tx.startswith(mark):
                said = Notice.decode(tx)
                yield said.request, said.holder


def _called_back(view: ReplicaView, request: bytes, holder: bytes) -> CalledBack:
    state = NoticeState.decode(view.state(NOTICE, request + holder) or b"")
    requester, purpose = _asked(view, request)
    package = state.package.hex() if any(state.package) else ""
    return CalledBack(
        request, requester, view.name(holder), purpose, state.affected, state.stage, package, state.height
    )
