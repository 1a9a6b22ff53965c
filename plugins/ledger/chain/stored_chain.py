"""What an institution's database holds of a chain, each thing under its own key (sections 2 and 13).

Nothing here says what is final: that is the head's to say (``ledger.chain.replica``). Whatever is written may be
written again, and what stands above the head nobody reads; so a block is stored before the head moves to it, and fast
sync stores all of a chain before its head moves at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from pymongo import WriteConcern
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from ledger.chain.block import Block
from ledger.chain.documents import Document, fetch, upsert
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header
from ledger.chain.leaves import Leaves
from ledger.chain.record_index import Place, RecordIndex
from ledger.chain.smt import SparseTree, value_hash
from ledger.errors import Diverged

CHUNK = 4 << 20


class StoredChain:
    """State, history, leaves and blocks of a chain in a MongoDB database that belongs to one institution alone.

    Args:
        database: Its database.
        genesis: The chain it holds or will hold.
    """

    def __init__(self, database: Database[Document], genesis: Genesis) -> None:
        self.genesis = genesis
        # A majority that has the head has all that was written before it: the oplog is taken over in order.
        self._database = database.with_options(write_concern=WriteConcern(1), read_concern=ReadConcern("majority"))
        self._blocks = self._database["blocks"]
        self._bodies = self._database["bodies"]
        self._nodes = self._database["state_nodes"]
        self._values = self._database["state_values"]
        self._retired = self._database["retired_nodes"]
        self._history = self._database["history"]
        self._records = RecordIndex(self._database)

    @property
    def arrivals(self) -> MongoCollection[Document]:
        """Marks of what fast sync stored; ``ledger.sync.arrival`` writes and reads them."""
        return self._database["arrivals"]

    def stage_state(self, nodes: Mapping[bytes, bytes], values: Collection[bytes], height: int) -> None:
        """Store verified nodes and values of the state after a height."""
        upsert(self._values, {value_hash(one): {"d": one} for one in values})
        upsert(self._nodes, {key: {"d": one, "h": height} for key, one in nodes.items()})

    def retire(self, removed: Collection[bytes], height: int) -> None:
        """State nodes that the block of this height replaced go one epoch after the next one's end, not at once.

        Until then the state at the ends of the last two epochs can be read and served. A node that came back after it
        was replaced is of a later height than that, and stays.
        """
        upsert(self._retired, {one: {"h": height} for one in removed})
        epoch = self.genesis.parameters.epoch_blocks
        if height % epoch:
            return
        gone: dict[int, list[bytes]] = {}
        for one in self._retired.find({"h": {"$lte": height - epoch}}):
            gone.setdefault(one["h"], []).append(bytes(one["_id"]))
        for at, hashes in gone.items():
            self._nodes.delete_many({"_id": {"$in": hashes}, "h": {"$lt": at}})
            self._retired.delete_many({"_id": {"$in": hashes}, "h": at})

    def state_at(self, header: Header) -> SparseTree:
        """Return the state after a block whose state was not retired yet."""
        return SparseTree(self, header.state_root)

    def nodes(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state nodes."""
        return fetch(self._nodes, hashes)

    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state values, by value hash."""
        return fetch(self._values, hashes)

    def every_value(self) -> Iterator[bytes]:
        """Yield every state value that ever stood, in no order: what the state replaced is kept."""
        for one in self._values.find({}, {"d": 1}):
            yield bytes(one["d"])

    def stage_history(self, made: Sequence[tuple[int, int, bytes]]) -> None:
        """Store complete subtrees of the history tree."""
        upsert(self._history, {_history_id(level, index): {"d": one} for level, index, one in made})

    def history_node(self, level: int, index: int) -> bytes:
        """Return one complete subtree of the history tree."""
        found = self._history.find_one({"_id": _history_id(level, index)})
        if found is None:
            raise Diverged("a node of the history tree is missing; restore this replica by syncing a new one")
        return bytes(found["d"])

    def stage_leaves(self, height: int, index: int, submitter: bytes, leaves: Leaves) -> None:
        """Store the verified leaves of one batch, and where each record stands."""
        body = leaves.encode()
        chunks = range(0, len(body), CHUNK)
        upsert(self._bodies, {f"{height}.{index}.{at // CHUNK}": {"d": body[at : at + CHUNK]} for at in chunks})
        self._records.add(submitter, leaves.keys, height, index)

    def body(self, height: int, tx: int) -> bytes:
        """Return the leaves of one batch; empty where they are missing."""
        chunks: list[bytes] = []
        while (found := self._bodies.find_one({"_id": f"{height}.{tx}.{len(chunks)}"})) is not None:
            chunks.append(bytes(found["d"]))
        return b"".join(chunks)

    def known(self, submitter: bytes, keys: Sequence[bytes], height: int) -> bool:
        """Say whether the institution published any of these records up to a height."""
        return self._records.known(submitter, keys, height)

    def places(self, submitter: bytes, keys: Sequence[bytes], height: int) -> dict[bytes, Place]:
        """Return where each of these records stands, up to a height."""
        return self._records.places(submitter, keys, height)

    def staged_blocks(self, ids: Sequence[bytes]) -> int:
        """Return up to which height the stored blocks are those of this history, from 1 on."""
        found = self._blocks.find({"_id": {"$lt": len(ids)}}, {"id": 1}).sort("_id")
        height = 0
        for one in found:
            if one["_id"] != height + 1 or one["id"] != ids[height + 1]:
                break
            height += 1
        return height

    def block(self, height: int) -> tuple[bytes, bytes]:
        """Return a block's bytes and its CommitQC.

        Raises:
            KeyError: The replica has no such block.
        """
        found = self._blocks.find_one({"_id": height})
        if found is None:
            raise KeyError(height)
        return bytes(found["block"]), bytes(found["qc"])

    def blocks(self, heights: range) -> Iterator[tuple[bytes, bytes]]:
        """Yield bytes and CommitQC of each block among these heights, in order; one query for all."""
        found = self._blocks.find({"_id": {"$gte": heights.start, "$lt": heights.stop}}).sort("_id")
        for one in found if heights else ():
            yield bytes(one["block"]), bytes(one["qc"])

    def receipts(self, height: int) -> list[bytes]:
        """Return a block's receipts; none where this replica did not execute it itself (section 13, fast sync).

        Raises:
            KeyError: The replica has no such block.
        """
        found = self._blocks.find_one({"_id": height}, {"receipts": 1})
        if found is None:
            raise KeyError(height)
        return [bytes(one) for one in found.get("receipts", ())]

    def header(self, height: int) -> Header:
        """Return the header of a height the replica has; KeyError otherwise."""
        return self.genesis.header if height == 0 else Block.decode(self.block(height)[0]).header


def _history_id(level: int, index: int) -> int:
    return level << 56 | index
