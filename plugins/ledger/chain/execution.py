"""What a block does to the state, computed alike by who builds it and by everyone who checks it (sections 3, 4, 14).

No clock, no database, no randomness: a ``ChainView`` in, the one header that follows from it out. Evidence comes first,
then transactions in their order, then what the block below says of its builder and signers, and in the last block of
an epoch the change of rules and voters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

from ledger.agreement.certificate import QuorumCertificate, check_commit, qc_digest
from ledger.chain import epochs
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import MAX_CONTENT, MAX_EVIDENCE, MAX_TRANSACTIONS, Block
from ledger.chain.genesis import Genesis
from ledger.chain.header import VERSION, Header
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import tree_root
from ledger.chain.receipt import encode_receipt
from ledger.chain.roster import Registration
from ledger.chain.rules import ACCEPTED, Outcome
from ledger.chain.smt import StateChange, state_key, value_hash
from ledger.chain.state import ACTIVE, INSTITUTION, SEEN, BatchState, InstitutionState, batch_key
from ledger.chain.transaction import DOMAIN, Transaction
from ledger.chain.transactions import CREDIT_FACTS, open_transaction
from ledger.chain.view import ChainView
from ledger.chain.working_state import WorkingState
from ledger.contracts.policy import permits
from ledger.encoding import u32, u64
from ledger.errors import Refused
from shangmi import PublicKey


@dataclass(frozen=True, slots=True)
class Terms:
    """What is settled of a block before its content is.

    Attributes:
        prev_commit: CommitQC of the block below; empty at height 1.
        builder: Who builds it.
        build_round: In which round.
        timestamp_ms: Its time, milliseconds since 1970 UTC.
    """

    prev_commit: bytes
    builder: bytes
    build_round: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that may enter the block.

    Attributes:
        tx: Its announcement.
        index: Its place among the block's transactions.
        leaves: Its records.
        body: Their bytes.
    """

    tx: SubmitBatch
    index: int
    leaves: Leaves
    body: bytes


class Execution:
    """The block after the view's last one, while it grows.

    Args:
        genesis: The chain.
        view: What it builds on.
        terms: What is settled beforehand.
    """

    def __init__(self, genesis: Genesis, view: ChainView, terms: Terms) -> None:
        self.genesis = genesis
        self.view = view
        self.terms = terms
        self.height = view.head.height + 1
        self.state = WorkingState(view, terms.timestamp_ms)
        self.evidence: list[bytes] = []
        self.transactions: list[bytes] = []
        self.bodies: list[bytes] = []
        self.receipts: list[bytes] = []
        self.batches: list[CheckedBatch] = []
        self.count = 0
        self._size = 0
        self._change: StateChange | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to make a block for: facts for credit alone can go with the next one.

        Each block leaves somebody's vote out, and so gives rise to a fact; blocks would never end.
        """
        return not self.evidence and all(data[len(DOMAIN)] in CREDIT_FACTS for data in self.transactions)

    def prefetch(self, transactions: Sequence[bytes]) -> None:
        """Read at once what checking these transactions will ask of the state."""
        keys = set()
        for data in transactions:
            try:
                tx = open_transaction(data)
            except Refused:
                continue  # it is refused when its turn comes
            keys.add(state_key(INSTITUTION, _sender(tx)))
            if isinstance(tx, Transaction):
                keys.add(state_key(SEEN, tx.tx_id))
        self.state.prefetch(keys)

    def add_evidence(self, data: bytes) -> None:
        """Take in a proof of double signing after checking all of it.

        Raises:
            Refused: It proves nothing, or nothing new; nothing was taken in.
        """
        self._open()
        if self.transactions:
            raise RuntimeError("evidence stands before every transaction")
        if len(self.evidence) >= MAX_EVIDENCE:
            raise Refused("block size", "3", f"a block holds at most {MAX_EVIDENCE} proofs of double signing")
        self._check_size(data)
        with self.state.attempt():
            epochs.convict(self.state, data)
        self.evidence.append(data)
        self._size += len(data)

    def add(self, encoded: bytes, body: bytes) -> None:
        """Take in one transaction after checking all of it.

        Args:
            encoded: The transaction.
            body: The leaves of a SUBMIT_BATCH; nothing for any other.

        Raises:
            Refused: It breaks a rule; nothing was taken in.
        """
        self._open()
        if len(self.transactions) >= MAX_TRANSACTIONS:
            raise Refused("block size", "3", f"a block holds at most {MAX_TRANSACTIONS} transactions")
        tx = open_transaction(encoded)
        self._check_size(encoded)
        with self.state.attempt():
            outcome = self._execute(tx, body) if isinstance(tx, Transaction) else self._execute_batch(tx, body)
        self.transactions.append(encoded)
        self.bodies.append(body)
        self.receipts.append(encode_receipt(tx.tx_id, outcome))
        self._size += len(encoded)

    def check_due(self, encoded: bytes) -> None:
        """Raise Refused unless these bytes call for a block: evidence, or a transaction, judged without its leaves."""
        if not encoded.startswith(DOMAIN):
            self.add_evidence(encoded)
            return
        tx = open_transaction(encoded)
        if not isinstance(tx, Transaction):
            self._check_announcement(tx, *self._check_sender(tx))
            return
        self.add(encoded, b"")
        if self.is_idle:
            raise Refused("waiting", "6", "facts for credit alone make no block")

    def _open(self) -> None:
        if self._change is not None:
            raise RuntimeError("the block's state is computed already; nothing more can enter it")

    def _check_size(self, data: bytes) -> None:
        if self._size + len(data) > MAX_CONTENT:
            raise Refused("block size", "3", f"a block's content has at most {MAX_CONTENT} bytes beside its leaves")

    def _execute(self, tx: Transaction, body: bytes) -> Outcome:
        """Return what a transaction other than a batch did, once it is its sender's and new."""
        if body:
            raise Refused("leaves", "4", "only a batch carries leaves")
        registration, _ = self._check_sender(tx)
        if tx.expiry_height < self.height:
            raise Refused("expiry", "4", f"the transaction lapsed at height {tx.expiry_height}")
        if self.state.get(SEEN, tx.tx_id) is not None:
            raise Refused("repeated", "4", "the transaction was executed before")
        _check_signature(registration, tx)
        outcome = tx.execute(self.state)
        self.state.put(SEEN, tx.tx_id, u64(self.height))
        return outcome

    def _check_sender(self, tx: Transaction | SubmitBatch) -> tuple[Registration, InstitutionState]:
        """Return who sends, once it may send anything."""
        if tx.chain_id != self.genesis.chain_id:
            raise Refused("chain id", "4", "the transaction is meant for another chain")
        found = self.state.roster.registration(_sender(tx))
        if found is None:
            raise Refused("sender", "14", "the sender is not registered")
        standing = self.institution(found.id)
        if not found.active or standing.standing != ACTIVE:
            raise Refused("standing", "14", "the sender is frozen, removed, or was convicted of signing two ways")
        if not tx.key_id == standing.key_id == found.key_id:
            raise Refused("key", "4", "the transaction is signed by a key that is not the sender's present one")
        return found, standing

    def _execute_batch(self, tx: SubmitBatch, body: bytes) -> Outcome:
        registration, standing = self._check_sender(tx)
        self._check_announcement(tx, registration, standing)
        leaves = Leaves.decode(body)
        if len(leaves) != tx.count:
            raise Refused("batch size", "4", f"{tx.count} records were signed, {len(leaves)} came")
        with ThreadPoolExecutor(1) as pool:  # the database looks up while this thread hashes
            known = pool.submit(self.view.known, tx.submitter, leaves.keys)
            root = leaves.root
        if root != tx.batch_root:
            raise Refused("batch root", "4", "the leaves do not have the root that was signed")
        self._check_unpublished(tx.submitter, leaves, known.result())
        index = len(self.transactions)
        self.state.put(INSTITUTION, tx.submitter, InstitutionState(tx.seq, standing.key_id).encode())
        self.state.written[batch_key(tx.submitter, tx.seq)] = BatchState(
            tx.batch_root, tx.count, self.height, index
        ).encode()
        self.batches.append(CheckedBatch(tx, index, leaves, body))
        self.count += tx.count
        return Outcome(ACCEPTED, u32(tx.count) + tx.policy_id)

    def _check_announcement(self, tx: SubmitBatch, sender: Registration, standing: InstitutionState) -> None:
        """Raise Refused where the announcement itself breaks a rule of section 4."""
        rules = self.state.parameters
        if sender.class_ in ("R", "P"):
            raise Refused("upload", "14", "regulators and participants publish no records")
        decision = permits(self.state, "upload", tx.submitter, [tx.submitter], records=tx.count)
        if not decision.allowed:
            named = ", ".join(decision.policies) or "no rule permits it"
            raise Refused("upload", "14", f"the region's rules do not let the submitter publish: {named}")
        if tx.policy_id not in rules.policies:
            raise Refused("policy", "14", "the batch names a policy that the chain does not have")
        if tx.seq != standing.last_seq + 1:
            raise Refused("batch number", "4", f"expected number {standing.last_seq + 1}, got {tx.seq}")
        if tx.expiry_height < self.height:
            raise Refused("expiry", "4", f"the batch lapsed at height {tx.expiry_height}")
        if self.count + tx.count > rules.batch_entries:
            raise Refused("block size", "4", f"more than {rules.batch_entries} records in one block")
        _check_signature(sender, tx)

    def _check_unpublished(self, submitter: bytes, leaves: Leaves, known: bool) -> None:
        before = (one.leaves.key_set for one in self.batches if one.tx.submitter == submitter)
        if known or not all(leaves.key_set.isdisjoint(one) for one in before):
            raise Refused("duplicate", "4", "records of the batch are published already in the same version")

    def institution(self, id_: bytes) -> InstitutionState:
        """Return an institution's state after what was taken in so far.

        Raises:
            Refused: The chain has none of this id.
        """
        value = self.state.get(INSTITUTION, id_)
        if value is None:
            raise Refused("sender", "14", "the sender is not registered")
        return InstitutionState.decode(value)

    @property
    def change(self) -> StateChange:
        """What the block does to the state tree, computed once; after it the block takes nothing more in."""
        if self._change is None:
            self._count_block_below()
            if self.state.last_of_epoch:
                epochs.close(self.state)
            self._change = self.view.tree.update(
                {key: None if value is None else value_hash(value) for key, value in self.state.written.items()}
            )
        return self._change

    def _count_block_below(self) -> None:
        """What the block below says of who built and who confirmed it enters the state, where credit reads it."""
        head = self.view.head
        if not head.height:
            return
        voters = self.view.voters_at(head.height).voters
        signers = [voters[one].id for one in QuorumCertificate.decode(self.terms.prev_commit).signers]
        epochs.count_block(self.state, head.builder_id, signers, head.height)

    @property
    def values(self) -> Mapping[bytes, bytes]:
        """The values that the block sets, by state key."""
        return {key: value for key, value in self.state.written.items() if value is not None}

    def header(self) -> Header:
        """Return the header of a block that holds what was taken in."""
        head, terms, validators = self.view.head, self.terms, self.state.validators
        return Header(
            version=VERSION,
            chain_id=self.genesis.chain_id,
            height=self.height,
            epoch=self.state.epoch,
            prev_block_id=head.block_id,
            prev_commit_digest=qc_digest(terms.prev_commit),
            tx_root=tree_root(self.transactions),
            tx_count=len(self.transactions),
            history_root=self.view.history_root,
            state_root=self.change.root,
            receipts_root=tree_root(self.receipts),
            evidence_root=tree_root(self.evidence),
            validators_hash=validators.hash,
            next_validators_hash=epochs.following(self.state).hash,
            params_hash=self.state.parameters.hash,
            timestamp_ms=terms.timestamp_ms,
            builder_id=terms.builder,
            build_round=terms.build_round,
        )

    def block(self) -> Block:
        """Return the block that holds what was taken in."""
        return Block(self.header(), self.terms.prev_commit, tuple(self.transactions), tuple(self.evidence))


def _sender(tx: Transaction | SubmitBatch) -> bytes:
    return tx.submitter if isinstance(tx, SubmitBatch) else tx.sender


def _check_signature(sender: Registration, tx: Transaction | SubmitBatch) -> None:
    if not PublicKey.from_bytes(sender.public_key).verify(tx.signature, tx.signed_bytes()):
        what = "batch" if isinstance(tx, SubmitBatch) else "transaction"
        raise Refused(f"{what} signature", "5", f"the {what} is not signed by its sender")


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
    if view.validators.producer(header.height, header.build_round).id != header.builder_id:
        raise Refused("schedule", "6", "the block is built by an institution whose turn it was not")
    if not block.transactions and not block.evidence:
        raise Refused("block content", "6", "expected at least one transaction or one proof of double signing")
    check_prev_commit(view, block.prev_commit)
    if len(bodies) != len(block.transactions):
        raise Refused("leaves", "4", f"{len(block.transactions)} batches came with {len(bodies)} lists of leaves")
    terms = Terms(block.prev_commit, header.builder_id, header.build_round, header.timestamp_ms)
    execution = Execution(genesis, view, terms)
    execution.prefetch(block.transactions)
    for one in block.evidence:
        execution.add_evidence(one)
    for encoded, body in zip(block.transactions, bodies, strict=True):
        execution.add(encoded, body)
    expected = execution.header()
    for field in fields(Header):
        if getattr(expected, field.name) != getattr(header, field.name):
            raise Refused(field.name, "3", f"the header's {field.name} is not what the block's content gives")
    return execution


def check_prev_commit(view: ChainView, data: bytes) -> None:
    """Raise Refused unless ``data`` certifies the view's last block (at height 1: is empty)."""
    head = view.head
    if head.height == 0:
        if data:
            raise Refused("commit certificate", "3", "genesis has no certificate")
        return
    voters = view.voters_at(head.height)
    check_commit(data, head.block_id, head.height, head.epoch, view.genesis.chain_id, voters)
