"""Watching what institutions show each other: evidence, missed turns, late votes (sections 9, 10 and 11).

Anybody may watch; nobody has to be believed. What is found goes into the exchange for the next producers, and every
node verifies it again before it enters a block.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT, Ballot, QuorumCertificate, Vote
from ledger.chain.state import CREDIT, EVIDENCE, TALLY
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.credit.credit import opened_credit, opened_tally
from ledger.credit.credit_messages import LateVote, Missed
from ledger.credit.evidence import Conviction, convict, find_evidence
from ledger.credit.offences import BROKEN_BUILD
from ledger.credit.statements import Voters
from ledger.encoding import SHORT_ID
from ledger.errors import Refused
from shangmi import sm3

if TYPE_CHECKING:
    from ledger.chain.replica import Replica, ReplicaView
    from ledger.chain.transaction import Transaction
    from ledger.credit.tally import Tally
    from ledger.exchange import Exchange
    from ledger.notary import Notary

log = logging.getLogger(__name__)
#: Final heights below the head whose messages are looked at again each time.
HEIGHTS: Final = 3
#: Rounds of one height that are looked at, at most.
ROUNDS: Final = 32


@dataclass(frozen=True, slots=True)
class Watched:
    """What one look found and put into the exchange.

    Attributes:
        convictions: What new evidence proves.
        late_votes: Heights whose certificates left this institution out.
        missed: Height and round of each missed turn.
    """

    convictions: tuple[Conviction, ...]
    late_votes: tuple[int, ...]
    missed: tuple[tuple[int, int], ...]


class Watch:
    """Looks at the exchange for what the chain does not know yet.

    Args:
        replica: The watcher's copy of the chain.
        exchange: Where institutions leave their messages.
        node: The watcher's own node, which signs LATE_VOTE and MISSED; without it only evidence is looked for.
    """

    def __init__(self, replica: Replica, exchange: Exchange, node: Notary | None = None) -> None:
        self._replica, self._exchange, self._node = replica, exchange, node

    def look(self, heights: int = HEIGHTS) -> Watched:
        """Return what was found in the last heights and the open one; it stands in the exchange."""
        view = self._replica.view
        convictions = self._convict(view, heights)
        if self._node is None:
            return Watched(convictions, (), ())
        tally = opened_tally(view.state(TALLY))
        late = self._add_late_votes(self._node, view, tally)
        return Watched(convictions, late, self._report_missed(self._node, view, tally))

    # --- evidence ----------------------------------------------------------------------------------------------

    def _convict(self, view: ReplicaView, heights: int) -> tuple[Conviction, ...]:
        """Show all evidence that is new, and retire what is not."""
        voters = Voters.known_to(view.genesis.chain_id, view)
        shown = self._shown(view, voters)
        convictions = []
        for height in range(max(view.head.height - heights, 1), view.head.height + 2):
            for data in find_evidence(self._messages(height), voters):
                found = _proves(data, view, voters)
                if found is not None and found.id not in shown:
                    shown.add(found.id)
                    self._exchange.post_evidence(data)
                    convictions.append(found)
                    log.warning("height %d: %s signed %s", height, view.name(found.institution), found.reason)
        return tuple(convictions)

    def _shown(self, view: ReplicaView, voters: Voters) -> set[bytes]:
        """Retire what proves nothing new until nothing of it is listed; return the ids of what stays."""
        while True:
            listed = {data: _proves(data, view, voters) for data in self._exchange.evidence()}
            useless = [data for data, found in listed.items() if found is None]
            for data in useless:
                self._exchange.retire_evidence(data)
            if not useless:
                return {found.id for found in listed.values() if found}

    def _messages(self, height: int) -> Iterator[bytes]:
        """Yield everything signed about a height that is shown or stored, up to the first round without any of it."""
        for round_ in range(ROUNDS):
            shown = False
            for data in self._of_round(height, round_):
                shown = True
                yield data
            if not shown:
                break
        if 0 < height <= self._replica.view.head.height:
            yield self._replica.block(height)[1]

    def _of_round(self, height: int, round_: int) -> Iterator[bytes]:
        yield from self._exchange.proposals(height, round_)
        for type_ in (PREPARE, COMMIT, TIMEOUT):
            yield from self._exchange.votes(height, round_, type_)
            yield from self._exchange.certificates(height, round_, type_)

    # --- facts for credit --------------------------------------------------------------------------------------

    def _add_late_votes(self, node: Notary, view: ReplicaView, tally: Tally) -> tuple[int, ...]:
        """Offer this institution's own COMMITs that certificates left out."""
        mine, done = institution_id(node.institution), list[int]()
        for height in (one.height for one in tally.confirmed if mine in one.left_out):
            certificate = self._replica.block(height)[1]
            final = QuorumCertificate.decode(certificate).ballot
            vote = next(self._commits(final, mine), None)
            if vote and self._offer(node, view, LateVote, height, {"vote": vote, "certificate": certificate}):
                done.append(height)
        return tuple(done)

    def _commits(self, final: Ballot, voter: bytes) -> Iterator[bytes]:
        """Yield a voter's COMMITs on a final block that the exchange shows."""
        for round_ in range(final.round + 1):
            for data in self._exchange.votes(final.height, round_, COMMIT):
                try:
                    vote = Vote.decode(data)
                except Refused:
                    continue
                if vote.voter == voter and vote.ballot.block_id == final.block_id:
                    yield data

    def _report_missed(self, node: Notary, view: ReplicaView, tally: Tally) -> tuple[tuple[int, int], ...]:
        """Offer the timeout certificates of turns that the chain does not count yet."""
        known, done = {(one.height, one.round) for one in tally.missed}, list[tuple[int, int]]()
        for one in tally.confirmed:
            final = QuorumCertificate.decode(self._replica.block(one.height)[1]).ballot
            for turn in ((one.height, round_) for round_ in range(final.round)):
                if turn in known or view.voters_at(one.height).producer(*turn).id == one.builder:
                    continue
                shown = self._exchange.certificates(*turn, TIMEOUT)
                certificate = node.good_certificate(shown, *turn, TIMEOUT)
                if certificate and self._offer(node, view, Missed, one.height, {"certificate": certificate}):
                    done.append(turn)
        return tuple(done)

    def _offer(
        self, node: Notary, view: ReplicaView, kind: type[Transaction], height: int, fields: dict[str, Any]
    ) -> bool:
        """Offer a signed transaction once; looking again makes the same one, which the chain takes once."""
        heading = node.heading() | {"expiry_height": height + view.parameters.late_blocks}
        draft = kind(**heading, **fields)
        heading["nonce"] = sm3(b"XL/WATCH/1\0" + draft.content())[:SHORT_ID]
        draft = kind(**heading, **fields)
        if draft.tx_id in self._offered():
            return False
        self._exchange.post_submission(node.sign(draft), b"")
        return True

    def _offered(self) -> set[bytes]:
        """Return the ids of the transactions that wait: a second signature would be other bytes."""
        found = set()
        for data in self._exchange.transactions():
            with suppress(Refused):
                found.add(open_transaction(data).tx_id)
        return found


def _proves(data: bytes, view: ReplicaView, voters: Voters) -> Conviction | None:
    """Return what evidence proves that the chain does not know yet, or None."""
    try:
        found = convict(data, voters)
    except Refused:
        return None
    oldest = view.head.height + 1 - view.parameters.evidence_blocks
    if view.state(EVIDENCE, found.id) is not None or found.height < oldest:
        return None
    credit = opened_credit(view.state(CREDIT, found.institution), view.validators, found.institution)
    return None if found.kind != BROKEN_BUILD and credit.convicted_at >= found.height else found
