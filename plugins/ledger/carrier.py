"""What moves between one node and the exchange at each step of a block; it judges nothing, the node does.

Every method may be called again at any time, by a retry, a zombie or a doubled task: the node's vote store returns
what was signed before, and the exchange lists the same bytes once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ledger.block import Block
from ledger.certificate import COMMIT, PREPARE, TIMEOUT, QuorumCertificate
from ledger.errors import Behind, Refused
from ledger.exchange import Exchange
from ledger.node import Node
from ledger.proposal import Proposal
from ledger.replica import FinalBlock

log = logging.getLogger(__name__)


class Carrier:
    """Carries bytes for one institution's node.

    Args:
        node: The institution's.
        exchange: Where the others leave theirs.
    """

    def __init__(self, node: Node, exchange: Exchange) -> None:
        self.node = node
        self.exchange = exchange

    def place(self) -> tuple[int, int]:
        """Return the height to be decided and its open round, after catching up with what is final."""
        self.node.sync(self.exchange)
        height, round_ = self.node.height + 1, 0
        while self._certificate(height, round_, TIMEOUT) is not None:
            round_ += 1
        return height, round_

    def propose(self) -> dict[str, int] | None:
        """The open round's block stands in the exchange; None where it is another's turn or nothing waits."""
        height, round_ = self.place()
        if not self.node.is_producer(height, round_):
            return None
        proposal = self.node.propose(
            self.exchange.submissions(),
            round_,
            self._certificate(height, round_ - 1, TIMEOUT) if round_ else None,
            carried=[one for earlier in range(round_) for one in self.exchange.proposals(height, earlier)],
            on_skip=lambda _, error: log.warning("height %d: a submission is left out: %s", height, error),
        )
        if proposal is None:
            return None
        self.exchange.post_proposal(height, round_, proposal)
        return {"height": height, "round": round_}

    def prepare(self) -> dict[str, int]:
        """The node's PREPARE stands in the exchange, and the PrepareQC where this vote completed it.

        Raises:
            Refused: Every proposal there breaks a rule; the first one's is named.
            Behind: No proposal is there yet.
        """
        height, round_ = self.place()
        refused: Refused | None = None
        for proposal in self.exchange.proposals(height, round_):
            try:
                vote = self.node.prepare(proposal)
            except Refused as error:
                refused = refused or error
                continue
            self.exchange.post_vote(height, round_, PREPARE, vote)
            self._certify(height, round_, PREPARE)
            return {"height": height, "round": round_}
        raise refused or Behind(f"height {height}, round {round_}: no proposal is there yet")

    def confirm(self) -> dict[str, int]:
        """The node's COMMIT stands in the exchange, and the CommitQC where this vote completed it.

        Raises:
            Behind: The PREPAREs that are there make no quorum.
        """
        height, round_ = self.place()
        certificate = self._certify(height, round_, PREPARE)
        if certificate is None:
            raise Behind(f"height {height}, round {round_}: the PREPAREs there make no quorum yet")
        vote = self.node.commit(certificate, self._proposal(height, round_, certificate))
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
            opened = Proposal.decode(self._proposal(height, round_, certificate))
            self.node.apply(opened.block, certificate, opened.bodies)
            self.exchange.post_final(height, FinalBlock(opened.block, certificate, opened.bodies))
        if self.node.height < goal:
            raise Behind(f"height {self.node.height} is final here, expected {goal}")
        return {"height": self.node.height}

    def time_out(self, height: int, round_: int) -> dict[str, int]:
        """The node has given this round up, unless it is over already; its TIMEOUT stands in the exchange.

        The round is the caller's to name: once enough have timed out the next one is open, and nobody who comes late
        may give that one up as well.
        """
        if self.place() == (height, round_):
            before = self._certificate(height, round_ - 1, TIMEOUT) if round_ else None
            self.exchange.post_vote(height, round_, TIMEOUT, self.node.timeout(height, round_, before))
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

    def _proposal(self, height: int, round_: int, certificate: bytes) -> bytes:
        """Return a proposal of the certified block, from this round or an earlier one."""
        wanted = QuorumCertificate.decode(certificate).ballot.block_id
        for number in range(round_, -1, -1):
            for data in self.exchange.proposals(height, number):
                try:
                    if Block.decode(Proposal.decode(data).block).header.block_id == wanted:
                        return data
                except Refused:
                    continue
        raise Behind(f"height {height}: the certified block is not in the exchange yet")


def carry_block(carriers: Sequence[Carrier]) -> int | None:
    """Make one block of all that waits, every step in this process, and return its height; None where nothing waits.

    The same steps that the DAG ``notarise`` spreads over the institutions' workers.
    """
    proposed = next((found for one in carriers if (found := one.propose()) is not None), None)
    if proposed is None:
        return None
    voters = [one for one in carriers if one.node.is_voter]
    for one in voters:
        one.prepare()
    for one in voters:
        one.confirm()
    for one in carriers:
        one.apply(proposed["height"])
    return proposed["height"]
