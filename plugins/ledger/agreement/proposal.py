"""PROPOSE, and when a voter may follow one (section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.agreement.certificate import (
    PREPARE,
    TIMEOUT,
    Ballot,
    QuorumCertificate,
    TimeoutCertificate,
    check_lock,
    qc_digest,
)
from ledger.chain.block import MAX_TRANSACTIONS, Block
from ledger.chain.leaves import LEAF_BYTES, MAX_LEAVES, MAX_LOCATOR
from ledger.chain.merkle import tree_root
from ledger.chain.validators import ValidatorSet
from ledger.encoding import SHORT_ID, SIGNATURE, Reader, listed, u32, u64, var
from ledger.errors import Refused

MAX_BLOCK = 2 << 20
MAX_TC = 8 << 20
MAX_BODY = MAX_LEAVES * (LEAF_BYTES + MAX_LOCATOR)
_SIGNED = b"XL/PROP/1\0"
_DOMAIN = b"XL/PROPOSAL/1\0"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block put forward in a round, with everything a voter needs to judge it.

    Attributes:
        round: Round it is proposed in.
        producer: Who proposes.
        block: The block's bytes.
        justify: PrepareQC of an earlier round on the same block, or empty.
        tc: For rounds above 0: the timeout certificate of the round before.
        bodies: Leaves of each batch; what they are follows from the block, so they are not signed again.
        signature: SM2 over ``signed_bytes``.
    """

    round: int
    producer: bytes
    block: bytes
    justify: bytes
    tc: bytes
    bodies: tuple[bytes, ...]
    signature: bytes = bytes(SIGNATURE)

    def signed_bytes(self) -> bytes:
        """Return what the producer signs."""
        header = Block.decode(self.block).header
        return (
            _SIGNED
            + header.chain_id
            + u64(header.height)
            + u32(self.round)
            + u32(header.epoch)
            + header.block_id
            + qc_digest(self.justify)
            + qc_digest(self.tc)
        )

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            _DOMAIN + u32(self.round) + self.producer + self.signature
            + var(self.block) + var(self.justify) + var(self.tc) + listed(self.bodies)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Proposal:
        """Read a proposal, or raise Malformed; nothing in it is verified yet."""
        reader = Reader(data, "proposal")
        reader.constant(_DOMAIN)
        round_, producer, signature = reader.u32(), reader.take(SHORT_ID), reader.take(SIGNATURE)
        block, justify, tc = reader.var(MAX_BLOCK), reader.var(MAX_TC), reader.var(MAX_TC)
        bodies = reader.listed(MAX_TRANSACTIONS, MAX_BODY)
        reader.end()
        return cls(round_, producer, block, justify, tc, bodies, signature)


def check_proposal(proposal: Proposal, block: Block, validators: ValidatorSet) -> QuorumCertificate | None:
    """Return the verified certificate the proposal leans on, or None.

    Raises:
        Refused: It is not its producer's turn, not signed, or not justified as section 6 demands.
    """
    header, round_ = block.header, proposal.round
    producer = validators.producer(header.height, round_)
    if proposal.producer != producer.id:
        raise Refused("schedule", "6", f"round {round_} of height {header.height} is another producer's")
    if not producer.verify(proposal.signature, proposal.signed_bytes()):
        raise Refused("proposal signature", "5", "the proposal is not signed by its producer")
    highest = _check_tc(proposal, block, validators)
    justify = _check_justify(proposal, block, validators)
    if highest and (justify is None or justify.ballot.round < highest.ballot.round):
        raise Refused("justification", "6", "a voter reported a higher PrepareQC than the proposal leans on")
    if justify is None and (header.build_round, header.builder_id) != (round_, producer.id):
        raise Refused("justification", "6", "a block of an earlier round needs its PrepareQC")
    return justify


def _check_tc(proposal: Proposal, block: Block, validators: ValidatorSet) -> QuorumCertificate | None:
    header = block.header
    if proposal.round == 0:
        if proposal.tc or proposal.justify:
            raise Refused("justification", "6", "round 0 follows no other round")
        return None
    return check_tc(proposal.tc, header.height, proposal.round - 1, header.epoch, header.chain_id, validators)


def check_tc(
    data: bytes, height: int, round_: int, epoch: int, chain_id: bytes, validators: ValidatorSet
) -> QuorumCertificate | None:
    """Return the highest lock that a timeout certificate of this round reports, everything verified.

    Raises:
        Refused: It is of another round, or not good.
    """
    tc = TimeoutCertificate.decode(data)
    if (tc.height, tc.round, tc.epoch) != (height, round_, epoch):
        raise Refused("timeout certificate", "6", f"expected one of height {height}, round {round_}")
    return tc.verify(chain_id, validators)


def first_good(candidates: Iterable[bytes], wanted: Ballot, chain_id: bytes, validators: ValidatorSet) -> bytes | None:
    """Return the first of these that is a good certificate of the ballot's type, height, round and epoch, or None.

    Args:
        candidates: What somebody listed.
        wanted: Of any block.
        chain_id: The chain.
        validators: Who votes at the height.
    """
    place = wanted.height, wanted.round, wanted.epoch
    for data in candidates:
        try:
            if wanted.type == TIMEOUT:
                check_tc(data, *place, chain_id, validators)
                return data
            found = QuorumCertificate.decode(data)
            ballot = found.ballot
            if (ballot.type, ballot.height, ballot.round, ballot.epoch) == (wanted.type, *place):
                found.verify(chain_id, validators)
                return data
        except Refused:
            continue
    return None


def _check_justify(proposal: Proposal, block: Block, validators: ValidatorSet) -> QuorumCertificate | None:
    if not proposal.justify:
        return None
    header = block.header
    found = QuorumCertificate.decode(proposal.justify)
    if found.ballot.type != PREPARE or found.ballot.round >= proposal.round:
        raise Refused("justification", "6", "expected a PrepareQC of an earlier round")
    check_lock(proposal.justify, found.ballot, header.chain_id, validators)
    if (found.ballot.height, found.ballot.block_id) != (header.height, header.block_id):
        raise Refused("justification", "6", "the PrepareQC is of another block")
    return found


def check_against_lock(lock: bytes, justify: QuorumCertificate | None) -> None:
    """Raise Refused, carrying the lock, unless ``lock`` is empty or of no later round than ``justify``.

    Strict: a voter follows its own locked block too only under a certificate as new as its lock, or honest
    voters could be framed (section 6, accountability).
    """
    if not lock:
        return
    locked = QuorumCertificate.decode(lock).ballot.round
    if justify is None or justify.ballot.round < locked:
        raise Refused("lock", "6", f"this voter is locked since round {locked}", lock)


def check_carried(block: Block) -> None:
    """Raise Refused where a block's content is not what its own header commits to."""
    header = block.header
    given = tree_root(block.transactions), qc_digest(block.prev_commit), tree_root(block.evidence)
    if given != (header.tx_root, header.prev_commit_digest, header.evidence_root):
        raise Refused("block content", "3", "the block's content is not the one its header commits to")
