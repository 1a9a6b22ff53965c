"""Votes and the certificates made of them (sections 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ledger.chain.validators import ValidatorSet
from ledger.encoding import DIGEST, SHORT_ID, SIGNATURE, ZERO_DIGEST, Reader, u8, u16, u32, u64, var
from ledger.errors import Refused
from shangmi import sm3

PREPARE, COMMIT, TIMEOUT = 1, 2, 3
STEP_NAMES = {PREPARE: "PREPARE", COMMIT: "COMMIT", TIMEOUT: "TIMEOUT"}
NO_ROUND = 0xFFFF_FFFF
MAX_QC = 1 << 17
MAX_LOCKS = 64
_VOTE = b"XL/VOTE/1\0"


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a vote says; its bytes behind chain and domain are what is signed.

    Attributes:
        type: ``PREPARE``, ``COMMIT`` or ``TIMEOUT``.
        height: Height voted on.
        round: Round voted in.
        epoch: Epoch of the voter set.
        block_id: The block; zeros for a TIMEOUT.
        justify_round: Round of the PrepareQC it leans on (for a TIMEOUT: of the lock), or ``NO_ROUND``.
        justify_digest: Digest of that certificate, or zeros.
    """

    type: int
    height: int
    round: int
    epoch: int
    block_id: bytes
    justify_round: int = NO_ROUND
    justify_digest: bytes = ZERO_DIGEST
    BYTES: ClassVar[int] = 85

    def encode(self) -> bytes:
        """Return the canonical bytes that certificates begin with."""
        return (
            u8(self.type)
            + u64(self.height)
            + u32(self.round)
            + u32(self.epoch)
            + self.block_id
            + u32(self.justify_round)
            + self.justify_digest
        )

    def signed_bytes(self, chain_id: bytes) -> bytes:
        """Return what a voter signs."""
        return _VOTE + chain_id + self.encode()

    @classmethod
    def read(cls, reader: Reader) -> Ballot:
        """Read the next ballot of a reader."""
        found = cls(
            reader.u8(), reader.u64(), reader.u32(), reader.u32(),
            reader.take(DIGEST), reader.u32(), reader.take(DIGEST),
        )  # fmt: skip
        if found.type not in STEP_NAMES:
            raise reader.wrong(f"type {found.type} is no vote")
        if (found.type == TIMEOUT) != (found.block_id == ZERO_DIGEST):
            raise reader.wrong("a TIMEOUT names no block, every other vote does")
        if (found.justify_round == NO_ROUND) != (found.justify_digest == ZERO_DIGEST) or found.round == NO_ROUND:
            raise reader.wrong("a round and a digest of a certificate go together")
        if found.type == COMMIT and found.justify_round != found.round:
            raise reader.wrong("a COMMIT leans on the PrepareQC of its own round")
        if found.type == PREPARE and NO_ROUND != found.justify_round >= found.round:
            raise reader.wrong("a PREPARE leans on a certificate of an earlier round")
        if found.type == TIMEOUT and NO_ROUND != found.justify_round > found.round:
            raise reader.wrong("a TIMEOUT reports a lock of a later round")
        return found


@dataclass(frozen=True, slots=True)
class Vote:
    """One voter's signed ballot.

    Attributes:
        ballot: What it says.
        voter: Institution that signs.
        signature: SM2, r||s.
        lock: For a TIMEOUT: the voter's lock, a PrepareQC's bytes, or empty.
    """

    ballot: Ballot
    voter: bytes
    signature: bytes
    lock: bytes = b""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.ballot.encode() + self.voter + self.signature + var(self.lock)

    @classmethod
    def decode(cls, data: bytes) -> Vote:
        """Read a vote, or raise Malformed; the signature is not verified here."""
        reader = Reader(data, "vote")
        found = cls(Ballot.read(reader), reader.take(SHORT_ID), reader.take(SIGNATURE), reader.var(MAX_QC))
        reader.end()
        locked = found.ballot.type == TIMEOUT and found.ballot.justify_round != NO_ROUND
        if locked != bool(found.lock):
            raise reader.wrong("a lock is attached to a TIMEOUT that reports one, and to nothing else")
        return found

    def verify(self, chain_id: bytes, validators: ValidatorSet) -> None:
        """Raise Refused unless a voter of the set signed this ballot."""
        member = validators.member(self.voter)
        if member is None or not member.weight:
            raise Refused("voter", "6", "the vote is of no voter of this epoch")
        if not member.verify(self.signature, self.ballot.signed_bytes(chain_id)):
            raise Refused("vote signature", "5", f"a {STEP_NAMES[self.ballot.type]} is not signed by who it names")


def _bitmap(indices: Iterable[int], bits: int) -> bytes:
    """Return the bitmap with these bits set; bit 0 is the first byte's highest."""
    field = bytearray(-(-bits // 8))
    for one in indices:
        field[one >> 3] |= 0x80 >> (one & 7)
    return bytes(field)


def _read_bitmap(reader: Reader) -> tuple[int, list[int]]:
    """Read ``nbits u16 || bitmap``; return the number of bits and which are set."""
    bits = reader.u16()
    field = reader.take(-(-bits // 8))
    indices = [one for one in range(bits) if field[one >> 3] & 0x80 >> (one & 7)]
    if _bitmap(indices, bits) != field:
        raise reader.wrong("padding bits of the bitmap are not zero")
    return bits, indices


@dataclass(frozen=True, slots=True)
class QuorumCertificate:
    """More than two thirds of the votes on one ballot.

    Attributes:
        ballot: What every signer signed, byte for byte.
        bits: Number of voters of the epoch.
        signers: Their places in the order of ids, ascending.
        signatures: One each, in that order.
    """

    ballot: Ballot
    bits: int
    signers: tuple[int, ...]
    signatures: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes of section 7."""
        return self.ballot.encode() + u16(self.bits) + _bitmap(self.signers, self.bits) + b"".join(self.signatures)

    @classmethod
    def decode(cls, data: bytes) -> QuorumCertificate:
        """Read a certificate, or raise Malformed; nothing in it is verified yet."""
        reader = Reader(data, "certificate")
        ballot = Ballot.read(reader)
        if ballot.type == TIMEOUT:
            raise reader.wrong("TIMEOUTs make another kind of certificate")
        bits, signers = _read_bitmap(reader)
        signatures = tuple(reader.take(SIGNATURE) for _ in signers)
        reader.end()
        return cls(ballot, bits, tuple(signers), signatures)

    @property
    def digest(self) -> bytes:
        """What later votes and headers call it."""
        return qc_digest(self.encode())

    def verify(self, chain_id: bytes, validators: ValidatorSet) -> None:
        """Raise Refused unless every signature is good and the signers are more than two thirds.

        Every signature counts as given: one bad one spoils the certificate, since the bitmap earns credit.
        """
        message = self.ballot.signed_bytes(chain_id)
        _check_quorum(validators, self.bits, self.signers, [message] * len(self.signers), self.signatures)


def qc_digest(data: bytes) -> bytes:
    """Return the digest of a certificate's bytes; zeros for none."""
    return sm3(b"XL/QC/1\0" + data) if data else ZERO_DIGEST


def _check_quorum(
    validators: ValidatorSet,
    bits: int,
    signers: Sequence[int],
    messages: Sequence[bytes],
    signatures: Sequence[bytes],
) -> None:
    voters = validators.voters
    if bits != len(voters):
        raise Refused("certificate size", "7", f"the bitmap has {bits} bits for {len(voters)} voters")
    weight = sum(voters[one].weight for one in signers)
    if not validators.has_quorum(weight):
        raise Refused("quorum", "7", f"weight {weight} of {validators.total} is not more than two thirds")
    for place, message, signature in zip(signers, messages, signatures, strict=True):
        if not voters[place].verify(signature, message):
            raise Refused("certificate signature", "7", f"the signature of voter {place} is not good")


@dataclass(frozen=True, slots=True)
class TimeoutCertificate:
    """More than two thirds of the TIMEOUTs of one round, with every lock they report.

    Attributes:
        height: Height that stands.
        round: Round that timed out.
        epoch: Epoch of the voter set.
        bits: Number of voters.
        signers: Places of those who timed out, ascending.
        reports: Round and digest of each one's lock (``NO_ROUND`` and zeros for none).
        signatures: One each.
        locks: The PrepareQCs reported, each once, in order of digest.
    """

    height: int
    round: int
    epoch: int
    bits: int
    signers: tuple[int, ...]
    reports: tuple[tuple[int, bytes], ...]
    signatures: tuple[bytes, ...]
    locks: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = b"".join(
            u32(round_) + digest + signature
            for (round_, digest), signature in zip(self.reports, self.signatures, strict=True)
        )
        return (
            u8(TIMEOUT) + u64(self.height) + u32(self.round) + u32(self.epoch) + u16(self.bits)
            + _bitmap(self.signers, self.bits) + rows + u8(len(self.locks)) + b"".join(map(var, self.locks))
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> TimeoutCertificate:
        """Read a timeout certificate, or raise Malformed; nothing in it is verified yet."""
        reader = Reader(data, "timeout certificate")
        reader.constant(u8(TIMEOUT))
        height, round_, epoch = reader.u64(), reader.u32(), reader.u32()
        bits, signers = _read_bitmap(reader)
        reports, signatures = [], []
        for _ in signers:
            reports.append((reader.u32(), reader.take(DIGEST)))
            signatures.append(reader.take(SIGNATURE))
        count = reader.u8()
        if count > MAX_LOCKS:
            raise reader.wrong(f"{count} locks, at most {MAX_LOCKS}")
        locks = tuple(reader.var(MAX_QC) for _ in range(count))
        reader.end()
        digests = [qc_digest(one) for one in locks]
        reported = sorted({digest for number, digest in reports if number != NO_ROUND})
        if digests != reported:
            raise reader.wrong("the locks attached are not exactly those reported, in order of digest")
        return cls(height, round_, epoch, bits, tuple(signers), tuple(reports), tuple(signatures), locks)

    @property
    def digest(self) -> bytes:
        """What a proposal calls it."""
        return qc_digest(self.encode())

    def verify(self, chain_id: bytes, validators: ValidatorSet) -> QuorumCertificate | None:
        """Return the highest lock reported, everything verified, or None where none was.

        Raises:
            Refused: The quorum, a signature or a lock is not good.
        """
        ballot = Ballot(TIMEOUT, self.height, self.round, self.epoch, ZERO_DIGEST)
        messages = [
            replace(ballot, justify_round=number, justify_digest=digest).signed_bytes(chain_id)
            for number, digest in self.reports
        ]
        _check_quorum(validators, self.bits, self.signers, messages, self.signatures)
        locks = {qc_digest(one): check_lock(one, self, chain_id, validators) for one in self.locks}
        for number, digest in self.reports:
            if number != NO_ROUND and locks[digest].ballot.round != number:
                raise Refused("timeout lock", "6", "a TIMEOUT reports its lock under another round")
        return max(locks.values(), key=lambda one: one.ballot.round, default=None)


def check_lock(
    data: bytes, at: Ballot | TimeoutCertificate, chain_id: bytes, validators: ValidatorSet
) -> QuorumCertificate:
    """Return a verified PrepareQC of the height of ``at``, not of a later round than its own.

    Raises:
        Refused: It is something else, or not good.
    """
    found = QuorumCertificate.decode(data)
    ballot = found.ballot
    if (ballot.type, ballot.height, ballot.epoch) != (PREPARE, at.height, at.epoch) or ballot.round > at.round:
        raise Refused("lock", "6", "expected a PrepareQC of this height and of no later round")
    found.verify(chain_id, validators)
    return found


def check_commit(
    data: bytes, block_id: bytes, height: int, epoch: int, chain_id: bytes, validators: ValidatorSet
) -> QuorumCertificate:
    """Return the verified CommitQC of one block.

    Raises:
        Refused: It is something else (a PrepareQC is no receipt), is of another block, or is not good.
    """
    found = QuorumCertificate.decode(data)
    ballot = found.ballot
    if ballot.type != COMMIT:
        raise Refused("commit certificate", "12", "only a CommitQC makes a block final")
    if (ballot.height, ballot.epoch, ballot.block_id) != (height, epoch, block_id):
        raise Refused("commit certificate", "7", "the certificate is of another block")
    found.verify(chain_id, validators)
    return found


def assemble_qc(votes: Iterable[bytes], type_: int, chain_id: bytes, validators: ValidatorSet) -> bytes | None:
    """Return a certificate from these votes, of the highest round that has a quorum, or None.

    Votes that are malformed, of another type, of nobody, doubled or badly signed are left out.
    """
    places = {one.id: place for place, one in enumerate(validators.voters)}
    by_ballot: dict[Ballot, dict[int, bytes]] = {}
    for vote in good_votes(votes, type_, chain_id, validators):
        by_ballot.setdefault(vote.ballot, {}).setdefault(places[vote.voter], vote.signature)
    for ballot, signatures in sorted(by_ballot.items(), key=lambda one: (-one[0].height, -one[0].round)):
        signers = tuple(sorted(signatures))
        if validators.has_quorum(sum(validators.voters[one].weight for one in signers)):
            ordered = tuple(signatures[one] for one in signers)
            return QuorumCertificate(ballot, len(places), signers, ordered).encode()
    return None


def good_votes(votes: Iterable[bytes], type_: int, chain_id: bytes, validators: ValidatorSet) -> list[Vote]:
    """Return the votes of a type among these that a voter of the set signed, each byte string once."""
    found = []
    for data in dict.fromkeys(votes):
        try:
            vote = Vote.decode(data)
            if vote.ballot.type != type_:
                continue
            vote.verify(chain_id, validators)
        except Refused:
            continue
        found.append(vote)
    return found


def assemble_tc(
    votes: Iterable[bytes], chain_id: bytes, validators: ValidatorSet, height: int, round_: int, epoch: int
) -> bytes | None:
    """Return the timeout certificate of a round from these TIMEOUTs, or None where they are no quorum."""
    places = {one.id: place for place, one in enumerate(validators.voters)}
    taken: dict[int, Vote] = {}
    for vote in good_votes(votes, TIMEOUT, chain_id, validators):
        ballot = vote.ballot
        if (ballot.height, ballot.round, ballot.epoch) != (height, round_, epoch):
            continue
        if _lock_holds(vote, chain_id, validators):
            taken.setdefault(places[vote.voter], vote)
    signers = tuple(sorted(taken))
    if not validators.has_quorum(sum(validators.voters[one].weight for one in signers)):
        return None
    locks = {qc_digest(one.lock): one.lock for one in taken.values() if one.lock}
    return TimeoutCertificate(
        height, round_, epoch, len(places), signers,
        tuple((taken[one].ballot.justify_round, taken[one].ballot.justify_digest) for one in signers),
        tuple(taken[one].signature for one in signers),
        tuple(locks[one] for one in sorted(locks)),
    ).encode()  # fmt: skip


def timed_out_weight(
    votes: Iterable[bytes], chain_id: bytes, validators: ValidatorSet, height: int, round_: int, epoch: int
) -> int:
    """Return the weight of the voters whose TIMEOUT of this round, or of a later one of the height, is good."""
    voters = {
        vote.voter
        for vote in good_votes(votes, TIMEOUT, chain_id, validators)
        if (vote.ballot.height, vote.ballot.epoch) == (height, epoch)
        and vote.ballot.round >= round_
        and _lock_holds(vote, chain_id, validators)
    }
    return sum(one.weight for one in validators.voters if one.id in voters)


def _lock_holds(vote: Vote, chain_id: bytes, validators: ValidatorSet) -> bool:
    """Say whether the lock a TIMEOUT carries is the good certificate it reports."""
    if not vote.lock:
        return True
    try:
        found = check_lock(vote.lock, vote.ballot, chain_id, validators)
    except Refused:
        return False
    return (found.ballot.round, qc_digest(vote.lock)) == (vote.ballot.justify_round, vote.ballot.justify_digest)
