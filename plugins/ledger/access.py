"""ACCESS_REQ: one institution asks for another's record or for part of a dataset; the contract decides in the block.

What is asked for one record carries the proof that it is published: its leaf and the path to the batch root that the
state holds (section 14: the contract checks signature and link). A refusal by the rules is an executed transaction: it
stands on the chain with the ids of the policies that decided. Only what was allowed stands in the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ledger.consent import PURPOSES, Question, Standing, standing
from ledger.encoding import DIGEST, SHORT_ID, ZERO_DIGEST, Reader, listed, u8, u16, u32, u64, var
from ledger.erasure import erased
from ledger.errors import Refused
from ledger.leaves import LEAF_BYTES, MAX_LOCATOR, RecordLeaf
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.policy import ERROR, FORBIDDEN, NO_RULES, NOT_PERMITTED, PERMITTED, permits
from ledger.policy_request import READERS
from ledger.rules import ACCEPTED, DENIED, Ledger, Outcome
from ledger.state import ACTIVE, BATCH, DELIVERY, INSTITUTION, REQUEST, BatchState, InstitutionState
from ledger.transaction import Transaction

MAX_HOLDERS: Final = 64
MAX_RECORDS: Final = (1 << 32) - 1
_MAX_PATH: Final = 32
#: Why a request was decided as it was, by number: what the rules said, or that the record is erased.
REASONS: Final = (PERMITTED, FORBIDDEN, NOT_PERMITTED, ERROR, NO_RULES, "erased")
ERASED: Final = "erased"


@dataclass(frozen=True, slots=True)
class RecordAsked:
    """One version of one record, shown to be published.

    Attributes:
        seq: Number of its batch among the holder's.
        index: Its place in the batch.
        leaf: Its leaf data.
        path: From the leaf to the batch root.
    """

    seq: int
    index: int
    leaf: bytes
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u8(1) + u64(self.seq) + u32(self.index) + var(self.leaf) + listed(self.path)

    def check(self, ledger: Ledger, holder: bytes) -> RecordLeaf:
        """Return the record's leaf.

        Raises:
            Refused: The holder has published no such batch, or the leaf does not stand in it.
        """
        stored = ledger.get(BATCH, holder + u64(self.seq))
        if stored is None:
            raise Refused("link", "14", "the holder has published no batch of that number")
        batch = BatchState.decode(stored)
        if not verify_inclusion(leaf_hash(self.leaf), self.index, batch.count, self.path, batch.batch_root):
            raise Refused("link", "14", "the record asked for does not stand in that batch")
        return RecordLeaf.decode(self.leaf)


@dataclass(frozen=True, slots=True)
class SelectionAsked:
    """Part of a dataset, described elsewhere.

    Attributes:
        digest: SM3 of the request that people and committees read and sign.
        most: Records that may be delivered at most, by all holders together.
    """

    digest: bytes
    most: int

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u8(2) + self.digest + u32(self.most)


Asked = RecordAsked | SelectionAsked


def read_asked(reader: Reader) -> Asked:
    """Return what is asked for, or raise Malformed."""
    kind = reader.u8()
    if kind == 1:
        seq, index, leaf = reader.u64(), reader.u32(), reader.var(LEAF_BYTES + MAX_LOCATOR)
        path = reader.listed(_MAX_PATH, DIGEST)
        if any(len(one) != DIGEST for one in path):
            raise reader.wrong("the path is no list of digests")
        return RecordAsked(seq, index, leaf, path)
    if kind == 2:
        found = SelectionAsked(reader.take(DIGEST), reader.u32())
        if not found.most:
            raise reader.wrong("a dataset of no records is asked for")
        return found
    raise reader.wrong(f"kind {kind} of request is none")


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
            + _of_reader(self.reader) + self.patient + self.approval + self.rid + u32(self.version) + u16(self.type)
            + self.digest + u32(self.most) + u64(self.height) + u64(self.deadline)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> RequestState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "request state")
        found = cls(
            reader.take(SHORT_ID), reader.take(SHORT_ID), _ids(reader), _purpose(reader), _reader(reader),
            reader.take(DIGEST), reader.take(DIGEST), reader.take(SHORT_ID), reader.u32(), reader.u16(),
            reader.take(DIGEST), reader.u32(), reader.u64(), reader.u64(),
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
        reason, hash_, ids = reader.u8(), reader.take(DIGEST), reader.listed(1_000, 1_000)
        reader.end()
        if reason >= len(REASONS) or code not in (ACCEPTED, DENIED):
            raise reader.wrong("no decision this program knows")
        try:
            return cls(code == ACCEPTED, REASONS[reason], hash_, tuple(one.decode("utf-8") for one in ids))
        except UnicodeDecodeError:
            raise reader.wrong("a policy's id is not UTF-8") from None


def judge(ledger: Ledger, request: RequestState, action: str = "access") -> Verdict:
    """Return what the rules say now to a request that was well formed when it was made.

    Asked once in the block of the request, and again as a ``download`` before anything is delivered: an erasure, a
    withdrawal or a policy that came in between counts. An erased record is denied whatever the policies say.

    Raises:
        Refused: Somebody named is not registered.
    """
    holder = request.holders[0]
    if request.is_record and erased(ledger, holder, request.rid, request.version):
        return Verdict(False, ERASED, ZERO_DIGEST, ())
    decision = permits(
        ledger, action, request.requester, request.holders, purpose=request.purpose, reader=request.reader,
        consent=_consent(ledger, request), dataset=not request.is_record, approved=request.approval != ZERO_DIGEST,
        type_=request.type, records=request.most, waited=ledger.height - request.height,
    )  # fmt: skip
    return Verdict(decision.allowed, decision.reason, decision.policy_hash, decision.policies)


def _consent(ledger: Ledger, request: RequestState) -> Standing:
    """Return what the patient named says; for a dataset the holders ask each patient's statement themselves."""
    requester = ledger.roster.registration(request.requester)
    if request.patient == ZERO_DIGEST or requester is None:
        return "none"
    question = Question(request.purpose, requester.id, requester.class_, request.type or None, ledger.time_ms)
    return standing(ledger, request.holders[0], request.patient, question)


def holders_to_answer(ledger: Ledger, tx_id: bytes, request: RequestState) -> list[bytes]:
    """Return the holders who have not answered a request yet."""
    return [one for one in request.holders if ledger.get(DELIVERY, tx_id + one) is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest(Transaction):
    """The signed message.

    Attributes:
        asked: A record with its proof, or a selection.
        holders: Institutions that are to answer, by id, in order; one where a record is asked for.
        purpose: One of ``PURPOSES``.
        reader: Who will read, of ``policy_request.READERS``; empty for the institution itself.
        answer_key: Id of the requester's registered key that the answer is to be encrypted to.
        patient: For a record: the patient's pseudonym at the holder as the summary gives it, or zeros.
        approval: Digest of the approvals (ethics, committee) that come with it, or zeros.
    """

    TYPE: ClassVar[int] = 4
    NAME: ClassVar[str] = "ACCESS_REQ"

    asked: Asked
    holders: tuple[bytes, ...]
    purpose: str
    answer_key: bytes
    reader: str = ""
    patient: bytes = ZERO_DIGEST
    approval: bytes = ZERO_DIGEST

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return (
            listed(self.holders) + u8(PURPOSES.index(self.purpose)) + _of_reader(self.reader) + self.answer_key
            + self.patient + self.approval + self.asked.encode()
        )  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        holders, purpose, who, key = _ids(reader), _purpose(reader), _reader(reader), reader.take(SHORT_ID)
        patient, approval, asked = reader.take(DIGEST), reader.take(DIGEST), read_asked(reader)
        if isinstance(asked, RecordAsked) and len(holders) != 1:
            raise reader.wrong("a record is asked of exactly one holder")
        if isinstance(asked, SelectionAsked) and patient != ZERO_DIGEST:
            raise reader.wrong("a dataset names no patient")
        return {
            "holders": holders, "purpose": purpose, "reader": who, "answer_key": key, "patient": patient,
            "approval": approval, "asked": asked,
        }  # fmt: skip

    def execute(self, ledger: Ledger) -> Outcome:
        """The request is decided; what is allowed stands in the state until it is answered.

        Raises:
            Refused: A holder is nobody who could answer, the key is not the requester's, or the link is broken.
        """
        self._check_parties(ledger)
        request = self._facts(ledger)
        verdict = judge(ledger, request)
        if not verdict.allowed:
            return Outcome(DENIED, verdict.encode())
        ledger.put(REQUEST, self.tx_id, request.encode())
        _note_deadline(ledger, self.tx_id, request.deadline)
        return Outcome(ACCEPTED, verdict.encode())

    def _check_parties(self, ledger: Ledger) -> None:
        requester = ledger.roster.registration(self.sender)
        if requester is None or requester.key_id != self.answer_key:
            raise Refused("answer key", "14", "the answer can only be encrypted to the requester's registered key")
        for one in self.holders:
            if one == self.sender or not may_act(ledger, one):
                raise Refused("holder", "14", "a holder is the requester, is not registered, or is not active")

    def _facts(self, ledger: Ledger) -> RequestState:
        if isinstance(self.asked, RecordAsked):
            leaf = self.asked.check(ledger, self.holders[0])
            what = leaf.rid, leaf.version, leaf.resource_type, leaf.ct_digest, 1
        else:
            what = self.asked.digest[:SHORT_ID], 0, 0, self.asked.digest, self.asked.most
        deadline = ledger.height + ledger.parameters.deliver_blocks
        return RequestState(
            self.sender, self.answer_key, self.holders, self.purpose, self.reader, self.patient, self.approval, *what,
            height=ledger.height, deadline=deadline,
        )  # fmt: skip


def may_act(ledger: Ledger, institution: bytes) -> bool:
    """Say whether an institution is registered, not frozen or removed, and not convicted of signing two ways."""
    registration, value = ledger.roster.registration(institution), ledger.get(INSTITUTION, institution)
    active = value is not None and InstitutionState.decode(value).standing == ACTIVE
    return active and registration is not None and registration.active


def _note_deadline(ledger: Ledger, tx_id: bytes, deadline: int) -> None:
    """The request is found by its deadline, and the deadline by its epoch."""
    epoch, due = u32((deadline - 1) // ledger.parameters.epoch_blocks), ledger.get(DELIVERY, u64(deadline))
    if due is None:
        ledger.put(DELIVERY, epoch, (ledger.get(DELIVERY, epoch) or b"") + u64(deadline))
    ledger.put(DELIVERY, u64(deadline), (due or b"") + tx_id)


def deadlines(ledger: Ledger) -> list[int]:
    """Return the deadlines of the present epoch that any request has, in order."""
    noted = ledger.get(DELIVERY, u32(ledger.epoch)) or b""
    return sorted(int.from_bytes(noted[at : at + 8], "big") for at in range(0, len(noted), 8))


def due(ledger: Ledger, deadline: int) -> list[bytes]:
    """Return the ids of the requests with one deadline, in the chain's order."""
    ids = ledger.get(DELIVERY, u64(deadline)) or b""
    return [ids[at : at + DIGEST] for at in range(0, len(ids), DIGEST)]


def _ids(reader: Reader) -> tuple[bytes, ...]:
    found = reader.listed(MAX_HOLDERS, SHORT_ID)
    if not found or list(found) != sorted(set(found)) or any(len(one) != SHORT_ID for one in found):
        raise reader.wrong("holders are missing, not in order, named twice or of a wrong length")
    return found


def _purpose(reader: Reader) -> str:
    number = reader.u8()
    if number >= len(PURPOSES):
        raise reader.wrong(f"purpose {number} is none")
    return PURPOSES[number]


def _of_reader(reader: str) -> bytes:
    return u8(READERS.index(reader) + 1 if reader else 0)


def _reader(reader: Reader) -> str:
    number = reader.u8()
    if number > len(READERS):
        raise reader.wrong(f"reader {number} is none")
    return READERS[number - 1] if number else ""
