"""What the chain remembers of an allowed request, and what the contract said to it (section 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.chain.rules import ACCEPTED, DENIED
from ledger.contracts.policy import ERROR, FORBIDDEN, NO_RULES, NOT_PERMITTED, PERMITTED
from ledger.contracts.policy_request import READERS
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u8, u16, u32, u64
from ledger.messages.provisions import PURPOSES

MAX_HOLDERS: Final = 64
#: Who will read, by number: the institution itself, or somebody for it.
_READING: Final = ("", *READERS)
#: Why a request was decided as it was, by number: what the rules said, or that the record is erased.
REASONS: Final = (PERMITTED, FORBIDDEN, NOT_PERMITTED, ERROR, NO_RULES, "erased")
ERASED: Final = "erased"


@dataclass(frozen=True, slots=True)
class RequestState:
    """What the state holds of an allowed request; all that is needed to judge it again.

    Attributes:
        requester: Who asked.
        answer_key: Id of the key that the answer is encrypted to.
        holders: Who is to answer.
        purpose: One of ``PURPOSES``.
        reader: Who will read, of ``policy_request.READERS``; empty for the institution itself.
        patient: The patient's pseudonym at the holder, or zeros.
        approval: Digest of the approvals shown, or zeros.
        rid: The record, or the first half of the selection's digest.
        version: Its version, or 0 for a dataset.
        type: Number of its resource type, or 0 for a dataset.
        digest: The record's ``ct_digest``, or the selection's digest.
        most: Records that may be delivered.
        height: Block of the decision.
        deadline: Last height at which an answer is in time.
    """

    requester: bytes
    answer_key: bytes
    holders: tuple[bytes, ...]
    purpose: str
    reader: str
    patient: bytes
    approval: bytes
    rid: bytes
    version: int
    type: int
    digest: bytes
    most: int
    height: int
    deadline: int

    @property
    def is_record(self) -> bool:
        """Whether one record is asked for, not a dataset."""
        return self.version > 0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            self.requester + self.answer_key + listed(self.holders) + u8(PURPOSES.index(self.purpose))
            + encode_reader(self.reader) + self.patient + self.approval + self.rid + u32(self.version) + u16(self.type)
            + self.digest + u32(self.most) + u64(self.height) + u64(self.deadline)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> RequestState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "request state")
        found = cls(
            reader.take(SHORT_ID), reader.take(SHORT_ID), read_ids(reader), reader.one_of(PURPOSES),
            read_reader(reader), reader.take(DIGEST), reader.take(DIGEST), reader.take(SHORT_ID), reader.u32(),
            reader.u16(), reader.take(DIGEST), reader.u32(), reader.u64(), reader.u64(),
        )  # fmt: skip
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the contract said.

    Attributes:
        allowed: Whether it may be answered.
        reason: One of ``REASONS``.
        policy_hash: Digest of the policy set that was asked; zeros where none was.
        policies: Ids of the policies that decided, in order.
    """

    allowed: bool
    reason: str
    policy_hash: bytes
    policies: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the detail of the receipt."""
        return u8(REASONS.index(self.reason)) + self.policy_hash + listed([one.encode() for one in self.policies])

    @classmethod
    def decode(cls, code: int, detail: bytes) -> Verdict:
        """Read a receipt's code and detail, or raise Malformed."""
        reader = Reader(detail, "verdict")
        reason, hash_, ids = reader.one_of(REASONS), reader.take(DIGEST), reader.listed(1_000, 1_000)
        reader.end()
        if code not in (ACCEPTED, DENIED):
            raise reader.wrong("no decision this program knows")
        try:
            return cls(code == ACCEPTED, reason, hash_, tuple(one.decode("utf-8") for one in ids))
        except UnicodeDecodeError:
            raise reader.wrong("a policy's id is not UTF-8") from None


def read_ids(reader: Reader) -> tuple[bytes, ...]:
    """Return institutions by id, in order, or raise Malformed."""
    found = reader.listed(MAX_HOLDERS, SHORT_ID)
    if not found or list(found) != sorted(set(found)) or any(len(one) != SHORT_ID for one in found):
        raise reader.wrong("holders are missing, not in order, named twice or of a wrong length")
    return found


def encode_reader(reader: str) -> bytes:
    """Return the number of who will read; 0 for the institution itself."""
    return u8(_READING.index(reader))


def read_reader(reader: Reader) -> str:
    """Return who will read, or raise Malformed."""
    return reader.one_of(_READING)
