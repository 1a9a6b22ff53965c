"""The one object an institution owns: replica, key, vote store and rules (section 0).

Bytes in, signed bytes or a refusal out. Whoever carries the bytes can delay the chain and never forge it: each method
verifies all of what it is given against this node's own replica before it signs or stores anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ledger.agreement.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    TIMEOUT,
    Ballot,
    QuorumCertificate,
    assemble_qc,
    assemble_tc,
    qc_digest,
)
from ledger.agreement.following import FinalSource, Follower, Receipt
from ledger.agreement.judgement import Judgement
from ledger.agreement.pen import Pen
from ledger.agreement.production import SkipListener, collect, find_block, highest_certificate, stored_bodies
from ledger.agreement.proposal import Proposal, check_against_lock, check_proposal, check_tc
from ledger.agreement.round_timer import RoundTimer, StoredTimer, too_early
from ledger.agreement.votes import Signer, VoteStore
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.chain_check import ChainReport, verify_chain
from ledger.chain.execution import Execution, Terms
from ledger.chain.fate import Fate, fate_of
from ledger.chain.genesis import DEFAULT_POLICY, Genesis
from ledger.chain.leaves import leaves_of
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.sampling import EnvelopeSource, check_envelopes
from ledger.chain.state import INSTITUTION, REQUEST, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id, key_id
from ledger.encoding import DIGEST
from ledger.errors import Refused
from ledger.messages.catalogue_word import catalogue_message
from ledger.messages.manifest_word import manifest_message
from ledger.messages.request_state import ALLOWED, RequestState
from ledger.proofs.checkpoint import Checkpoint, Note, cosign
from ledger.proofs.proving import prove
from schemas.records import Entry
from shangmi import PublicKey, sm3


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed batch: the transaction, its leaves, and the id under which receipts name it."""

    tx: bytes
    leaves: bytes
    tx_id: bytes


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
        timer: Since when rounds are open; without it, what lies beside the votes.

    Raises:
        Halted: Key and vote store do not belong together.
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
        timer: RoundTimer | None = None,
    ) -> None:
        self.genesis = genesis
        self.institution = institution
        self.id = institution_id(institution)
        self.replica = replica
        self._envelopes, self._clock = envelopes, clock
        self._pen = Pen(genesis.chain_id, institution, key, votes)
        self._timer = StoredTimer(genesis.chain_id, votes) if timer is None and votes is not None else timer
        self._judgement = Judgement(replica, clock)
        self._follower = Follower(replica, self._judgement)

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

    @property
    def halted(self) -> str | None:
        """Why this node signs nothing until a person has looked, or None."""
        return self.replica.conflict() or self._pen.halted

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        value = self.replica.view.state(INSTITUTION, self.id)
        return 1 if value is None else InstitutionState.decode(value).last_seq + 1

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""
        return self._pen.heading(self.replica.view)

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution, ready to be offered to producers.

        Args:
            draft: It without a signature; ``heading`` gives its common fields.

        Raises:
            Refused: It is of another chain, or another institution's.
            Halted: The key here is not the one the chain names.
        """
        return self._pen.sign(self.replica.view, draft)

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
        key, leaves = self._pen.key(view), leaves_of(entries)
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

    @property
    def public(self) -> PublicKey:
        """The public half of this node's key."""
        return self._pen.public

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key; Refused where nothing was."""
        return self._pen.decrypt(ciphertext)

    def cosign(self, height: int) -> bytes:
        """Return this auditor's signed checkpoint of one of its own final blocks (section 12).

        Raises:
            Refused: The institution is no auditor, or has no such block.
            Halted: There is no key here, or this replica is halted.
        """
        view = self._judgement.view()
        member = view.validators.member(self.id)
        if member is None or member.role != "auditor":
            raise Refused("checkpoint", "12", f"{self.institution} is no auditor; only auditors sign checkpoints")
        if not 0 < height <= view.head.height:
            raise Refused("checkpoint", "12", f"no block {height} here above genesis; the head is {view.head.height}")
        key, checkpoint = self._pen.key(view), Checkpoint.of(self.replica.header(height))
        signed = cosign(checkpoint, self.institution, key.public.bytes, key, self._clock())
        return Note(checkpoint, (signed,)).encode()

    def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
        """Return this holder's signature on the manifest of a dataset (section 14).

        Args:
            request: Id of the ACCESS_REQ that the dataset answers.
            digest: SM3 of the manifest.

        Raises:
            Refused: The request does not stand allowed in this node's own replica, or asks others.
            Halted: There is no key here, or this replica is halted.
        """
        view = self._judgement.view()
        stored = view.state(REQUEST, request)
        found = None if stored is None or len(request) != DIGEST else RequestState.decode(stored)
        if found is None or found.stage != ALLOWED or self.id not in found.holders:
            raise Refused("manifest", "14", f"no request of that id stands allowed that asks {self.institution}")
        if len(digest) != DIGEST:
            raise Refused("manifest", "14", f"a digest of {len(digest)} bytes, expected {DIGEST}")
        return self._pen.key(view).sign(manifest_message(self.genesis.chain_id, self.id, request, digest))

    def sign_catalogue(self, digest: bytes) -> bytes:
        """Return this institution's signature on its catalogue of what may be asked for, by the catalogue's SM3 digest.

        Raises:
            Refused: It is no digest.
            Halted: There is no key here, or this replica is halted.
        """
        if len(digest) != DIGEST:
            raise Refused("catalogue", "14", f"a digest of {len(digest)} bytes, expected {DIGEST}")
        key = self._pen.key(self._judgement.view())
        return key.sign(catalogue_message(self.genesis.chain_id, self.id, digest))

    def fate(self, tx: bytes) -> Fate:
        """Return what became of a transaction, by this node's own replica; Malformed where the bytes are none."""
        return fate_of(self.replica, tx)

    def observe(self, shown: Iterable[bytes]) -> None:
        """Look at votes, certificates and proposals for a signature of this key that its vote store does not know.

        Where one is found the key was used elsewhere, or its vote store is an old one: it signs nothing more until
        ``xinglin node recover``. Nothing else changes, so that the replica can go on.
        """
        self._pen.observe(self.replica.view, shown)

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
        view, offered = self._judgement.view(), list(submissions)
        height = view.head.height + 1
        if view.validators.producer(height, round).id != self.id:
            raise Refused("schedule", "6", f"round {round} of height {height} is the turn of {self.producer(round)}")
        drafted: Proposal | None = None
        if not self._pen.stored_proposal(height, round):
            certificates = tc or b"", prepare_qc or b""
            drafted = self._draft(view, offered, round, *certificates, carried, evidence, on_skip)
            if drafted is None:
                return None
        proposal = self._pen.propose(view, round, drafted)
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
        lock = self._pen.lock(view.head.height + 1)
        justify = highest_certificate(view, view.head.height + 1, round, tc, (prepare_qc, lock))
        if justify is not None:
            again = find_block(carried, justify.ballot.block_id)
            return Proposal(round, self.id, again.block, justify.encode(), tc, again.bodies)
        with self._judgement.still(view):
            now = max(self._clock(), view.head.timestamp_ms + 1)
            execution = Execution(self.genesis, view, Terms(view.commit_qc, self.id, round, now))
            collect(execution, offered, evidence, on_skip)
            if execution.is_idle:
                return None
            block, bodies = execution.block(), tuple(execution.bodies)
        self._judgement.remember(block.header, bodies, execution)
        return Proposal(round, self.id, block.encode(), b"", tc, bodies)

    def prepare(self, proposal: bytes) -> bytes:
        """Return this voter's PREPARE after verifying everything itself.

        Raises:
            Refused: The proposal breaks a rule, or this voter is locked on another block or has gone on.
            Behind: The proposal stands on blocks this node does not have yet.
        """
        view = self._judgement.view()
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        self._judgement.place(view, block.header)
        justify = check_proposal(opened, block, view.validators)
        if justify is None:
            self._judgement.time(view, block.header)
        execution = self._judgement.execute(view, block, opened.bodies)
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
        return self._pen.vote(view, ballot, guard=lambda lock: check_against_lock(lock, justify))

    def commit(self, prepare_qc: bytes, proposal: bytes) -> bytes:
        """Return this voter's COMMIT; from now on it is locked on the certificate.

        Args:
            prepare_qc: The PrepareQC of the round.
            proposal: A proposal of its block, so that the block itself is at hand.

        Raises:
            Refused: The certificate is not good, or not of that block; or this voter has gone on.
            Behind: The block stands on blocks this node does not have yet.
        """
        view = self._judgement.view()
        found = QuorumCertificate.decode(prepare_qc)
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        self._judgement.place(view, block.header)
        ballot, header = found.ballot, block.header
        if ballot.type != PREPARE or (ballot.height, ballot.epoch, ballot.block_id) != (
            header.height, header.epoch, header.block_id,
        ):  # fmt: skip
            raise Refused("prepare certificate", "6", "expected a PrepareQC of the block proposed")
        found.verify(self.genesis.chain_id, view.validators)
        if not self._pen.has_signed(ballot):
            self._judgement.execute(view, block, opened.bodies)
        digest = qc_digest(prepare_qc)
        vote = Ballot(COMMIT, ballot.height, ballot.round, ballot.epoch, ballot.block_id, ballot.round, digest)
        return self._pen.vote(view, vote, lock=prepare_qc)

    def open_round(self, height: int, round: int, cause: bytes) -> None:
        """This node knows a round to be open: its time is counted here, from the first such call on.

        Args:
            height: The height to be decided.
            round: The round.
            cause: Why it is open. Round 0: a transaction or evidence that calls for a block; others: the timeout
                certificate of the round before.

        Raises:
            Refused: That is no reason, or the height is final.
            Behind: The height lies beyond this node's next one.
        """
        if self._timer is None or self._timer.runs(height, round):
            return
        view = self.replica.view
        self._judgement.height(view, height)
        if round:
            check_tc(cause, height, round - 1, self.genesis.epoch(height), self.genesis.chain_id, view.validators)
        else:
            with self._judgement.still(view):
                terms = Terms(view.commit_qc, self.id, 0, view.head.timestamp_ms + 1)
                Execution(self.genesis, view, terms).check_due(cause)
        self._timer.start(height, round)

    def timeout(self, height: int, round: int, tc: bytes | None = None, shown: Iterable[bytes] = ()) -> bytes:
        """Return this voter's TIMEOUT of a round with its lock; after it the voter votes in no round up to this.

        Args:
            height: Height that stands.
            round: Round that gave no certificate in time, by this node's own clock.
            tc: For a round above 0 that this voter has not voted in: the certificate that opened it.
            shown: TIMEOUTs of others: more than a third of the weight ends the wait.

        Raises:
            Refused: The height is final, or the round was not opened.
            TooEarly: The round's time is not over here.
            Behind: The height lies beyond this node's next one, or this node knows of nothing to decide in the round.
        """
        view = self._judgement.view()
        self._judgement.height(view, height)
        if round and not self._pen.voted_in(height, round):
            epoch = self.genesis.epoch(height)
            check_tc(tc or b"", height, round - 1, epoch, self.genesis.chain_id, view.validators)
        early = None if self._timer is None else too_early(self._timer, view, height, round, shown)
        return self._pen.time_out(view, height, round, early)

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
        return self._follower.apply(block, commit_qc, leaves)

    def sync(self, *sources: FinalSource) -> int:
        """Catch up from the first source that has each next block, and return how many blocks were applied.

        What does not verify, or is not the next block, is passed over.

        Raises:
            Diverged: A good certificate contradicts this replica.
            Refused: Sources have the next block, and none of them a good one.
            Behind: What sources show as the next block stands on others.
        """
        return self._follower.sync(sources)

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
