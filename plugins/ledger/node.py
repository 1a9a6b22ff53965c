"""The one object an institution owns: replica, key, vote store and rules (section 0).

Bytes in, signed bytes or a refusal out. Whoever carries the bytes can delay the chain and never forge it: each method
verifies all of what it is given against this node's own replica before it signs or stores anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ledger.batch import SubmitBatch
from ledger.block import Block
from ledger.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    TIMEOUT,
    Ballot,
    QuorumCertificate,
    Vote,
    assemble_qc,
    assemble_tc,
    check_commit,
    qc_digest,
)
from ledger.chain_check import ChainReport, verify_chain
from ledger.encoding import SHORT_ID, ZERO_DIGEST, Reader
from ledger.errors import Behind, Diverged, Halted, Refused
from ledger.execution import Execution, Terms, check_block
from ledger.genesis import DEFAULT_POLICY, Genesis
from ledger.header import Header
from ledger.leaves import leaves_of
from ledger.production import SkipListener, collect, find_block, highest_certificate, stored_bodies
from ledger.proposal import Proposal, check_against_lock, check_carried, check_proposal, check_tc
from ledger.proving import prove
from ledger.replica import FinalBlock, Replica, ReplicaView
from ledger.sampling import EnvelopeSource, check_envelopes
from ledger.state import INSTITUTION, InstitutionState
from ledger.transaction import Transaction
from ledger.transactions import open_transaction
from ledger.validators import institution_id, key_id
from ledger.votes import PROPOSE, Signer, Slot, VoteStore
from schemas.records import Entry
from shangmi import sm3

#: Rules that say that bytes were carried wrongly, not that a quorum signed something wrong.
_CARRIED_WRONGLY = frozenset({"encoding", "leaves", "batch size", "batch root"})


class FinalSource(Protocol):
    """Whoever can hand over final blocks: an exchange, another institution's replica, a file."""

    def finals(self, height: int) -> Iterable[FinalBlock]:
        """Return what it has as the final block of a height; who asks takes the first good one."""
        ...


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed batch: the transaction, its leaves, and the id under which receipts name it."""

    tx: bytes
    leaves: bytes
    tx_id: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a node holds as final.

    Attributes:
        height: Height of the block.
        block_id: Its id, hex.
        entries: Records in it.
        transactions: Ids of its transactions, hex.
        signers: Institutions whose signatures are in the certificate given.
        repeated: The node had it already.
    """

    height: int
    block_id: str
    entries: int
    transactions: tuple[str, ...]
    signers: tuple[str, ...]
    repeated: bool


class Node:
    """An institution's node.

    Args:
        genesis: The chain.
        institution: Whose node this is, by its id in the region's file.
        key: Its signing key; None observes only.
        replica: Its copy of the chain.
        votes: What the key has signed; None can submit and observe, and never votes.
        envelopes: Reads announced envelopes back.
        clock: Milliseconds since 1970 UTC, only for judging and making new proposals.

    Raises:
        Halted: Key, vote store and genesis do not belong together.
    """

    def __init__(
        self,
        genesis: Genesis,
        institution: str,
        key: Signer | None,
        replica: Replica,
        votes: VoteStore | None,
        envelopes: EnvelopeSource,
        clock: Callable[[], int],
    ) -> None:
        self.genesis = genesis
        self.institution = institution
        self.id = institution_id(institution)
        self.replica = replica
        self._key, self._votes, self._envelopes, self._clock = key, votes, envelopes, clock
        self._validated: tuple[bytes, tuple[bytes, ...], Execution] | None = None
        if key is not None and votes is not None:
            votes.check_owner(key.public)

    # --- publishing --------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Height of the last final block; 0 is genesis."""
        return self.replica.view.head.height

    @property
    def is_voter(self) -> bool:
        """Whether the institution has a vote."""
        member = self.replica.view.validators.member(self.id)
        return member is not None and member.weight > 0

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        value = self.replica.view.state(INSTITUTION, self.id)
        return 1 if value is None else InstitutionState.decode(value).last_seq + 1

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""
        return {
            "chain_id": self.genesis.chain_id,
            "sender": self.id,
            "key_id": key_id(self._signer(self.replica.view).public.bytes),
            "nonce": secrets.token_bytes(SHORT_ID),
            "expiry_height": self.height + self.replica.view.parameters.expiry_blocks,
        }

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution, ready to be offered to producers.

        Args:
            draft: It without a signature; ``heading`` gives its common fields.

        Raises:
            Refused: It is of another chain, or another institution's.
            Halted: The key here is not the one the chain names.
        """
        key = self._signer(self.replica.view)
        if (draft.chain_id, draft.sender) != (self.genesis.chain_id, self.id) or draft.key_id != key_id(
            key.public.bytes
        ):
            raise Refused("sender", "4", "an institution signs nothing but its own transactions")
        return replace(draft, signature=key.sign(draft.signed_bytes())).encode()

    def submit(self, entries: Sequence[Entry], seq: int, locator: str) -> Submission:
        """Return a signed batch of sealed records.

        Args:
            entries: What the vault sealed, at least one.
            seq: Number of the batch, from ``next_seq`` on.
            locator: Where the envelopes lie, for people; each entry carries its own locator too.

        Raises:
            Refused: The institution may not publish, or the batch is empty or too large.
        """
        view = self.replica.view
        rules = view.parameters
        limit = rules.batch_entries
        if not 0 < len(entries) <= limit:
            raise Refused("batch size", "4", f"{len(entries)} records; a batch has 1 to {limit}")
        registration = view.roster.registration(self.id)
        if registration is None or registration.class_ in ("R", "P"):
            raise Refused("upload", "14", "regulators and participants publish no records")
        key, leaves = self._signer(view), leaves_of(entries)
        tx = SubmitBatch(
            chain_id=self.genesis.chain_id,
            submitter=self.id,
            key_id=key_id(key.public.bytes),
            seq=seq,
            batch_root=leaves.root,
            count=len(leaves),
            policy_id=DEFAULT_POLICY,
            expiry_height=view.head.height + rules.expiry_blocks,
            locator=locator,
        )
        signed = replace(tx, signature=key.sign(tx.signed_bytes()))
        return Submission(signed.encode(), leaves.encode(), tx.tx_id)

    # --- agreement ---------------------------------------------------------------------------------------------

    def producer(self, round: int = 0) -> str:
        """Return whose turn it is to propose the next block in a round."""
        view = self.replica.view
        return view.name(view.validators.producer(view.head.height + 1, round).id)

    def is_producer(self, height: int, round: int) -> bool:
        """Say whether it is this institution's turn to propose at a height, the next one at most."""
        return self.replica.view.voters_at(height).producer(height, round).id == self.id

    def propose(
        self,
        submissions: Iterable[tuple[bytes, bytes]],
        round: int = 0,
        tc: bytes | None = None,
        *,
        prepare_qc: bytes | None = None,
        carried: Iterable[bytes] = (),
        evidence: Iterable[bytes] = (),
        on_skip: SkipListener | None = None,
    ) -> bytes | None:
        """Return this producer's proposal for the next height, or None when there is nothing to do.

        The same round again returns the stored proposal, whatever else is submitted by then. Leaves are not stored
        with it, so what it holds must still be among the submissions.

        Args:
            submissions: Transactions and their leaves; those that break a rule are skipped.
            round: Round to propose in.
            tc: For rounds above 0: the timeout certificate of the round before.
            prepare_qc: A PrepareQC of this height that a voter's refusal brought, if any.
            carried: Earlier proposals of this height, read as often as asked for: a certified block is proposed
                again, not another.
            evidence: Proofs of double signing; those that prove nothing new are skipped.
            on_skip: Told of each transaction skipped, and why.

        Raises:
            Refused: It is another producer's turn, the timeout certificate is not good, or the block that must be
                proposed again is not among ``carried``.
            Behind: The round's proposal is stored, and what it holds is not among the submissions.
        """
        view, votes = self._ready(), self._vote_store()
        height = view.head.height + 1
        if view.validators.producer(height, round).id != self.id:
            raise Refused("schedule", "6", f"round {round} of height {height} is the turn of {self.producer(round)}")
        slot, offered = Slot(height, round, PROPOSE), list(submissions)
        found = votes.find(self.genesis.chain_id, slot)
        drafted: Proposal | None = None
        if found is None:
            certificates = tc or b"", prepare_qc or b""
            drafted = self._draft(view, offered, round, *certificates, carried, evidence, on_skip)
            if drafted is None:
                return None
        signed = votes.sign(self.genesis.chain_id, slot, self._signer(view), lambda _: _proposal_draft(drafted))
        proposal = replace(Proposal.decode(signed.payload), signature=signed.signature)
        mine = drafted is not None and drafted.block == proposal.block  # else another worker's draft was signed first
        bodies = drafted.bodies if drafted and mine else stored_bodies(proposal, offered, carried)
        return replace(proposal, bodies=bodies).encode()

    def _draft(
        self,
        view: ReplicaView,
        offered: Sequence[tuple[bytes, bytes]],
        round: int,
        tc: bytes,
        prepare_qc: bytes,
        carried: Iterable[bytes],
        evidence: Iterable[bytes],
        on_skip: SkipListener | None,
    ) -> Proposal | None:
        lock = self._vote_store().lock(self.genesis.chain_id, view.head.height + 1)
        justify = highest_certificate(view, view.head.height + 1, round, tc, (prepare_qc, lock))
        if justify is not None:
            again = find_block(carried, justify.ballot.block_id)
            return Proposal(round, self.id, again.block, justify.encode(), tc, again.bodies)
        with self._still(view):
            now = max(self._clock(), view.head.timestamp_ms + 1)
            execution = Execution(self.genesis, view, Terms(view.commit_qc, self.id, round, now))
            collect(execution, offered, evidence, on_skip)
            if execution.is_empty:
                return None
            block, bodies = execution.block(), tuple(execution.bodies)
        self._validated = (block.header.block_id, bodies, execution)
        return Proposal(round, self.id, block.encode(), b"", tc, bodies)

    def prepare(self, proposal: bytes) -> bytes:
        """Return this voter's PREPARE after verifying everything itself.

        Raises:
            Refused: The proposal breaks a rule, or this voter is locked on another block or has gone on.
            Behind: The proposal stands on blocks this node does not have yet.
        """
        view = self._ready()
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        self._check_place(view, block.header)
        justify = check_proposal(opened, block, view.validators)
        if justify is None:
            self._check_time(view, block.header)
        execution = self._execute(view, block, opened.bodies)
        check_envelopes(
            execution.batches,
            [view.name(one.tx.submitter) for one in execution.batches],
            self._envelopes,
            sm3(block.header.block_id + self.id),
            view.parameters.sample_envelopes,
        )
        ballot = Ballot(
            PREPARE,
            block.header.height,
            opened.round,
            block.header.epoch,
            block.header.block_id,
            justify.ballot.round if justify else NO_ROUND,
            qc_digest(opened.justify),
        )
        return self._vote(view, ballot, guard=lambda lock: check_against_lock(lock, justify))

    def commit(self, prepare_qc: bytes, proposal: bytes) -> bytes:
        """Return this voter's COMMIT; from now on it is locked on the certificate.

        Args:
            prepare_qc: The PrepareQC of the round.
            proposal: A proposal of its block, so that the block itself is at hand.

        Raises:
            Refused: The certificate is not good, or not of that block; or this voter has gone on.
            Behind: The block stands on blocks this node does not have yet.
        """
        view = self._ready()
        found = QuorumCertificate.decode(prepare_qc)
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        self._check_place(view, block.header)
        ballot, header = found.ballot, block.header
        if ballot.type != PREPARE or (ballot.height, ballot.epoch, ballot.block_id) != (
            header.height, header.epoch, header.block_id,
        ):  # fmt: skip
            raise Refused("prepare certificate", "6", "expected a PrepareQC of the block proposed")
        found.verify(self.genesis.chain_id, view.validators)
        mine = self._vote_store().find(self.genesis.chain_id, Slot(ballot.height, ballot.round, PREPARE))
        if mine is None or mine.message != ballot.signed_bytes(self.genesis.chain_id):
            self._execute(view, block, opened.bodies)
        digest = qc_digest(prepare_qc)
        vote = Ballot(COMMIT, ballot.height, ballot.round, ballot.epoch, ballot.block_id, ballot.round, digest)
        return self._vote(view, vote, lock=prepare_qc)

    def timeout(self, height: int, round: int, tc: bytes | None = None) -> bytes:
        """Return this voter's TIMEOUT of a round with its lock; after it the voter votes in no round up to this.

        Args:
            height: Height that stands.
            round: Round that gave no certificate in time, by the caller's own clock.
            tc: For a round above 0 that this voter has not voted in: the certificate that opened it.

        Raises:
            Refused: The height is final, or the round was not opened.
            Behind: The height lies beyond this node's next one.
        """
        view, votes = self._ready(), self._vote_store()
        self._check_height(view, height)
        chain, epoch = self.genesis.chain_id, self.genesis.epoch(height)
        last = votes.last(chain)
        if round and (last is None or (last.height, last.round) < (height, round)):
            check_tc(tc or b"", height, round - 1, epoch, chain, view.validators)

        def draft(lock: bytes) -> tuple[bytes, bytes]:
            number = QuorumCertificate.decode(lock).ballot.round if lock else NO_ROUND
            ballot = Ballot(TIMEOUT, height, round, epoch, ZERO_DIGEST, number, qc_digest(lock))
            return ballot.signed_bytes(chain), lock

        self._must_vote(view)
        signed = votes.sign(chain, Slot(height, round, TIMEOUT), self._signer(view), draft)
        ballot = Ballot.read(Reader(signed.message[-Ballot.BYTES :], "own TIMEOUT"))
        return Vote(ballot, self.id, signed.signature, signed.payload).encode()

    def good_certificate(self, candidates: Iterable[bytes], height: int, round: int, type_: int) -> bytes | None:
        """Return the first of these that is a good certificate of a height and round, or None.

        Args:
            candidates: What somebody listed.
            height: Height it must be of.
            round: Round it must be of.
            type_: ``PREPARE``, ``COMMIT``, or ``TIMEOUT`` for a timeout certificate.
        """
        view = self.replica.view
        if height > view.head.height + 1:
            return None  # who votes there is not decided yet
        chain, validators, epoch = self.genesis.chain_id, view.voters_at(height), self.genesis.epoch(height)
        for data in candidates:
            try:
                if type_ == TIMEOUT:
                    check_tc(data, height, round, epoch, chain, validators)
                    return data
                found = QuorumCertificate.decode(data)
                ballot = found.ballot
                if (ballot.type, ballot.height, ballot.round, ballot.epoch) == (type_, height, round, epoch):
                    found.verify(chain, validators)
                    return data
            except Refused:
                continue
        return None

    def assemble_prepare(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a PrepareQC from these votes, or None; useless votes are left out."""
        return assemble_qc(votes, PREPARE, self.genesis.chain_id, self.replica.view.validators)

    def assemble_commit(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a CommitQC from these votes, or None; useless votes are left out."""
        return assemble_qc(votes, COMMIT, self.genesis.chain_id, self.replica.view.validators)

    def assemble_tc(self, votes: Iterable[bytes], height: int, round: int) -> bytes | None:
        """Return the timeout certificate of a round from these votes, or None; useless votes are left out."""
        view, epoch = self.replica.view, self.genesis.epoch(height)
        if height > view.head.height + 1:
            return None
        return assemble_tc(votes, self.genesis.chain_id, view.voters_at(height), height, round, epoch)

    # --- final blocks ------------------------------------------------------------------------------------------

    def apply(self, block: bytes, commit_qc: bytes, leaves: Sequence[bytes]) -> Receipt:
        """Make a certified block this replica's head after executing it again.

        Args:
            block: The block's bytes.
            commit_qc: A CommitQC on it.
            leaves: Leaves of each batch.

        Raises:
            Refused: The certificate is not good, or the bytes are not those it certifies.
            Behind: Blocks below it are missing here; sync first.
            Diverged: A good certificate on what this replica cannot agree with. Both are kept, the node stops.
        """
        view = self._ready()
        opened, bodies = Block.decode(block), tuple(leaves)
        header, final = opened.header, FinalBlock(block, commit_qc, tuple(leaves))
        if header.height == 0 or header.chain_id != self.genesis.chain_id:
            raise Refused("chain id", "3", "the block is of another chain, or is a genesis")
        if header.height > view.head.height + 1:
            raise Behind(f"block {header.height} came, the head is {view.head.height}; sync, then try again")
        found = check_commit(
            commit_qc, header.block_id, header.height, self.genesis.epoch(header.height),
            self.genesis.chain_id, view.voters_at(header.height),
        )  # fmt: skip
        check_carried(opened)
        if header.height <= view.head.height:
            if self.replica.header(header.height) != header:
                raise self._diverged(final, "two certified blocks of one height")
            return self._receipt(view, opened, found, repeated=True)
        execution = self._execute_certified(view, opened, bodies, final)
        self.replica.apply(execution, final, header)
        self._validated = None
        return self._receipt(view, opened, found, repeated=False)

    def _execute_certified(
        self, view: ReplicaView, block: Block, bodies: tuple[bytes, ...], final: FinalBlock
    ) -> Execution:
        try:
            return self._execute(view, block, bodies)
        except Refused as error:
            if error.rule in _CARRIED_WRONGLY:
                raise
            raise self._diverged(final, f"a quorum certified what this replica refuses: {error.rule}") from error

    def _diverged(self, final: FinalBlock, reason: str) -> Diverged:
        """Keep the block that contradicts this replica, and return the error to raise."""
        self.replica.keep_conflict(final, reason)
        return Diverged(f"{reason}; both are kept, nothing was overwritten, and this node signs nothing more")

    @staticmethod
    def _receipt(view: ReplicaView, block: Block, certificate: QuorumCertificate, repeated: bool) -> Receipt:
        transactions = [open_transaction(one) for one in block.transactions]
        voters = view.voters_at(block.header.height).voters
        return Receipt(
            block.header.height,
            block.header.block_id.hex(),
            sum(one.count for one in transactions if isinstance(one, SubmitBatch)),
            tuple(one.tx_id.hex() for one in transactions),
            tuple(view.name(voters[one].id) for one in certificate.signers),
            repeated,
        )

    def sync(self, *sources: FinalSource) -> int:
        """Catch up from the first source that has each next block, and return how many blocks were applied.

        What does not verify, or is not the next block, is passed over.

        Raises:
            Diverged: A good certificate contradicts this replica.
            Refused: Sources have the next block, and none of them a good one.
            Behind: What sources show as the next block stands on others.
        """
        applied = 0
        while True:
            at, refused = self.height, list[Refused | Behind]()
            for final in (one for source in sources for one in source.finals(at + 1)):
                try:
                    self.apply(final.block, final.commit_qc, final.bodies)
                except (Refused, Behind) as error:
                    refused.append(error)
                if self.height > at:
                    applied += 1
                    break
            else:
                if refused:
                    raise refused[0]
                return applied

    def verify_chain(self, progress: Callable[[int, int], None] | None = None) -> ChainReport:
        """Compute every hash, root, signature and leaf again from genesis on, and report what is wrong.

        Args:
            progress: Told the height done and the height of the head.
        """
        return verify_chain(self.replica, progress)

    def prove(self, rid: bytes, version: int, institution: str | None = None) -> dict[str, Any]:
        """Return the proof file of a record, format ``xinglin-proof/v1``, as plain JSON values.

        Args:
            rid: The record's id, 16 bytes.
            version: Its version.
            institution: Who published it; without it every member is asked.

        Raises:
            KeyError: No final block holds it.
        """
        return prove(self.replica, rid, version, institution)

    # --- what every method stands on ---------------------------------------------------------------------------

    def _ready(self) -> ReplicaView:
        """Return the present view, unless the replica is halted."""
        reason = self.replica.conflict()
        if reason:
            raise Halted(f"this node is halted: {reason}. Compare the replicas of the region before going on")
        return self.replica.view

    def _signer(self, view: ReplicaView) -> Signer:
        """Return the key, where it is the one the chain names now: another's signature would be refused by all."""
        if self._key is None:
            raise Halted(f"the node of {self.institution} has no key; it only observes")
        registration = view.roster.registration(self.id)
        if registration is None:
            raise Halted(f"the chain knows no institution {self.institution!r} up to height {view.head.height}")
        if registration.public_key != self._key.public.bytes:
            raise Halted(
                f"the key given is not the one the chain names for {self.institution} at height {view.head.height}; "
                "catch up first, and if that does not help give the node the key that governance registered"
            )
        return self._key

    def _vote_store(self) -> VoteStore:
        if self._votes is None:
            raise Halted(f"the node of {self.institution} has no vote store; it does not vote")
        return self._votes

    def _must_vote(self, view: ReplicaView) -> None:
        member = view.validators.member(self.id)
        if member is None or not member.weight:
            raise Refused("voter", "6", f"{self.institution} has no vote")

    def _vote(
        self, view: ReplicaView, ballot: Ballot, *, guard: Callable[[bytes], None] = lambda _: None, lock: bytes = b""
    ) -> bytes:
        """Return the signed vote; the guard sees the present lock in the same atomic step."""
        self._must_vote(view)
        chain = self.genesis.chain_id
        message = ballot.signed_bytes(chain)

        def draft(present: bytes) -> tuple[bytes, bytes]:
            guard(present)
            return message, b""

        slot = Slot(ballot.height, ballot.round, ballot.type)
        signed = self._vote_store().sign(chain, slot, self._signer(view), draft, expected=message, lock=lock)
        return Vote(ballot, self.id, signed.signature).encode()

    def _check_place(self, view: ReplicaView, header: Header) -> None:
        if header.chain_id != self.genesis.chain_id:
            raise Refused("chain id", "3", "the block is of another chain")
        self._check_height(view, header.height)

    @staticmethod
    def _check_height(view: ReplicaView, height: int) -> None:
        expected = view.head.height + 1
        if height > expected:
            raise Behind(f"height {height} came, this node expects {expected}; sync, then try again")
        if height < expected:
            raise Refused("height", "6", f"height {height} is final already")

    def _check_time(self, view: ReplicaView, header: Header) -> None:
        drift = abs(header.timestamp_ms - self._clock())
        allowed = view.parameters.clock_drift_ms
        if drift > allowed:
            raise Refused("time", "3", f"the block's time is {drift} ms from this clock, at most {allowed} allowed")

    def _execute(self, view: ReplicaView, block: Block, bodies: tuple[bytes, ...]) -> Execution:
        """Return the checked execution of a block; the very bytes this node checked last are not checked twice."""
        done = self._validated
        if done and done[:2] == (block.header.block_id, bodies) and done[2].view.head == view.head:
            # The id covers the header; content the header commits to must still be the same bytes.
            check_carried(block)
            return done[2]
        with self._still(view):
            execution = check_block(self.genesis, view, block, bodies)
        self._validated = (block.header.block_id, bodies, execution)
        return execution

    @contextmanager
    def _still(self, view: ReplicaView) -> Iterator[None]:
        """Turn a state read under a head that moved meanwhile into ``Behind`` instead of an alarm."""
        try:
            yield
        except Diverged as error:
            if self.height != view.head.height:
                raise Behind("the chain moved on while this was judged; try again") from error
            raise


def _proposal_draft(proposal: Proposal | None) -> tuple[bytes, bytes]:
    if proposal is None:
        raise RuntimeError("a stored proposal vanished between two reads of the vote store")
    return proposal.signed_bytes(), replace(proposal, bodies=()).encode()
