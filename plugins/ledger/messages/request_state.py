"""What the chain remembers of a request, what people said to it and what the contract did (section 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.chain.rules import ACCEPTED, DENIED, PENDING
from ledger.contracts.policy import ERROR, FORBIDDEN, NO_RULES, NOT_PERMITTED, PERMITTED
from ledger.contracts.policy_request import READERS
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u8, u16, u32, u64
from ledger.messages.provisions import PURPOSES

MAX_HOLDERS: Final = 64
#: Members that say something to one request, at most; a region's roster has fewer that may.
MAX_VOICES: Final = 1_000
#: Members of the data access committee that must approve, or that refuse.
COMMITTEE_SIGNATURES: Final = 2
#: Where a request stands: may be answered; waits for the committee; was refused by it; the rules said no after all.
STAGES: Final = ("allowed", "pending", "refused", "denied")
ALLOWED, WAITING, REFUSED, OVERRULED = STAGES
#: Why a member refused, by number; the first is that of every approval.
VOICE_REASONS: Final = ("", "purpose", "ethics", "too-much", "re-identification", "unclear", "conflict", "other")
#: Who will read, by number: the institution itself, or somebody for it.
_READING: Final = ("", *READERS)
#: Why a request was decided as it was, by number: what the rules said, that the record is erased, or that the rules
#: would permit it with the committee's approval.
REASONS: Final = (PERMITTED, FORBIDDEN, NOT_PERMITTED, ERROR, NO_RULES, "erased", "approvals missing")
ERASED, AWAITS = REASONS[5:]


@dataclass(frozen=True, slots=True)
class Voice:
    """What one member of the committee said to a request.

    Attributes:
        member: Its id.
        approves: Whether it approves; else it refuses.
        reason: One of ``VOICE_REASONS``; empty for an approval and never for a refusal.
    """

    member: bytes
    approves: bool
    reason: str = ""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.member + u8(self.approves) + u8(VOICE_REASONS.index(self.reason))

    @classmethod
    def decode(cls, data: bytes) -> Voice:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "voice")
        found = cls(reader.take(SHORT_ID), *read_choice(reader))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class RequestState:
    """What the state holds of a request that was allowed or may come to be; all that is needed to judge it again.

    Attributes:
        requester: Who asked.
        answer_key: Id of the key that the answer is encrypted to.
        holders: Who is to answer.
        purpose: One of ``PURPOSES``.
        reader: Who will read, of ``policy_request.READERS``; empty for the institution itself.
        patient: The patient's pseudonym at the holder, or zeros.
        ethics: Digest of the ethics approval's document, or zeros.
        rid: The record, or the first half of the selection's digest.
        version: Its version, or 0 for a dataset.
        type: Number of its resource type, or 0 for a dataset.
        digest: The record's ``ct_digest``, or the selection's digest.
        most: Records that may be delivered.
        height: Block of the decision; of the request, as long as it waits.
        deadline: Last height at which an answer is in time; as long as it waits, at which the committee is.
        recent: Requests of its kind (records, or datasets) that the requester had made in the epoch before it.
        stage: One of ``STAGES``.
        voices: What the committee said, in the chain's order.
    """

    requester: bytes
    answer_key: bytes
    holders: tuple[bytes, ...]
    purpose: str
    reader: str
    patient: bytes
    ethics: bytes
    rid: bytes
    version: int
    type: int
    digest: bytes
    most: int
    height: int
    deadline: int
    recent: int = 0
    stage: str = ALLOWED
    voices: tuple[Voice, ...] = ()

    @property
    def is_record(self) -> bool:
        """Whether one record is asked for, not a dataset."""
        return self.version > 0

    @property
    def approved(self) -> bool:
        """Whether enough members of the committee approved."""
        return sum(one.approves for one in self.voices) >= COMMITTEE_SIGNATURES

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            self.requester + self.answer_key + listed(self.holders) + u8(PURPOSES.index(self.purpose))
            + encode_reader(self.reader) + self.patient + self.ethics + self.rid + u32(self.version) + u16(self.type)
            + self.digest + u32(self.most) + u64(self.height) + u64(self.deadline) + u32(self.recent)
            + u8(STAGES.index(self.stage)) + listed([one.encode() for one in self.voices])
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> RequestState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "request state")
        found = cls(
            reader.take(SHORT_ID), reader.take(SHORT_ID), read_ids(reader), reader.one_of(PURPOSES),
            read_reader(reader), reader.take(DIGEST), reader.take(DIGEST), reader.take(SHORT_ID), reader.u32(),
            reader.u16(), reader.take(DIGEST), reader.u32(), reader.u64(), reader.u64(), reader.u32(),
            reader.one_of(STAGES), tuple(Voice.decode(one) for one in reader.listed(MAX_VOICES, SHORT_ID + 2)),
        )  # fmt: skip
        reader.end()
        if len({one.member for one in found.voices}) != len(found.voices):
            raise reader.wrong("a member speaks twice")
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

    @property
    def pending(self) -> bool:
        """Whether the rules miss the committee's approval alone; ``policies`` are those that would permit then."""
        return self.reason == AWAITS

    @property
    def code(self) -> int:
        """The receipt's code."""
        return {PERMITTED: ACCEPTED, AWAITS: PENDING}.get(self.reason, DENIED)

    def encode(self) -> bytes:
        """Return the detail of the receipt."""
        return u8(REASONS.index(self.reason)) + self.policy_hash + listed([one.encode() for one in self.policies])

    @classmethod
    def decode(cls, code: int, detail: bytes) -> Verdict:
        """Read a receipt's code and detail, or raise Malformed."""
        reader = Reader(detail, "verdict")
        reason, hash_, ids = reader.one_of(REASONS), reader.take(DIGEST), reader.listed(1_000, 1_000)
        reader.end()
        try:
            found = cls(code == ACCEPTED, reason, hash_, tuple(one.decode("utf-8") for one in ids))
        except UnicodeDecodeError:
            raise reader.wrong("a policy's id is not UTF-8") from None
        if found.code != code:
            raise reader.wrong(f"code {code} with reason {reason!r} is no decision this program knows")
        return found


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


def read_choice(reader: Reader) -> tuple[bool, str]:
    """Return whether a member approves, and why not, or raise Malformed."""
    approves, reason = reader.flag(), reader.one_of(VOICE_REASONS)
    if approves == bool(reason):
        raise reader.wrong("a refusal names its reason, and an approval none")
    return approves, reason
