"""Transactions that add facts to credit: LATE_VOTE, MISSED and FINDING (sections 9, 10 and 11)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from ledger.agreement.certificate import COMMIT, MAX_QC, TimeoutCertificate, Vote, check_commit
from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import EVIDENCE
from ledger.chain.transaction import MAX_TRANSACTION, Transaction
from ledger.chain.validators import MAX_MEMBERS, ValidatorSet
from ledger.credit.credit import MAX_POINTS, MIN_POINTS, count_late_vote, count_missed, count_violation
from ledger.credit.offences import VIOLATION, Offence
from ledger.credit.tally import MissedTurn
from ledger.encoding import DIGEST, SHORT_ID, SIGNATURE, Reader, u8, u16, u64, var
from ledger.errors import Refused
from shangmi import sm3

#: What a finding may be about, in the order of their codes from 1.
VIOLATIONS: Final = (
    "delivery withheld",
    "delivered another record",
    "announced envelope withheld",
    "used beyond purpose or consent",
)


def _voters(ledger: Ledger, height: int) -> ValidatorSet:
    """Return who votes at a height, or raise Refused where that is not decided yet."""
    found = ledger.validators_of(ledger.parameters.epoch_of(height))
    if found is None or height > ledger.height:
        raise Refused("height", "11", f"height {height} is beyond the present one, {ledger.height}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LateVote(Transaction):
    """A voter's COMMIT that a block's certificate left out; it counts for the voter, and for who carries it.

    Attributes:
        vote: The COMMIT.
        certificate: A CommitQC of the same block, so that everybody sees that it became final.
    """

    TYPE: ClassVar[int] = 9
    NAME: ClassVar[str] = "LATE_VOTE"

    vote: bytes
    certificate: bytes

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return var(self.vote) + var(self.certificate)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        return {"vote": reader.var(MAX_TRANSACTION), "certificate": reader.var(MAX_QC)}

    def execute(self, ledger: Ledger) -> Outcome:
        """Count the vote.

        Raises:
            Refused: It is no COMMIT on the final block, is counted already, or its height is too old.
        """
        vote = Vote.decode(self.vote)
        ballot = vote.ballot
        if ballot.type != COMMIT:
            raise Refused("late vote", "11", "only a COMMIT may be added")
        count_late_vote(ledger, ballot.height, vote.voter)
        voters, epoch = _voters(ledger, ballot.height), ledger.parameters.epoch_of(ballot.height)
        check_commit(self.certificate, ballot.block_id, ballot.height, epoch, ledger.chain_id, voters)
        if ballot.epoch != epoch:
            raise Refused("late vote", "11", f"the vote names epoch {ballot.epoch}, its height is of {epoch}")
        vote.verify(ledger.chain_id, voters)
        return Outcome()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed(Transaction):
    """A timeout certificate: more than two thirds say that a producer's turn gave no block.

    Attributes:
        certificate: The TC of the round.
    """

    TYPE: ClassVar[int] = 10
    NAME: ClassVar[str] = "MISSED"

    certificate: bytes

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return var(self.certificate)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        return {"certificate": reader.var(MAX_TRANSACTION)}

    def execute(self, ledger: Ledger) -> Outcome:
        """Count the turn against whose it was.

        Raises:
            Refused: The certificate is not good, its height is not a final one still open, or it is counted already.
        """
        found = TimeoutCertificate.decode(self.certificate)
        voters = _voters(ledger, found.height)
        if found.epoch != ledger.parameters.epoch_of(found.height):
            raise Refused("missed turn", "11", f"the certificate names epoch {found.epoch}")
        count_missed(ledger, MissedTurn(found.height, found.round, voters.producer(found.height, found.round).id))
        found.verify(ledger.chain_id, voters)
        return Outcome()


@dataclass(frozen=True, slots=True)
class Violation:
    """What an auditor found; who agrees signs exactly these bytes.

    Attributes:
        accused: Whose violation.
        kind: 1 to 4, in the order of ``VIOLATIONS``.
        subject: 32 bytes that name the case: a request's id, a record leaf's hash; never anybody's name.
        points: What it costs, 100 to 300.
        height: Height at which it was found.
    """

    accused: bytes
    kind: int
    subject: bytes
    points: int
    height: int

    def encode(self) -> bytes:
        """Return the canonical bytes within a finding."""
        return self.accused + u8(self.kind) + self.subject + u16(self.points) + u64(self.height)

    def signed_bytes(self, chain_id: bytes) -> bytes:
        """Return what the auditor and everyone who agrees signs."""
        return b"XL/FIND/1\0" + chain_id + self.encode()

    @classmethod
    def decode(cls, data: bytes) -> Violation:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "violation")
        found = cls.read(reader)
        reader.end()
        return found

    @classmethod
    def read(cls, reader: Reader) -> Violation:
        """Read the next violation of a reader."""
        found = cls(reader.take(SHORT_ID), reader.u8(), reader.take(DIGEST), reader.u16(), reader.u64())
        if not 0 < found.kind <= len(VIOLATIONS) or not MIN_POINTS <= found.points <= MAX_POINTS:
            raise reader.wrong(f"kind {found.kind} with {found.points} points is none")
        return found

    @property
    def id(self) -> bytes:
        """What it is punished once under: whose violation in which case, whatever it is called and costs."""
        return sm3(b"XL/FIND-ID/1\0" + self.accused + self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Transaction):
    """A violation of the data service that an auditor and more than a third of the votes confirm.

    Attributes:
        violation: What was found.
        signatures: Institution and signature of everyone who agrees, in order of id.
    """

    TYPE: ClassVar[int] = 11
    NAME: ClassVar[str] = "FINDING"

    violation: Violation
    signatures: tuple[tuple[bytes, bytes], ...] = field(default=())

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        rows = b"".join(id_ + signature for id_, signature in self.signatures)
        return self.violation.encode() + u16(len(self.signatures)) + rows

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        violation, count = Violation.read(reader), reader.u16()
        if count > MAX_MEMBERS:
            raise reader.wrong(f"{count} signatures, at most {MAX_MEMBERS}")
        signatures = tuple((reader.take(SHORT_ID), reader.take(SIGNATURE)) for _ in range(count))
        if [id_ for id_, _ in signatures] != sorted({id_ for id_, _ in signatures}):
            raise reader.wrong("signers are not in order of id, or stand twice")
        return {"violation": violation, "signatures": signatures}

    def execute(self, ledger: Ledger) -> Outcome:
        """Count the violation against the accused, once.

        Raises:
            Refused: Too few agree, a signature is not good, it is too old, or it is punished already.
        """
        found = self.violation
        oldest = ledger.height - ledger.parameters.evidence_blocks
        if not oldest <= found.height <= ledger.height:
            raise Refused("finding age", "11", f"it is of height {found.height}, expected {max(oldest, 0)} or later")
        if ledger.roster.registration(found.accused) is None:
            raise Refused("finding", "11", "the accused is not registered")
        if ledger.get(EVIDENCE, found.id) is not None:
            raise Refused("repeated finding", "11", "the same case was punished before")
        self._check_agreement(ledger.chain_id, ledger.validators)
        count_violation(ledger, found.accused, found.points)
        ledger.put(EVIDENCE, found.id, Offence(VIOLATION, found.accused, found.height, ledger.height).encode())
        return Outcome()

    def _check_agreement(self, chain_id: bytes, validators: ValidatorSet) -> None:
        message, weight, audited = self.violation.signed_bytes(chain_id), 0, False
        for id_, signature in self.signatures:
            member = validators.member(id_)
            if member is None or id_ == self.violation.accused:
                raise Refused("finding", "11", "a signer is no member of this epoch, or is the accused")
            if not member.verify(signature, message):
                raise Refused("finding signature", "5", "a finding is not signed by who it names")
            weight, audited = weight + member.weight, audited or member.role == "auditor"
        if not audited or 3 * weight <= validators.total:
            raise Refused(
                "finding", "11", f"an auditor and more than a third of the {validators.total} votes must sign it"
            )
