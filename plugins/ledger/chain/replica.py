"""One institution's own copy of the chain in its own MongoDB database (sections 2 and 13).

Applying a block first writes what may be written twice: leaves, index of records, block, history, and state under its
own hashes. Then one document, the head, moves; that write alone makes the block exist. What a crash leaves above the
head is seen by no reader, and the same block's second coming completes it. No transaction is needed, so none is left
open by a killed process to stand in its successor's way (``docs/decisions/0102``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

from pymongo import ReplaceOne, WriteConcern
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from ledger.agreement.proposal import MAX_BLOCK, MAX_BODY
from ledger.chain.block import Block
from ledger.chain.execution import Execution
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header, history_leaf
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Frontier
from ledger.chain.published import PublishedKeys
from ledger.chain.smt import SparseTree, value_hash
from ledger.chain.validators import ValidatorSet
from ledger.chain.view import ChainView
from ledger.credit.credit import credit_of
from ledger.encoding import Reader, listed, var
from ledger.errors import Diverged, Halted

Document = dict[str, Any]
CHUNK = 4 << 20
_LOOKUP = 20_000
_PIECE = 1_000
_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block that a quorum committed to, with its certificate and its leaves.

    Attributes:
        block: The block's bytes.
        commit_qc: A CommitQC on it.
        bodies: Leaves of each batch.
    """

    block: bytes
    commit_qc: bytes
    bodies: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"XL/FINAL/1\0" + var(self.block) + var(self.commit_qc) + listed(self.bodies)

    @classmethod
    def decode(cls, data: bytes) -> FinalBlock:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified yet."""
        reader = Reader(data, "final block")
        reader.constant(b"XL/FINAL/1\0")
        found = cls(reader.var(MAX_BLOCK), reader.var(MAX_BLOCK), reader.listed(1_024, MAX_BODY))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: height, transaction in the block, leaf in the batch."""

    height: int
    tx: int
    leaf: int


class Replica:
    """A chain in a MongoDB database that belongs to one institution alone.

    Args:
        database: Its database.
        genesis: The chain it holds or will hold.

    Raises:
        Halted: The database holds another chain.
    """

    def __init__(self, database: Database[Document], genesis: Genesis) -> None:
        self.genesis = genesis
        # A majority that has the head has all that was written before it: the oplog is taken over in order.
        self._database = database.with_options(write_concern=WriteConcern(1), read_concern=ReadConcern("majority"))
        self._meta = database.with_options(
            write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
        )["meta"]
        self._blocks = self._database["blocks"]
        self._bodies = self._database["bodies"]
        self._nodes = self._database["state_nodes"]
        self._values = self._database["state_values"]
        self._retired = self._database["retired_nodes"]
        self._history = self._database["history"]
        self._conflicts = self._database["conflicts"]
        self._credit = self._database["credit"]
        self._indexed: set[str] = set()
        self._published: dict[bytes, PublishedKeys] = {}
        self._asked: Counter[bytes] = Counter()
        self._last_view: ReplicaView | None = None
        self._turn = Lock()  # a table is read while another thread hashes, and must not grow meanwhile
        head = self._meta.find_one({"_id": "head"})
        if head is None:
            self._begin()
        elif head["chain_id"] != genesis.chain_id:
            raise Halted(f"database {database.name} holds another chain; name the genesis it was made with")

    def _begin(self) -> None:
        """Write genesis as height 0; again after a crash gives the same."""
        values = self.genesis.state()
        header = self.genesis.header
        tree = SparseTree(self, bytes(32)).update({key: value_hash(value) for key, value in values.items()})
        frontier, made = Frontier().append(history_leaf(header.block_id))
        _upsert(self._nodes, {one: {"d": data, "h": 0} for one, data in tree.added.items()})
        _upsert(self._values, {value_hash(value): {"d": value} for value in values.values()})
        _upsert(self._history, {_history_id(level, index): {"d": one} for level, index, one in made})
        _upsert(self._meta, {"head": _head(header, b"", frontier)})

    @property
    def view(self) -> ReplicaView:
        """The chain as it stands now; later blocks do not change what was returned."""
        head = self._meta.find_one({"_id": "head"})
        if head is None:
            raise Halted(f"database {self._database.name} was emptied under a running node")
        with self._turn:
            if self._last_view is None or self._last_view.document != head:
                self._last_view = ReplicaView(self, head, self._last_view)
            return self._last_view

    def apply(self, execution: Execution, final: FinalBlock, header: Header) -> None:
        """Make an executed block the head, whole or not at all.

        The caller has verified block and certificate; ``execution`` stands on this replica's head.

        Raises:
            Diverged: The head is no longer the one the block stands on.
        """
        view = execution.view
        if not isinstance(view, ReplicaView):
            raise RuntimeError("the block was executed on another kind of chain")
        height = header.height
        for batch in execution.batches:
            self._write_body(height, batch.index, batch.body)
            self._index(batch.tx.submitter, batch.leaves.keys, height, batch.index)
        frontier, made = view.frontier.append(history_leaf(header.block_id))
        change = execution.change
        _upsert(self._history, {_history_id(level, at): {"d": one} for level, at, one in made})
        _upsert(self._values, {value_hash(one): {"d": one} for one in execution.values.values()})
        _upsert(self._nodes, {key: {"d": one, "h": height} for key, one in change.added.items()})
        if execution.state.last_of_epoch:  # the state keeps the present score of each, people ask for its course
            scores = {one.id.hex(): credit_of(execution.state, one.id).score for one in execution.state.roster}
            _upsert(self._credit, {header.epoch: {"scores": scores}})
        kept = {"id": header.block_id, "block": final.block, "qc": final.commit_qc, "receipts": execution.receipts}
        _upsert(self._blocks, {height: kept})
        moved = self._meta.replace_one(
            {"_id": "head", "height": height - 1, "block_id": header.prev_block_id},
            _head(header, final.commit_qc, frontier),
        )
        if not moved.matched_count:
            self._check_overtaken(header)
        else:
            self._retire(change.removed, height)
        self._remember(execution, height)
        view.keep(change.added, execution.values.values())

    def _remember(self, execution: Execution, height: int) -> None:
        """The tables in memory that reach up to the block below hold this block's records too."""
        with self._turn:
            for submitter, table in self._published.items():
                if table.height == height - 1:
                    for batch in execution.batches:
                        if batch.tx.submitter == submitter:
                            table.take(batch.leaves.keys)
                    table.height = height

    def _retire(self, removed: Collection[bytes], height: int) -> None:
        """State nodes that the block of this height replaced go one epoch after the next one's end, not at once.

        Until then the state at the ends of the last two epochs can be read and served. A node that came back after it
        was replaced is of a later height than that, and stays.
        """
        _upsert(self._retired, {one: {"h": height} for one in removed})
        epoch = self.genesis.parameters.epoch_blocks
        if height % epoch:
            return
        gone: dict[int, list[bytes]] = {}
        for one in self._retired.find({"h": {"$lte": height - epoch}}):
            gone.setdefault(one["h"], []).append(bytes(one["_id"]))
        for at, hashes in gone.items():
            self._nodes.delete_many({"_id": {"$in": hashes}, "h": {"$lt": at}})
            self._retired.delete_many({"_id": {"$in": hashes}, "h": at})

    def state_heights(self) -> list[int]:
        """Return the heights at whose state this replica can still be read, the ends of its last epochs."""
        epoch = self.genesis.parameters.epoch_blocks
        last = self.view.head.height // epoch * epoch
        return [one for one in (last - epoch, last) if one > 0]

    def state_at(self, header: Header) -> SparseTree:
        """Return the state after a block of ``state_heights``."""
        return SparseTree(self, header.state_root)

    # --- fast sync: what is stored above a head that moves last --------------------------------------------------

    @property
    def arrivals(self) -> MongoCollection[Document]:
        """Marks of what arrived; ``ledger.sync.arrival`` writes and reads them."""
        return self._database["arrivals"]

    def stage_state(self, nodes: Mapping[bytes, bytes], values: Sequence[bytes], height: int) -> None:
        """Store verified nodes and values of the state after a height."""
        _upsert(self._values, {value_hash(one): {"d": one} for one in values})
        _upsert(self._nodes, {key: {"d": one, "h": height} for key, one in nodes.items()})

    def stage_leaves(self, height: int, index: int, submitter: bytes, leaves: Leaves) -> None:
        """Store the verified leaves of one batch, and where each record stands."""
        self._write_body(height, index, leaves.encode())
        self._index(submitter, leaves.keys, height, index)

    def stage_block(self, height: int, final: FinalBlock) -> None:
        """Store a verified block whose leaves are stored."""
        block_id = Block.decode(final.block).header.block_id
        _upsert(self._blocks, {height: {"id": block_id, "block": final.block, "qc": final.commit_qc}})

    def staged_blocks(self, ids: Sequence[bytes]) -> int:
        """Return up to which height the stored blocks are those of this history, from 1 on."""
        found = self._blocks.find({"_id": {"$lt": len(ids)}}, {"id": 1}).sort("_id")
        height = 0
        for one in found:
            if one["_id"] != height + 1 or one["id"] != ids[height + 1]:
                break
            height += 1
        return height

    def stage_history(self, made: Sequence[tuple[int, int, bytes]]) -> None:
        """Store complete subtrees of the history tree."""
        _upsert(self._history, {_history_id(level, index): {"d": one} for level, index, one in made})

    def adopt(self, header: Header, commit_qc: bytes, frontier: Frontier) -> bool:
        """Move the head from genesis to a block of which everything is stored; say whether it still was genesis."""
        document = _head(header, commit_qc, frontier)
        return bool(self._meta.replace_one({"_id": "head", "height": 0}, document).matched_count)

    def _check_overtaken(self, header: Header) -> None:
        """Raise Diverged unless another process of this institution has applied the same block meanwhile."""
        if self.view.head.height < header.height or self.header(header.height) != header:
            raise Diverged("the replica moved while a block was applied; its head is not what was built on")

    def _write_body(self, height: int, index: int, body: bytes) -> None:
        chunks = range(0, len(body), CHUNK)
        _upsert(self._bodies, {f"{height}.{index}.{at // CHUNK}": {"d": body[at : at + CHUNK]} for at in chunks})

    def _entries(self, submitter: bytes) -> MongoCollection[Document]:
        """Return the index of an institution's records: where the leaves ``k`` of each piece of a batch stand."""
        return self._database[f"entries_{submitter.hex()}"]

    def _index(self, submitter: bytes, keys: Sequence[bytes], height: int, tx: int) -> None:
        entries = self._entries(submitter)
        if entries.name not in self._indexed:
            entries.create_index("k")
            entries.create_index("h")
            self._indexed.add(entries.name)
        # One document a thousand records, with an index over each: a quarter of the cost of one document each.
        pieces = range(0, len(keys), _PIECE)
        _upsert(
            entries,
            {
                f"{height}.{tx}.{at // _PIECE}": {"h": height, "t": tx, "l": at, "k": keys[at : at + _PIECE]}
                for at in pieces
            },
        )

    def nodes(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state nodes."""
        return _fetch(self._nodes, hashes)

    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state values, by value hash."""
        return _fetch(self._values, hashes)

    def history_node(self, level: int, index: int) -> bytes:
        """Return one complete subtree of the history tree."""
        found = self._history.find_one({"_id": _history_id(level, index)})
        if found is None:
            raise Diverged("a node of the history tree is missing; restore this replica by syncing a new one")
        return bytes(found["d"])

    def known(self, submitter: bytes, keys: Sequence[bytes], height: int) -> bool:
        """Say whether the institution published any of these records up to a height."""
        entries, suspects = self._entries(submitter), self._suspects(submitter, keys, height)
        return any(
            entries.find_one({"k": {"$in": suspects[at : at + _LOOKUP]}, "h": {"$lte": height}}, {"_id": 1})
            for at in range(0, len(suspects), _LOOKUP)
        )

    def _suspects(self, submitter: bytes, keys: Sequence[bytes], height: int) -> Sequence[bytes]:
        """Return those of the keys that may be published up to a height: the only ones to ask the database for.

        The table in memory is made once this process has asked for as many keys as there are, so that making it
        never costs more than what was spent without it; a task that checks one block and ends makes none.
        """
        entries = self._entries(submitter)
        with self._turn:
            table = self._published.get(submitter)
            if table is None:
                self._asked[submitter] += len(keys)
                if self._asked[submitter] < entries.estimated_document_count() * _PIECE:
                    return keys
                table = self._published[submitter] = PublishedKeys()
            if table.height < height:
                for piece in entries.find({"h": {"$gt": table.height, "$lte": height}}, {"k": 1}):
                    table.take(piece["k"])
                table.height = height
            return table.suspects(keys)

    def places(self, submitter: bytes, keys: Sequence[bytes], height: int) -> dict[bytes, Place]:
        """Return where each of these records stands, up to a height."""
        entries, wanted, found = self._entries(submitter), frozenset(keys), {}
        for at in range(0, len(keys), _LOOKUP):
            for piece in entries.find({"k": {"$in": keys[at : at + _LOOKUP]}, "h": {"$lte": height}}):
                for leaf, key in enumerate(map(bytes, piece["k"]), piece["l"]):
                    if key in wanted:
                        found[key] = Place(piece["h"], piece["t"], leaf)
        return found

    def final(self, height: int) -> FinalBlock | None:
        """Return the final block of a height with its leaves, or None above the head and at genesis."""
        found = self._blocks.find_one({"_id": height})
        if found is None or height > self.view.head.height:
            return None
        count = self.header(height).tx_count
        return FinalBlock(found["block"], found["qc"], tuple(self.body(height, tx) for tx in range(count)))

    def finals(self, height: int) -> Iterator[FinalBlock]:
        """Yield what ``final`` returns, for whoever catches up from this replica."""
        if (found := self.final(height)) is not None:
            yield found

    def body(self, height: int, tx: int) -> bytes:
        """Return the leaves of one batch; empty where they are missing."""
        chunks: list[bytes] = []
        while (found := self._bodies.find_one({"_id": f"{height}.{tx}.{len(chunks)}"})) is not None:
            chunks.append(bytes(found["d"]))
        return b"".join(chunks)

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

    def credit_by_epoch(self, most: int) -> list[tuple[int, dict[bytes, int]]]:
        """Return everyone's score at the end of the last epochs, oldest first: of those this replica executed."""
        ended = self.genesis.epoch(self.view.head.height + 1)
        found = list(self._credit.find({"_id": {"$lt": ended}}).sort("_id", -1).limit(most))
        return [
            (one["_id"], {bytes.fromhex(id_): score for id_, score in one["scores"].items()}) for one in found[::-1]
        ]

    def keep_conflict(self, final: FinalBlock, reason: str) -> None:
        """Keep a certified block that contradicts this replica, beside what the replica has; the node stops."""
        block_id = Block.decode(final.block).header.block_id
        document = {"block": final.block, "qc": final.commit_qc, "reason": reason}
        _upsert(self._conflicts, {block_id: document})

    def conflict(self) -> str | None:
        """Return why this replica is halted, or None."""
        found = self._conflicts.find_one()
        return None if found is None else str(found["reason"])


class ReplicaView(ChainView):
    """A replica at one height; later blocks do not change it.

    Args:
        replica: Where it reads.
        document: The head as stored.
        before: An earlier view, whose checked nodes and values this one need not read again.
    """

    def __init__(self, replica: Replica, document: Document, before: ReplicaView | None = None) -> None:
        self._replica = replica
        self.document = document
        few = before is not None and len(before._nodes) + len(before._values) < _KEPT
        self._nodes: dict[bytes, bytes] = before._nodes if before and few else {}
        self._values: dict[bytes, bytes] = before._values if before and few else {}
        self.genesis = replica.genesis
        self._head = Header.decode(bytes(document["header"]))
        self._commit_qc = bytes(document["qc"])
        self.frontier = Frontier(self.head.height + 1, tuple(map(bytes, document["peaks"])))

    @property
    def head(self) -> Header:
        """Header of the last final block."""
        return self._head

    @property
    def commit_qc(self) -> bytes:
        """The certificate of the last block that this replica keeps; empty at genesis."""
        return self._commit_qc

    @property
    def history_root(self) -> bytes:
        """Merkle root over the ids of all blocks up to and including the head."""
        return self.frontier.root()

    @cached_property
    def validators(self) -> ValidatorSet:
        """The members who vote on the next block."""
        return super().validators

    @cached_property
    def tree(self) -> SparseTree:
        """The state after the head."""
        return SparseTree(self._replica, self.head.state_root, self._nodes)

    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state values, by value hash."""
        read = self._replica.values([one for one in hashes if one not in self._values])
        self._values.update({one: value for one, value in read.items() if value_hash(value) == one})
        return {one: self._values[one] for one in hashes if one in self._values} | dict(read)

    def keep(self, nodes: Mapping[bytes, bytes], values: Collection[bytes]) -> None:
        """What a block has just written need not be read again."""
        self._nodes.update(nodes)
        self._values.update({value_hash(one): one for one in values})

    def known(self, submitter: bytes, keys: Sequence[bytes]) -> bool:
        """Say whether an institution has published any of these before."""
        return self._replica.known(submitter, keys, self.head.height)


def _head(header: Header, qc: bytes, frontier: Frontier) -> Document:
    return {
        "chain_id": header.chain_id, "height": header.height, "block_id": header.block_id,
        "header": header.encode(), "qc": qc, "peaks": list(frontier.peaks),
    }  # fmt: skip


def _history_id(level: int, index: int) -> int:
    return level << 56 | index


def _fetch(collection: MongoCollection[Document], keys: Collection[bytes]) -> dict[bytes, bytes]:
    found = collection.find({"_id": {"$in": list(keys)}}) if keys else ()
    return {bytes(one["_id"]): bytes(one["d"]) for one in found}


def _upsert(collection: MongoCollection[Document], documents: Mapping[Any, Document]) -> None:
    """Write documents under their ids, whatever stood there."""
    if not documents:
        return
    writes = [ReplaceOne({"_id": key}, {"_id": key, **document}, upsert=True) for key, document in documents.items()]
    collection.bulk_write(writes, ordered=False)
