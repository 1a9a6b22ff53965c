"""What moves between one node and the exchange at each step of a block; it judges nothing, the node does.

Every method may be called again at any time, by a retry, a zombie or a doubled task: the node's vote store returns
what was signed before, and the exchange lists the same bytes once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT, QuorumCertificate
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock
from ledger.errors import Behind, Halted, Refused
from ledger.exchange import Exchange
from ledger.notary import Notary

log = logging.getLogger(__name__)
#: Bytes of votes and certificates that are searched, at each step, for what the node's key signed elsewhere.
_MAX_SHOWN = 16 << 20
Made = TypeVar("Made")


class Carrier:
    """Carries bytes for one institution's node.

    Args:
        node: The institution's.
        exchange: Where the others leave theirs.
    """

    def __init__(self, node: Notary, exchange: Exchange) -> None:
        self.node = node
        self.exchange = exchange

    def place(self) -> tuple[int, int]:
        """Return the height to be decided and its open round, after catching up with what is final."""
        catch_up(self.node, self.exchange)
        height, round_, opened = self.node.height + 1, 0, b""
        while (tc := self._certificate(height, round_, TIMEOUT)) is not None:
            round_, opened = round_ + 1, tc
        self.node.observe(self._shown(height, round_))
        self._open(height, round_, opened)
        return height, round_

    def _open(self, height: int, round_: int, tc: bytes) -> None:
        """The node counts the time of the round, where there is a reason for it to be open."""
        for cause in (tc,) if round_ else self._offered():
            try:
                self.node.open_round(height, round_, cause)
            except (Refused, Behind):
                continue  # rubbish, or final by now: the next one may be a reason
            return

    def _offered(self) -> Iterator[bytes]:
        yield from self.exchange.transactions()
        yield from self.exchange.evidence()

    def _shown(self, height: int, round_: int) -> Iterator[bytes]:
        """Yield votes and certificates that are shown of a height, newest round first; of a flood, some."""
        left = _MAX_SHOWN
        for one in range(round_, -1, -1):
            for type_ in (PREPARE, COMMIT, TIMEOUT):
                votes, certificates = self.exchange.votes(height, one, type_), self.exchange.certificates
                for data in chain(votes, certificates(height, one, type_)):
                    left -= len(data)
                    if left < 0:
                        return
                    yield data

    def propose(self) -> dict[str, int] | None:
        """The open round's block stands in the exchange; None where it is another's turn or nothing waits."""
        height, round_ = self.place()
        if not self.node.is_producer(height, round_):
            return None
        proposal = self.node.propose(
            self._waiting(),
            round_,
            self._certificate(height, round_ - 1, TIMEOUT) if round_ else None,
            carried=_Proposals(self.exchange, height, range(round_)),
            evidence=self.exchange.evidence(),
            on_skip=self._leave_out,
        )
        if proposal is None:
            return None
        self.exchange.post_proposal(height, round_, proposal)
        return {"height": height, "round": round_}

    def _leave_out(self, data: bytes, error: Refused) -> None:
        log.warning("height %d: a submission is left out: %s", self.node.height + 1, error)
        if error.rule in ("repeated evidence", "evidence age"):
            self.exchange.retire_evidence(data)  # it will prove nothing new in any later block either

    def _waiting(self) -> list[tuple[bytes, bytes]]:
        """Return the batches offered that are not final yet; those that are need no longer be offered."""
        waiting = []
        for tx, leaves in self.exchange.submissions():
            if is_final(self.node, tx):
                self.exchange.retire_submission(tx, leaves)
            else:
                waiting.append((tx, leaves))
        return waiting

    def prepare(self) -> dict[str, int]:
        """The node's PREPARE stands in the exchange, and the PrepareQC where this vote completed it.

        Raises:
            Refused: Every proposal there breaks a rule; the first one's is named.
            Behind: No proposal is there yet, or the first one stands on blocks that are missing here.
        """
        height, round_ = self.place()
        vote = _first_good(self.exchange.proposals(height, round_), self.node.prepare)
        if vote is None:
            raise Behind(f"height {height}, round {round_}: no proposal is there yet")
        self.exchange.post_vote(height, round_, PREPARE, vote)
        self._certify(height, round_, PREPARE)
        return {"height": height, "round": round_}

    def confirm(self) -> dict[str, int]:
        """The node's COMMIT stands in the exchange, and the CommitQC where this vote completed it.

        Raises:
            Behind: The PREPAREs that are there make no quorum.
        """
        height, round_ = self.place()
        certificate = self._certify(height, round_, PREPARE)
        if certificate is None:
            raise Behind(f"height {height}, round {round_}: the PREPAREs there make no quorum yet")
        vote = self._of_certified(height, round_, certificate, lambda data: self.node.commit(certificate, data))
        self.exchange.post_vote(height, round_, COMMIT, vote)
        self._certify(height, round_, COMMIT)
        return {"height": height, "round": round_}

    def apply(self, goal: int) -> dict[str, int]:
        """The node's replica holds every final block up to ``goal``, and the exchange shows them to who was away.

        Raises:
            Behind: The COMMITs that are there make no quorum.
        """
        height, round_ = self.place()
        if height <= goal:
            certificate = self._certify(height, round_, COMMIT)
            if certificate is None:
                raise Behind(f"height {height}, round {round_}: the COMMITs there make no quorum yet")
            fullest = self._fullest(height, round_, certificate)
            final = self._of_certified(height, round_, certificate, lambda data: self._apply(data, fullest))
            self.exchange.post_final(height, final)
        if self.node.height < goal:
            raise Behind(f"height {self.node.height} is final here, expected {goal}")
        return {"height": self.node.height}

    def _fullest(self, height: int, round_: int, certificate: bytes) -> bytes:
        """Return the certificate with the most signers that the COMMITs there make.

        The first one holds who was quick. The next block carries its builder's, and credit counts who is in it.
        """
        made = self.node.assemble_commit(self.exchange.votes(height, round_, COMMIT))
        return max((certificate, made or b""), key=lambda one: len(QuorumCertificate.decode(one).signers) if one else 0)

    def _apply(self, proposal: bytes, certificate: bytes) -> FinalBlock:
        opened = Proposal.decode(proposal)
        self.node.apply(opened.block, certificate, opened.bodies)
        return FinalBlock(opened.block, certificate, opened.bodies)

    def time_out(self, height: int, round_: int) -> dict[str, int]:
        """The node has given this round up, unless it is over already; its TIMEOUT stands in the exchange.

        The round is the caller's to name: once enough have timed out the next one is open, and nobody who comes late
        may give that one up as well.

        Raises:
            TooEarly: By the node's own clock the round's time is not over.
        """
        if self.place() == (height, round_):
            before = self._certificate(height, round_ - 1, TIMEOUT) if round_ else None
            others = chain.from_iterable(self.exchange.votes(height, one, TIMEOUT) for one in (round_, round_ + 1))
            self.exchange.post_vote(height, round_, TIMEOUT, self.node.timeout(height, round_, before, others))
            self._certify(height, round_, TIMEOUT)
        return {"height": height, "round": round_}

    def _certificate(self, height: int, round_: int, type_: int) -> bytes | None:
        shown = self.exchange.certificates(height, round_, type_)
        return self.node.good_certificate(shown, height, round_, type_)

    def _certify(self, height: int, round_: int, type_: int) -> bytes | None:
        """Return the certificate of a step: the first good one shown, or one made of the votes, which is then shown."""
        if (shown := self._certificate(height, round_, type_)) is not None:
            return shown
        votes = self.exchange.votes(height, round_, type_)
        made = {
            PREPARE: lambda: self.node.assemble_prepare(votes),
            COMMIT: lambda: self.node.assemble_commit(votes),
            TIMEOUT: lambda: self.node.assemble_tc(votes, height, round_),
        }[type_]()
        if made is None:
            return None
        self.exchange.post_certificate(height, round_, type_, made)
        return self._certificate(height, round_, type_)

    def _of_certified(self, height: int, round_: int, certificate: bytes, work: Callable[[bytes], Made]) -> Made:
        """Return what the node makes of a proposal of the certified block, from this round or an earlier one.

        Anybody may copy a block's header under other content, so every proposal of it is tried.
        """
        wanted = QuorumCertificate.decode(certificate).ballot.block_id
        shown = _Proposals(self.exchange, height, range(round_, -1, -1))
        made = _first_good((data for data in shown if _block_id(data) == wanted), work)
        if made is None:
            raise Behind(f"height {height}: the certified block is not in the exchange yet")
        return made


@dataclass(frozen=True, slots=True)
class _Proposals:
    """The proposals of some rounds, fetched one at a time whenever they are read."""

    exchange: Exchange
    height: int
    rounds: range

    def __iter__(self) -> Iterator[bytes]:
        for round_ in self.rounds:
            yield from self.exchange.proposals(self.height, round_)


def is_final(node: Notary, tx: bytes) -> bool:
    """Say whether the node's replica holds a submission; what is none is never final."""
    try:
        return node.fate(tx).height is not None
    except Refused:
        return False  # no transaction at all: the node says so when it is asked to propose it


def _block_id(proposal: bytes) -> bytes | None:
    try:
        return Block.decode(Proposal.decode(proposal).block).header.block_id
    except Refused:
        return None


def _first_good(shown: Iterator[bytes], work: Callable[[bytes], Made]) -> Made | None:
    """Return what ``work`` makes of the first message that the node accepts, None where there is no message.

    Raises:
        Refused, Behind: The node accepts none of them; the first one's reason.
    """
    error: Refused | Behind | None = None
    for data in shown:
        try:
            return work(data)
        except (Refused, Behind) as fault:
            error = error or fault
    if error:
        raise error
    return None


def catch_up(node: Notary, exchange: Exchange) -> None:
    """The node holds every final block that the exchange shows; what is shown and no good one stops nobody."""
    try:
        node.sync(exchange)
    except (Refused, Behind) as error:
        log.warning("height %d: what the exchange shows as the next block is none: %s", node.height, error)


def carry_block(carriers: Sequence[Carrier]) -> int | None:
    """Make one block of all that waits, every step in this process, and return its height; None where nothing waits.

    The same steps that the DAG ``notarise`` spreads over the institutions' workers.
    """
    proposed = next((found for one in carriers if (found := _unless_halted(one, one.propose)) is not None), None)
    if proposed is None:
        return None
    height, voters = proposed["height"], [one for one in carriers if one.node.is_voter]
    for one in voters:
        _unless_halted(one, one.prepare)
    for one in voters:
        _unless_halted(one, one.confirm)
    for one in carriers:
        _unless_halted(one, partial(one.apply, height))
    return height


def _unless_halted(carrier: Carrier, step: Callable[[], Made]) -> Made | None:
    """Return what a step made; a node that a person must look at first is away, like any other that is."""
    try:
        return step()
    except Halted as error:
        log.error("%s takes no part: %s", carrier.node.institution, error)
        return None
