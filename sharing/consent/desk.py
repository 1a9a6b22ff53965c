"""Where an institution files its patients' statements: its vault, its node's signature, the way to the next block.

Each statement is noted in the vault, signed, before anybody sees it; what follows from it is done before it is posted.
So whoever is killed anywhere begins again with ``settle``, and nothing is filed twice or half.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.smt import state_key
from ledger.chain.state import DELIVERY, REQUEST, SEEN
from ledger.chain.validators import institution_id
from ledger.encoding import DIGEST
from ledger.exchange import Exchange
from ledger.messages.consent import ConsentState
from ledger.messages.delivery import GIVEN, DeliveryState
from ledger.messages.erasure import DIRECTORY, Erase, portions
from ledger.messages.provisions import Question
from ledger.messages.request_state import RequestState
from ledger.notary import Notary
from vault.consents import Filed
from vault.store import Vault


@dataclass(frozen=True)
class Desk:
    """What filing needs of one institution.

    Attributes:
        vault: Its vault.
        node: Its node, which signs.
        exchange: Where producers find what is offered.
        replica: Its copy of the chain.
    """

    vault: Vault
    node: Notary
    exchange: Exchange
    replica: Replica
    holder: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Take the institution from its node."""
        object.__setattr__(self, "holder", institution_id(self.node.institution))

    def post(self, transactions: Sequence[bytes]) -> None:
        """These messages are offered to the next producers; offered again, nothing changes."""
        if transactions:
            self.exchange.post_submissions(transactions)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a patient is in.

    Attributes:
        request: Id of the ACCESS_REQ.
        requester: Who received it, by its name in the region's files.
        purpose: What for.
        delivered: Block of the delivery; 0 where none was announced so far.
        time_ms: The block's time, milliseconds since 1970 UTC; 0 likewise.
    """

    request: bytes
    requester: str
    purpose: str
    delivered: int
    time_ms: int


def settle(desk: Desk) -> list[Filed]:
    """What came into force is noted, what lapsed is forgotten; returns what still waits, all of it offered."""
    open_, view = desk.vault.consents.open(), desk.replica.view
    if not open_:
        return []
    seen = view.state_values([state_key(SEEN, one.tx_id) for one in open_])
    final = [one for one in open_ if state_key(SEEN, one.tx_id) in seen]
    left = [one for one in open_ if state_key(SEEN, one.tx_id) not in seen]
    lapsed = [one for one in left if view.head.height >= one.expiry]
    for one in lapsed:
        desk.exchange.retire_submission(one.tx, b"")
        desk.vault.shares.lapse(one.owner, one.sequence)
    for one in final:  # a dataset that was being made when it was filed holds the patient by now
        _call_back(desk, view, one)
    desk.vault.consents.forget(lapsed)
    desk.vault.consents.close(final)
    waiting = [one for one in left if view.head.height < one.expiry]
    carry_out(desk, view, [one for one in waiting if not one.posted])
    return waiting


def carry_out(desk: Desk, view: ReplicaView, filed: Sequence[Filed]) -> None:
    """All that follows from these statements is done here, and they are offered to the next block."""
    messages: list[bytes] = []
    withheld = desk.vault.consents.withheld([one.owner for one in filed])
    for one in filed:
        messages += _directory(desk, one.owner, ConsentState.decode(one.will), one.owner in withheld)
        _call_back(desk, view, one)
    desk.post([*messages, *(one.tx for one in filed)])
    desk.vault.consents.posted(filed)


def _call_back(desk: Desk, view: ReplicaView, filed: Filed) -> None:
    for request in called_back(desk, view, filed.owner, ConsentState.decode(filed.will)):
        desk.vault.shares.narrow(request, filed.owner, filed.sequence)


def _directory(desk: Desk, owner: bytes, state: ConsentState, withheld: bool) -> list[bytes]:
    """The patient is in summaries or is not, as the statement says; returns what the chain is to be told.

    A summary is sealed to every member, so a denial for anybody is one for all.
    """
    denied = any(not one.permits and DIRECTORY in one.purposes for one in state.provisions)
    if not (state.withdrawn or denied):
        if withheld:
            desk.vault.summaries.allow_owner(owner)
        return []
    gone = desk.vault.summaries.withhold_owner(owner)
    drafts = (Erase(**desk.node.heading(), reason=DIRECTORY, records=tuple(some)) for some in portions(gone))
    return [desk.node.sign(one) for one in drafts]


def called_back(desk: Desk, view: ReplicaView, owner: bytes, state: ConsentState) -> list[bytes]:
    """Return the datasets with the patient of which a statement forbids something that its delivery gave.

    A permit that ends by itself takes nothing back: what was given while it stood was given rightly.
    """
    if not state.withdrawn and all(one.permits for one in state.provisions):
        return []
    return [one for one in desk.vault.shares.of(owner) if state.withdrawn or _forbids(view, one, state)]


def _forbids(view: ReplicaView, request: bytes, state: ConsentState) -> bool:
    stored = view.state(REQUEST, request)
    if stored is None:
        return True
    asked = RequestState.decode(stored)
    requester = view.roster.registration(asked.requester)
    class_ = requester.class_ if requester else ""
    question = Question(asked.purpose, asked.requester, class_, None, view.head.timestamp_ms)
    return any(not one.permits and one.covers(question) for one in state.provisions)


def datasets(desk: Desk, view: ReplicaView, owners: Iterable[bytes]) -> list[Dataset]:
    """Return the datasets that any of these patients is in, in order of delivery."""
    requests = sorted({request for owner in owners for request in desk.vault.shares.of(owner)})
    found = [_dataset(desk, view, one) for one in requests]
    return sorted(found, key=lambda one: (one.delivered, one.request))


def _dataset(desk: Desk, view: ReplicaView, request: bytes) -> Dataset:
    stored, answer = view.state(REQUEST, request), view.state(DELIVERY, request + desk.holder)
    delivery = None if answer is None else DeliveryState.decode(answer)
    delivered = delivery.height if delivery and delivery.answer == GIVEN else 0
    time_ms = desk.replica.header(delivered).timestamp_ms if delivered else 0
    if stored is None or len(request) != DIGEST:
        return Dataset(request, "", "", delivered, time_ms)
    asked = RequestState.decode(stored)
    return Dataset(request, view.name(asked.requester), asked.purpose, delivered, time_ms)
