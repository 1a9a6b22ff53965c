"""A whole replica checked from genesis on, trusting nothing that is stored (section 13)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ledger.agreement.certificate import check_commit
from ledger.chain.block import Block
from ledger.chain.execution import Execution, check_block
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header, history_leaf
from ledger.chain.merkle import Frontier
from ledger.chain.record_index import Place
from ledger.chain.replica import Replica
from ledger.chain.smt import MemoryNodes, SparseTree, value_hash
from ledger.chain.view import ChainView
from ledger.errors import LedgerError, Refused


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing found wrong: at which height, which rule, in a sentence."""

    height: int
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What checking a replica found.

    Attributes:
        height: Height of the head.
        blocks: Blocks that hold, genesis not counted.
        batches: Batches in them.
        entries: Records in them.
        signatures: Signatures in their certificates.
        fault: The first thing wrong, or None.
    """

    height: int
    blocks: int
    batches: int
    entries: int
    signatures: int
    fault: Fault | None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return self.fault is None


class RecomputedChain(ChainView):
    """A chain built again in memory: the view that stored blocks are checked against."""

    def __init__(self, genesis: Genesis, replica: Replica) -> None:
        self.genesis = genesis
        self._replica = replica
        self._nodes = MemoryNodes()
        self._values: dict[bytes, bytes] = {}
        self._present: dict[bytes, bytes] = {}
        self._head = genesis.header
        self._commit_qc = b""
        self.frontier = Frontier().append(history_leaf(self._head.block_id))[0]
        self._take(SparseTree(self._nodes), genesis.state())

    def _take(self, tree: SparseTree, values: Mapping[bytes, bytes | None]) -> None:
        hashes = {key: None if value is None else value_hash(value) for key, value in values.items()}
        self._nodes.take(tree.update(hashes))
        for key, one in hashes.items():
            if one is None:
                self._present.pop(key, None)
            else:
                self._present[key] = one
        self._values.update({value_hash(value): value for value in values.values() if value is not None})

    @property
    def tree(self) -> SparseTree:
        """The state as computed so far."""
        return SparseTree(self._nodes, self.head.state_root)

    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the computed ones of these state values, by value hash."""
        return {one: self._values[one] for one in hashes if one in self._values}

    def known(self, submitter: bytes, keys: Sequence[bytes]) -> bool:
        """Say whether the index places any of these below the next block.

        That the index places every record of a block *at* that block is checked when the block is taken; so a
        record published twice shows here or there.
        """
        return self._replica.known(submitter, keys, self.head.height)

    def take(self, header: Header, execution: Execution, commit_qc: bytes) -> None:
        """Go on to a checked block."""
        self._take(self.tree, execution.state.written)
        self._head, self._commit_qc = header, commit_qc
        self.frontier = self.frontier.append(history_leaf(header.block_id))[0]

    def matches_stored_state(self) -> bool:
        """Say whether the replica's stored state is the computed one, to the last node; older values may be there."""
        values = self.values(set(self._present.values()))
        return self._replica.values(list(values)) == values and self._replica.nodes(list(self._nodes)) == self._nodes


def verify_chain(replica: Replica, progress: Callable[[int, int], None] | None = None) -> ChainReport:
    """Compute every hash, root, signature and leaf of a replica again and report the first fault.

    Args:
        replica: What to check; later blocks may be applied meanwhile and are not looked at.
        progress: Told the height done and the height of the head.
    """
    view = replica.view
    top = view.head.height
    chain = RecomputedChain(replica.genesis, replica)
    batches = entries = signatures = 0
    for height in range(1, top + 1):
        try:
            execution, header, signers = _check_height(chain, replica, height)
        except (LedgerError, KeyError) as error:
            rule = error.rule if isinstance(error, Refused) else type(error).__name__
            return ChainReport(top, height - 1, batches, entries, signatures, Fault(height, rule, str(error)))
        chain.take(header, execution, replica.block(height)[1])
        batches, entries = batches + len(execution.batches), entries + execution.count
        signatures += signers
        if progress:
            progress(height, top)
    fault = _check_head(chain, replica, top, view.head)
    return ChainReport(top, top, batches, entries, signatures, fault)


def _check_height(chain: RecomputedChain, replica: Replica, height: int) -> tuple[Execution, Header, int]:
    genesis = replica.genesis
    data, qc = replica.block(height)
    block = Block.decode(data)
    header = block.header
    bodies = [replica.body(height, tx) for tx in range(len(block.transactions))]
    execution = check_block(genesis, chain, block, bodies)
    found = check_commit(qc, header.block_id, height, genesis.epoch(height), genesis.chain_id, chain.validators)
    for one in execution.batches:
        places = replica.places(one.tx.submitter, one.leaves.keys, height)
        expected = {key: Place(height, one.index, leaf) for leaf, key in enumerate(one.leaves.keys)}
        if places != expected:
            raise Refused("index", "2", f"the index of records does not name transaction {one.index} of this block")
    return execution, header, len(found.signers)


def _check_head(chain: RecomputedChain, replica: Replica, top: int, head: Header) -> Fault | None:
    if chain.head != head:
        return Fault(top, "head", "the stored head is not the last block of the chain")
    if replica.view.head == head and not chain.matches_stored_state():
        return Fault(top, "state", "the stored state is not what the blocks give")
    frontier = chain.frontier
    for level in range(frontier.size.bit_length()):
        if frontier.size >> level & 1:
            index = (frontier.size >> level) - 1
            peak = frontier.peaks[bin(frontier.size >> (level + 1)).count("1")]
            if replica.history_node(level, index) != peak:
                return Fault(top, "history", "the stored history tree is not over the blocks of the chain")
    return None
