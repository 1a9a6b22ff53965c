"""What a machine without a key sees of the open round: it follows the chain, and believes no institution's word.

Airflow's waits rest on it. An institution can put any bytes into the exchange; none of them ends a wait that is not
verified here, by a node that executes every block itself and signs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pymongo import MongoClient

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT
from ledger.agreement.place import PROPOSAL, Place
from ledger.agreement.production import collect
from ledger.agreement.proposal import Proposal, check_proposal
from ledger.agreement.round_timer import patience
from ledger.carrier import catch_up
from ledger.chain.block import Block
from ledger.chain.execution import Execution, Terms
from ledger.chain.replica import Replica
from ledger.chain.transactions import is_message
from ledger.chain.validators import institution_id
from ledger.chain.working_state import WorkingState
from ledger.errors import Refused
from ledger.exchange import Exchange
from ledger.messages.delivery import awaited, current
from ledger.node import Node
from ledger.opening import StoredEnvelopes, load_genesis
from schemas.home import Home
from shangmi import sm3

#: The observer's replica, beside those of the institutions; none may be called so.
OBSERVER: Final = "observer"
_TYPES: Final = {"prepare": PREPARE, "commit": COMMIT, "timeout": TIMEOUT}
_PAIR: Final = 2 * 64 + 1


class Observer:
    """Sees what the exchange shows of a round, and takes nothing from it unverified.

    Args:
        node: Without a key, on a replica of its own.
        exchange: Where the institutions leave their bytes.
    """

    def __init__(self, node: Node, exchange: Exchange) -> None:
        self._node, self._exchange = node, exchange

    def place(self) -> Place:
        """Return the open height and round, after catching up with what is final."""
        catch_up(self._node, self._exchange)
        height, round_ = self._node.height + 1, 0
        while self._certified(height, round_, TIMEOUT):
            round_ += 1
        return Place(height, round_)

    def _certified(self, height: int, round_: int, type_: int) -> bool:
        shown = self._exchange.certificates(height, round_, type_)
        return self._node.good_certificate(shown, height, round_, type_) is not None

    def producer(self, place: Place) -> str:
        """Return whose turn it is there, by its id in the region's file."""
        view = self._node.replica.view
        return view.name(view.voters_at(place.height).producer(place.height, place.round).id)

    def sees(self, step: str, place: Place) -> bool:
        """Say whether a step of a round stands in the exchange: verified, or outlived by what is final.

        Args:
            step: ``proposal``, ``prepare``, ``commit`` or ``timeout``.
            place: Height and round of it.
        """
        if step == PROPOSAL:
            return self._proposed(place) or self.place() > place
        if self._certified(place.height, place.round, _TYPES[step]):
            return True
        return step != "timeout" and self.place().height > place.height

    def _proposed(self, place: Place) -> bool:
        return any(self._is_proposal(data, place) for data in self._exchange.proposals(place.height, place.round))

    def _is_proposal(self, data: bytes, place: Place) -> bool:
        """Say whether these bytes are signed by the producer whose turn it is, and justified; voters check the rest."""
        view = self._node.replica.view
        if place.height != view.head.height + 1:
            return False
        try:
            opened = Proposal.decode(data)
            block = Block.decode(opened.block)
            header = block.header
            if (header.chain_id, header.height, opened.round) != (view.genesis.chain_id, place.height, place.round):
                return False
            check_proposal(opened, block, view.validators)
        except Refused:
            return False
        return True

    def is_idle(self, place: Place) -> bool:
        """Say whether no round was given up at this height, and all that is offered is final, lapsed or rubbish."""
        return not place.round and not any(self._is_open(tx) for tx in self._exchange.transactions())

    def messages(self) -> frozenset[bytes]:
        """Return digests of what the next block would take in and not wait for: no batch, no fact for credit."""
        self.place()
        offered = [(tx, b"") for tx in self._exchange.transactions() if is_message(tx)]
        execution = self._drafted(offered, self._exchange.evidence())
        return frozenset(map(sm3, (*execution.transactions, *execution.evidence)))

    def allowed(self) -> frozenset[bytes]:
        """Return what allowed requests wait for: a holder's answer, or that an announced package is laid out."""
        self.place()
        view = self._node.replica.view
        ledger = WorkingState(view, view.head.timestamp_ms + 1)
        return frozenset(one for tx_id, request in current(ledger) for one in awaited(ledger, tx_id, request))

    def _is_open(self, tx: bytes) -> bool:
        try:
            fate = self._node.fate(tx)
        except Refused:
            return False
        return fate.height is None and not fate.lapsed

    def would_propose(self, place: Place) -> bool:
        """Say whether an honest producer proposes there: one that does not is dead, or silent.

        It costs as much as judging a block of all that is offered.
        """
        if place.round:
            return True
        return not self._drafted(self._exchange.submissions(), ()).is_idle

    def _drafted(self, submissions: Iterable[tuple[bytes, bytes]], evidence: Iterable[bytes]) -> Execution:
        """Return the next block as an honest producer would fill it from these."""
        view = self._node.replica.view
        terms = Terms(view.commit_qc, self._node.id, 0, view.head.timestamp_ms + 1)
        execution = Execution(self._node.genesis, view, terms)
        collect(execution, submissions, evidence)
        return execution

    def patience(self, place: Place) -> int:
        """Return by how much a round's time is longer: doubled each time that all producers had their turn."""
        return patience(self._node.replica.view, place.round)

    def is_quorum(self, institutions: Sequence[str]) -> bool:
        """Say whether these institutions together are more than two thirds of the votes of the open height."""
        voters = self._node.replica.view.validators
        members = (voters.member(institution_id(one)) for one in institutions)
        return voters.has_quorum(sum(one.weight for one in members if one is not None))


def open_observer(home: Home, client: MongoClient[dict[str, Any]], exchange: Exchange) -> Observer:
    """Return the observer of this machine; its replica is the database ``ledger_observer``.

    Raises:
        ConfigurationError: There is no genesis here.
    """
    genesis = load_genesis(home)
    replica = Replica(client[f"ledger_{OBSERVER}"], genesis)
    return Observer(Node(genesis, OBSERVER, None, replica, None, StoredEnvelopes(client), lambda: 0), exchange)
