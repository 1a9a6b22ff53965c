"""What a node holds of a block that is put to it: executed against its own replica, once (sections 3, 6 and 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ledger.agreement.proposal import check_carried
from ledger.chain.block import Block
from ledger.chain.execution import Execution, check_block
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header
from ledger.chain.replica import FinalBlock, Replica, ReplicaView
from ledger.errors import Behind, Diverged, Halted, Refused


class Judgement:
    """Checks blocks against a replica, and remembers the last one it found good.

    Args:
        replica: The node's.
        clock: Milliseconds since 1970 UTC, only for judging new proposals.
    """

    def __init__(self, replica: Replica, clock: Callable[[], int]) -> None:
        self._replica, self._clock = replica, clock
        self._last: tuple[bytes, tuple[bytes, ...], Execution] | None = None

    @property
    def _genesis(self) -> Genesis:
        return self._replica.genesis

    def view(self) -> ReplicaView:
        """Return the present view, unless the replica is halted."""
        reason = self._replica.conflict()
        if reason:
            raise Halted(f"this node is halted: {reason}. Compare the replicas of the region before going on")
        return self._replica.view

    def place(self, view: ReplicaView, header: Header) -> None:
        """Raise unless the header is of this chain and of the next height."""
        if header.chain_id != self._genesis.chain_id:
            raise Refused("chain id", "3", "the block is of another chain")
        self.height(view, header.height)

    @staticmethod
    def height(view: ReplicaView, height: int) -> None:
        """Raise unless it is the next height."""
        expected = view.head.height + 1
        if height > expected:
            raise Behind(f"height {height} came, this node expects {expected}; sync, then try again")
        if height < expected:
            raise Refused("height", "6", f"height {height} is final already")

    def time(self, view: ReplicaView, header: Header) -> None:
        """Raise unless a new block's time is near this node's."""
        drift, allowed = abs(header.timestamp_ms - self._clock()), view.parameters.clock_drift_ms
        if drift > allowed:
            raise Refused("time", "3", f"the block's time is {drift} ms from this clock, at most {allowed} allowed")

    def remember(self, header: Header, bodies: tuple[bytes, ...], execution: Execution) -> None:
        """Keep what this node built or checked itself, so that the same bytes are not checked twice."""
        self._last = (header.block_id, bodies, execution)

    def execute(self, view: ReplicaView, block: Block, bodies: tuple[bytes, ...]) -> Execution:
        """Return the checked execution of a block; the very bytes this node checked last are not checked twice."""
        done = self._last
        if done and done[:2] == (block.header.block_id, bodies) and done[2].view.head == view.head:
            # The id covers the header; content the header commits to must still be the same bytes.
            check_carried(block)
            return done[2]
        with self.still(view):
            execution = check_block(self._genesis, view, block, bodies)
        self.remember(block.header, bodies, execution)
        return execution

    @contextmanager
    def still(self, view: ReplicaView) -> Iterator[None]:
        """Turn a state read under a head that moved meanwhile into ``Behind`` instead of an alarm."""
        try:
            yield
        except Diverged as error:
            if self._replica.view.head.height != view.head.height:
                raise Behind("the chain moved on while this was judged; try again") from error
            raise

    def apply(self, view: ReplicaView, block: Block, final: FinalBlock) -> None:
        """Make a certified block the replica's head after executing it again.

        Raises:
            Refused: The bytes are not those that the certificate is of.
            Diverged: This replica refuses what a quorum certified. Both are kept, the node stops.
        """
        try:
            execution = self.execute(view, block, final.bodies)
        except Refused as error:
            if error.rule in _CARRIED_WRONGLY:
                raise
            raise self.diverged(final, f"a quorum certified what this replica refuses: {error.rule}") from error
        self._replica.apply(execution, final, block.header)
        self._last = None

    def diverged(self, final: FinalBlock, reason: str) -> Diverged:
        """Keep the block that contradicts this replica, and return the error to raise."""
        self._replica.keep_conflict(final, reason)
        return Diverged(f"{reason}; both are kept, nothing was overwritten, and this node signs nothing more")


#: Rules that say that bytes were carried wrongly, not that a quorum signed something wrong.
_CARRIED_WRONGLY = frozenset({"encoding", "leaves", "batch size", "batch root"})
