"""What moves between one node and the exchange at each step of a block; it judges nothing, the node does.

Every method may be called again at any time, by a retry, a zombie or a doubled task: the node's vote store returns
what was signed before, and the exchange lists the same bytes once.
"""

from __future__ import annotations

import logging

from ledger.certificate import COMMIT, PREPARE, TIMEOUT
from ledger.errors import Behind, LedgerError, Refused
from ledger.exchange import Exchange
from ledger.node import Node

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
        while self._timeout_certificate(height, round_) is not None:
            round_ += 1
        return height, round_

    def propose(self) -> dict[str, int] | None:
        """The open round's block stands in the exchange; None where it is another's turn or nothing waits."""
        height, round_ = self.place()
        if not self.node.is_producer(height, round_):
            return None
        certificate = self._timeout_certificate(height, round_ - 1) if round_ else None
        proposal = self.node.propose(self.exchange.submissions(), round_, certificate)
        if proposal is None:
            return None
        self.exchange.post_proposal(height, round_, proposal)
        return {"height": height, "round": round_}

    def prepare(self) -> dict[str, int]:
        """The node's PREPARE stands in the exchange, and the PrepareQC where this vote completed it.

        Raises:
            Refused: The proposal breaks a rule.
            Behind: No proposal is there yet.
        """
        height, round_ = self.place()
        vote = self.node.prepare(self._proposal(height, round_))
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
        vote = self.node.commit(certificate, self._proposal(height, round_))
        self.exchange.post_vote(height, round_, COMMIT, vote)
        self._certify(height, round_, COMMIT)
        return {"height": height, "round": round_}
