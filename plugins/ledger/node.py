"""The one object an institution owns: replica, key, vote store and rules (section 0).

Bytes in, signed bytes or a refusal out. Whoever carries the bytes can delay the chain and never forge it: each method
verifies all of what it is given against this node's own replica before it signs or stores anything. What stands here is
how blocks become final; what else the institution signs and opens is its ``Signatory``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ledger.agreement.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    Ballot,
    QuorumCertificate,
    assemble_qc,
    assemble_tc,
    qc_digest,
)
from ledger.agreement.following import FinalSource, Follower, Receipt
from ledger.agreement.judgement import Judgement
from ledger.agreement.pen import Pen
from ledger.agreement.production import SkipListener, collect, propose_again, stored_bodies
from ledger.agreement.proposal import Proposal, check_against_lock, check_proposal, check_tc, first_good
from ledger.agreement.round_timer import RoundTimer, StoredTimer, too_early
from ledger.agreement.votes import Signer, VoteStore
from ledger.chain.block import Block
from ledger.chain.chain_check import ChainReport, verify_chain
from ledger.chain.execution import Execution, Terms
from ledger.chain.fate import Fate, fate_of
from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.sampling import EnvelopeSource, check_envelopes
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Refused
from ledger.proofs.proving import prove
from ledger.signatory import Signatory, Submission
from schemas.records import Entry
from shangmi import PublicKey, sm3


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
        self._signatory = Signatory(institution, self._pen, replica, self._judgement, clock)

    def close(self) -> None:
        """Let go of the vote store; the node signs nothing more."""
        self._pen.close()

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

    def fate(self, tx: bytes) -> Fate:
        """Return what became of a transaction, by this node's own replica; Malformed where the bytes are none."""
        return fate_of(self.replica, tx)

    def observe(self, shown: Iterable[bytes]) -> None:
        """Look at votes, certificates and proposals for a signature of this key that its vote store does not know.

        Where one is found the key was used elsewhere, or its vote store is an old one: it signs nothing more until
        ``xinglin node recover``. Nothing else changes, so that the replica can go on.
        """
        self._pen.observe(self.replica.view, shown)

    # --- what is signed and opened beside votes: see Signatory --------------------------------------------------

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        return self._signatory.next_seq()

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""
        return self._signatory.heading()

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution; Refused where it is another's."""
        return self._signatory.sign(draft)

    def submit(self, entries: Sequence[Entry], seq: int, locator: str) -> Submission:
        """Return a signed batch of sealed records; Refused where the institution may not publish it."""
        return self._signatory.submit(entries, seq, locator)

    @property
    def public(self) -> PublicKey:
        """The public half of this node's key."""
        return self._signatory.public

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key; Refused where nothing was."""
        return self._signatory.decrypt(ciphertext)

    def cosign(self, height: int) -> bytes:
        """Return this auditor's signed checkpoint of one of its own final blocks; Refused where it is none."""
        return self._signatory.cosign(height)

    def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
        """Return this holder's signature on a dataset's manifest; Refused unless the request stands allowed here."""
        return self._signatory.sign_manifest(request, digest)

    def sign_catalogue(self, digest: bytes) -> bytes:
        """Return this institution's signature on its catalogue of what may be asked for, by its SM3 digest."""
        return self._signatory.sign_catalogue(digest)

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
            opening, known = tc or b"", (prepare_qc or b"", self._pen.lock(height))
            drafted = propose_again(view, round, self.id, opening, known, carried)
            drafted = drafted or self._draft(view, round, opening, offered, evidence, on_skip)
            if drafted is None:
                return None
        proposal = self._pen.propose(view, round, drafted)
        mine = drafted is not None and drafted.block == proposal.block  # else another worker's draft was signed first
        bodies = drafted.bodies if drafted and mine else stored_bodies(proposal, offered, carried)
        return replace(proposal, bodies=bodies).encode()

    def _draft(
        self,
        view: ReplicaView,
        round: int,
        tc: bytes,
        offered: Sequence[tuple[bytes, bytes]],
        evidence: Iterable[bytes],
        on_skip: SkipListener | None,
    ) -> Proposal | None:
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
        wanted = Ballot(type_, height, round, self.genesis.epoch(height), ZERO_DIGEST)
        return first_good(candidates, wanted, self.genesis.chain_id, view.voters_at(height))

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
        """Make a certified block this replica's head after executing it again; see ``Follower.apply``."""
        return self._follower.apply(block, commit_qc, leaves)

    def sync(self, *sources: FinalSource) -> int:
        """Catch up from sources, and return how many blocks were applied; see ``Follower.sync``."""
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
