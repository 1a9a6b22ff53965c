"""What has arrived of a state and its blocks, stored above a head that is moved last (section 13, ``decisions/0102``).

Everything is verified before it comes here, and lies under ids that follow from it; a mark says which chunks are whole.
Nobody reads it before the head moves. Killed anywhere, the next attempt at the same height goes on from the marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.chain.header import Header
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Frontier
from ledger.chain.replica import FinalBlock, Replica
from ledger.errors import Refused


class Arrival:
    """A replica at genesis on its way to a later height.

    Args:
        replica: It.
        goal: Certified header of where it goes.
    """

    def __init__(self, replica: Replica, goal: Header) -> None:
        self._replica = replica
        self._height = goal.height
        self._marks = replica.arrivals
        found = self._marks.find_one({"_id": "goal"})
        if found is None or found["block_id"] != goal.block_id:
            self._marks.delete_many({})
            self._marks.insert_one({"_id": "goal", "block_id": goal.block_id})
        self._whole = {str(one["_id"]) for one in self._marks.find({"whole": True})}

    def has_chunk(self, prefix: str) -> bool:
        """Say whether the chunk of a prefix arrived before."""
        return f"chunk {prefix}" in self._whole

    def chunk(self, prefix: str, nodes: Mapping[bytes, bytes], values: Sequence[bytes]) -> None:
        """Store a verified chunk, then its mark."""
        self._replica.stage_state(nodes, values, self._height)
        self._marks.insert_one({"_id": f"chunk {prefix}", "whole": True})

    def blocks(self, ids: Sequence[bytes]) -> int:
        """Return up to which height all blocks of this history are stored."""
        return self._replica.staged_blocks(ids)

    def block(self, height: int, final: FinalBlock, leaves: Sequence[tuple[bytes, Leaves] | None]) -> None:
        """Store a verified block: leaves and index first, the block last."""
        for index, one in enumerate(leaves):
            if one is not None:
                self._replica.stage_leaves(height, index, *one)
        self._replica.stage_block(height, final)

    def history(self, made: Sequence[tuple[int, int, bytes]]) -> None:
        """Store complete subtrees of the history tree."""
        self._replica.stage_history(made)

    def finish(self, head: Header, commit_qc: bytes, frontier: Frontier) -> None:
        """Move the head from genesis to the goal; the replica holds it all from then on.

        Raises:
            Refused: The head is no longer genesis.
        """
        if not self._replica.adopt(head, commit_qc, frontier):
            raise Refused("fast sync", "13", "the replica got blocks meanwhile; it catches up block by block")
        self._marks.drop()
