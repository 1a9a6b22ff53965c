"""One institution's own copy of the chain in its own MongoDB database (sections 2 and 13).

Applying a block first writes what may be written twice: leaves, index of records, block, history, and state under its
own hashes. Then one document, the head, moves; that write alone makes the block exist. What a crash leaves above the
head is seen by no reader, and the same block's second coming completes it. No transaction is needed, so none is left
open by a killed process to stand in its successor's way (``docs/decisions/0102``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from ledger.agreement.proposal import MAX_BLOCK, MAX_BODY
from ledger.chain.block import Block
from ledger.chain.documents import Document, upsert
from ledger.chain.execution import Execution
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header, history_leaf
from ledger.chain.merkle import Frontier
from ledger.chain.smt import SparseTree, value_hash
from ledger.chain.stored_chain import StoredChain
from ledger.chain.validators import ValidatorSet
from ledger.chain.view import ChainView
from ledger.credit.credit import credit_of
from ledger.encoding import Reader, listed, var
from ledger.errors import Diverged, Halted

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


class Replica(StoredChain):
    """A chain in a MongoDB database that belongs to one institution alone, up to the head that it names.

    Args:
        database: Its database.
        genesis: The chain it holds or will hold.

    Raises:
        Halted: The database holds another chain.
    """

    def __init__(self, database: Database[Document], genesis: Genesis) -> None:
        super().__init__(database, genesis)
        self._meta = database.with_options(
            write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
        )["meta"]
        self._conflicts = self._database["conflicts"]
        self._credit = self._database["credit"]
        self._last_view: ReplicaView | None = None
        self._turn = Lock()  # threads share the last view
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
        self.stage_state(tree.added, values.values(), 0)
        self.stage_history(made)
        upsert(self._meta, {"head": _head(header, b"", frontier)})

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
        height, change, batches = header.height, execution.change, execution.batches
        for batch in batches:
            self.stage_leaves(height, batch.index, batch.tx.submitter, batch.leaves)
        frontier, made = view.frontier.append(history_leaf(header.block_id))
        self.stage_history(made)
        self.stage_state(change.added, execution.values.values(), height)
        if execution.state.last_of_epoch:  # the state keeps the present score of each, people ask for its course
            scores = {one.id.hex(): credit_of(execution.state, one.id).score for one in execution.state.roster}
            upsert(self._credit, {header.epoch: {"scores": scores}})
        self.stage_block(height, final, execution.receipts)
        moved = self._meta.replace_one(
            {"_id": "head", "height": height - 1, "block_id": header.prev_block_id},
            _head(header, final.commit_qc, frontier),
        )
        if not moved.matched_count:
            self._check_overtaken(header)
        else:
            self.retire(change.removed, height)
        self._records.remember([(one.tx.submitter, one.leaves.keys) for one in batches], height)
        view.keep(change.added, execution.values.values())

    def _check_overtaken(self, header: Header) -> None:
        """Raise Diverged unless another process of this institution has applied the same block meanwhile."""
        if self.view.head.height < header.height or self.header(header.height) != header:
            raise Diverged("the replica moved while a block was applied; its head is not what was built on")

    def stage_block(self, height: int, final: FinalBlock, receipts: Sequence[bytes] = ()) -> None:
        """Store a verified block whose leaves are stored, and its receipts where it was executed here."""
        block_id = Block.decode(final.block).header.block_id
        kept = {"id": block_id, "block": final.block, "qc": final.commit_qc, "receipts": receipts}
        upsert(self._blocks, {height: kept})

    def adopt(self, header: Header, commit_qc: bytes, frontier: Frontier) -> bool:
        """Move the head from genesis to a block of which everything is stored; say whether it still was genesis."""
        document = _head(header, commit_qc, frontier)
        return bool(self._meta.replace_one({"_id": "head", "height": 0}, document).matched_count)

    def state_heights(self) -> list[int]:
        """Return the heights at whose state this replica can still be read, the ends of its last epochs."""
        epoch = self.genesis.parameters.epoch_blocks
        last = self.view.head.height // epoch * epoch
        return [one for one in (last - epoch, last) if one > 0]

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
        upsert(self._conflicts, {block_id: document})

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
