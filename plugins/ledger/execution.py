"""What a block does to the state, computed alike by who builds it and by everyone who checks it (sections 3, 4).

No clock, no database, no randomness: a ``ChainView`` in, the one header that follows from it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Protocol

from ledger.batch import SubmitBatch
from ledger.block import MAX_TRANSACTIONS, Block
from ledger.certificate import check_commit, qc_digest
from ledger.encoding import u8, u32
from ledger.errors import Diverged, Refused
from ledger.genesis import Genesis
from ledger.header import VERSION, Header
from ledger.leaves import Leaves
from ledger.merkle import tree_root
from ledger.smt import StateChange, StateTree, state_key, value_hash
from ledger.state import INSTITUTION, BatchState, InstitutionState, batch_key
from ledger.validators import Member, key_id

ACCEPTED = 1


class ChainView(Protocol):
    """A chain up to its last final block, as whoever executes the next one knows it."""

    @property
    def head(self) -> Header:
        """Header of the last final block."""
        ...

    @property
    def history_root(self) -> bytes:
        """Merkle root over the ids of all blocks up to and including the last."""
        ...

    @property
    def tree(self) -> StateTree:
        """The state after the last block."""
        ...

    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state values, by value hash."""
        ...

    def known(self, submitter: bytes, keys: Sequence[bytes]) -> bool:
        """Say whether an institution has published any of these ``rid || version`` before."""
        ...


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that may enter the block."""

    tx: SubmitBatch
    encoded: bytes
    leaves: Leaves
    body: bytes


class Execution:
    """The block after the view's last one, while it grows transaction by transaction.

    Args:
        genesis: The chain.
        view: What it builds on.
    """

    def __init__(self, genesis: Genesis, view: ChainView) -> None:
        self.genesis = genesis
        self.view = view
        self.height = view.head.height + 1
        self.validators = genesis.validators  # the set of this height; changes come with epochs (section 11)
        self.batches: list[CheckedBatch] = []
        self.count = 0
        self._institutions: dict[bytes, InstitutionState] = {}
        self._change: StateChange | None = None

    def add(self, encoded: bytes, body: bytes) -> None:
        """Take in one batch after checking all of it.

        Args:
            encoded: The SUBMIT_BATCH transaction.
            body: Its leaves.

        Raises:
            Refused: It breaks a rule; nothing was taken in.
        """
        if self._change is not None:
            raise RuntimeError("the block's state is computed already; nothing more can enter it")
        if len(self.batches) >= MAX_TRANSACTIONS:
            raise Refused("block size", "3", f"a block holds at most {MAX_TRANSACTIONS} transactions")
        tx = SubmitBatch.decode(encoded)
        self._check_announcement(tx)
        leaves = Leaves.decode(body)
        if len(leaves) != tx.count:
            raise Refused("batch size", "4", f"{tx.count} records were signed, {len(leaves)} came")
        with ThreadPoolExecutor(1) as pool:  # the database looks up while this thread hashes
            known = pool.submit(self.view.known, tx.submitter, leaves.keys)
            root = leaves.root
        if root != tx.batch_root:
            raise Refused("batch root", "4", "the leaves do not have the root that was signed")
        self._check_unpublished(tx.submitter, leaves, known.result())
        self._institutions[tx.submitter] = InstitutionState(tx.seq, tx.key_id)
        self.batches.append(CheckedBatch(tx, encoded, leaves, body))
        self.count += tx.count

    def _check_announcement(self, tx: SubmitBatch) -> None:
        """Raise Refused where the transaction itself breaks a rule of section 4."""
        rules = self.genesis.parameters
        if tx.chain_id != self.genesis.chain_id:
            raise Refused("chain id", "4", "the batch is meant for another chain")
        member = self.validators.member(tx.submitter)
        if member is None or member.role == "auditor":
            raise Refused("upload", "14", "the submitter is no member that may publish records")
        if tx.policy_id not in rules.policies:
            raise Refused("policy", "14", "the batch names a policy that the chain does not have")
        if tx.key_id != self.institution(tx.submitter).key_id or tx.key_id != key_id(member.public_key):
            raise Refused("key", "4", "the batch is signed by a key that is not the submitter's present one")
        expected = self.institution(tx.submitter).last_seq + 1
        if tx.seq != expected:
            raise Refused("batch number", "4", f"expected number {expected}, got {tx.seq}")
        if tx.expiry_height < self.height:
            raise Refused("expiry", "4", f"the batch lapsed at height {tx.expiry_height}")
        if self.count + tx.count > rules.batch_entries:
            raise Refused("block size", "4", f"more than {rules.batch_entries} records in one block")
        self._check_signature(member, tx)

    @staticmethod
    def _check_signature(member: Member, tx: SubmitBatch) -> None:
        if not member.verify(tx.signature, tx.signed_bytes()):
            raise Refused("batch signature", "5", "the batch is not signed by its submitter")

    def _check_unpublished(self, submitter: bytes, leaves: Leaves, known: bool) -> None:
        before = (one.leaves.key_set for one in self.batches if one.tx.submitter == submitter)
        if known or not all(leaves.key_set.isdisjoint(one) for one in before):
            raise Refused("duplicate", "4", "records of the batch are published already in the same version")

    def institution(self, id_: bytes) -> InstitutionState:
        """Return an institution's state after what was taken in so far."""
        if id_ not in self._institutions:
            self._institutions[id_] = InstitutionState.decode(self._value(state_key(INSTITUTION, id_)))
        return self._institutions[id_]

    def _value(self, key: bytes) -> bytes:
        hash_ = self.view.tree.hashes([key]).get(key, b"")
        value = self.view.values([hash_]).get(hash_)
        if value is None or hash_ != value_hash(value):
            raise Diverged("a stored value is missing or is not the one the state root commits to")
        return value

    def state_values(self) -> dict[bytes, bytes]:
        """Return the values that the block sets, by key."""
        values = {}
        for index, one in enumerate(self.batches):
            tx = one.tx
            batch = BatchState(tx.batch_root, tx.count, self.height, index)
            values[batch_key(tx.submitter, tx.seq)] = batch.encode()
            values[state_key(INSTITUTION, tx.submitter)] = self._institutions[tx.submitter].encode()
        return values

    @property
    def change(self) -> StateChange:
        """What the block does to the state tree, computed once; after it the block takes nothing more in."""
        if self._change is None:
            hashes: dict[bytes, bytes | None] = {key: value_hash(value) for key, value in self.state_values().items()}
            self._change = self.view.tree.update(hashes)
        return self._change

    def receipts(self) -> list[bytes]:
        """Return one receipt a transaction: what became of it, and under which policy."""
        return [
            b"XL/RCPT/1\0" + one.tx.tx_id + u8(ACCEPTED) + u32(one.tx.count) + one.tx.policy_id for one in self.batches
        ]

    def header(self, prev_commit: bytes, builder: bytes, build_round: int, timestamp_ms: int) -> Header:
        """Return the header of a block that holds what was taken in."""
        head = self.view.head
        return Header(
            version=VERSION,
            chain_id=self.genesis.chain_id,
            height=self.height,
            epoch=self.genesis.epoch(self.height),
            prev_block_id=head.block_id,
            prev_commit_digest=qc_digest(prev_commit),
            tx_root=tree_root(one.encoded for one in self.batches),
            tx_count=len(self.batches),
            history_root=self.view.history_root,
            state_root=self.change.root,
            receipts_root=tree_root(self.receipts()),
            evidence_root=tree_root([]),
            validators_hash=self.validators.hash,
            next_validators_hash=self.validators.hash,
            params_hash=self.genesis.parameters.hash,
            timestamp_ms=timestamp_ms,
            builder_id=builder,
            build_round=build_round,
        )


def check_block(genesis: Genesis, view: ChainView, block: Block, bodies: Sequence[bytes]) -> Execution:
    """Return the execution of a block that is valid after the view's last one.

    Everything is computed again; signatures on the block itself (proposal, certificate) are the caller's.

    Raises:
        Refused: It breaks a rule, which the error names.
    """
    header, head = block.header, view.head
    if header.chain_id != genesis.chain_id:
        raise Refused("chain id", "3", "the block is of another chain")
    if (header.height, header.prev_block_id) != (head.height + 1, head.block_id):
        raise Refused("link", "3", f"the block of height {header.height} does not stand on height {head.height}")
    if header.timestamp_ms <= head.timestamp_ms:
        raise Refused("time", "3", "the block is not later than the one below it")
    if genesis.validators.producer(header.height, header.build_round).id != header.builder_id:
        raise Refused("schedule", "6", "the block is built by an institution whose turn it was not")
    if not block.transactions or block.evidence:
        raise Refused("block content", "6", "expected at least one transaction, and evidence of nothing yet")
    check_prev_commit(genesis, view, block.prev_commit)
    if len(bodies) != len(block.transactions):
        raise Refused("leaves", "4", f"{len(block.transactions)} batches came with {len(bodies)} lists of leaves")
    execution = Execution(genesis, view)
    for encoded, body in zip(block.transactions, bodies, strict=True):
        execution.add(encoded, body)
    expected = execution.header(block.prev_commit, header.builder_id, header.build_round, header.timestamp_ms)
    for one in fields(Header):
        if getattr(expected, one.name) != getattr(header, one.name):
            raise Refused(one.name, "3", f"the header's {one.name} is not what the block's content gives")
    return execution


def check_prev_commit(genesis: Genesis, view: ChainView, data: bytes) -> None:
    """Raise Refused unless ``data`` certifies the view's last block (at height 1: is empty)."""
    head = view.head
    if head.height == 0:
        if data:
            raise Refused("commit certificate", "3", "genesis has no certificate")
        return
    check_commit(data, head.block_id, head.height, head.epoch, genesis.chain_id, genesis.validators)
