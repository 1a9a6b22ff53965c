"""ACCESS_REQ: one institution asks for another's record or for part of a dataset; the contract decides in the block.

What is asked for one record carries the proof that it is published: its leaf and the path to the batch root that the
state holds (section 14: the contract checks signature and link). A refusal by the rules is an executed transaction: it
stands on the chain with the ids of the policies that decided. What the rules would permit with the approval of the data
access committee waits for it (``ledger.messages.approval``). Only what is allowed or waits stands in the state, and
beside it how much each institution asked for in the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import ACTIVE, DELIVERY, INSTITUTION, REQUEST, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.contracts.policy import permits
from ledger.encoding import DIGEST, SHORT_ID, ZERO_DIGEST, Reader, listed, u8, u32, u64
from ledger.errors import Refused
from ledger.messages.asked import Asked, RecordAsked, SelectionAsked, read_asked
from ledger.messages.consent import Standing, standing
from ledger.messages.erasure import erased
from ledger.messages.provisions import EMERGENCY, PURPOSES, Question
from ledger.messages.request_state import (
    ALLOWED,
    AWAITS,
    ERASED,
    WAITING,
    RequestState,
    Verdict,
    encode_reader,
    read_ids,
    read_reader,
)
from ledger.messages.review import note_emergency

#: Whole epochs that a request waits for the committee, as a proposal of governance does for votes.
WAITING_EPOCHS: Final = 8


def judge(ledger: Ledger, request: RequestState, action: str = "access", approved: bool | None = None) -> Verdict:
    """Return what the rules say now to a request that was well formed when it was made, approved or not.

    Asked once in the block of the request, and again as a ``download`` before anything is delivered: an erasure, a
    withdrawal or a policy that came in between counts. An erased record is denied whatever the policies say.

    Args:
        ledger: The chain.
        request: What is asked.
        action: ``access`` or ``download``.
        approved: Whether to judge as if the committee had approved; what it did say where nothing is given.

    Raises:
        Refused: Somebody named is not registered.
    """
    holder = request.holders[0]
    if request.is_record and erased(ledger, holder, request.rid, request.version):
        return Verdict(False, ERASED, ZERO_DIGEST, ())
    decision = permits(
        ledger, action, request.requester, request.holders, purpose=request.purpose, reader=request.reader,
        consent=_consent(ledger, request), dataset=not request.is_record, ethics=request.ethics != ZERO_DIGEST,
        approved=request.approved if approved is None else approved, type_=request.type, records=request.most,
        recent=request.recent, waited=ledger.height - request.height,
    )  # fmt: skip
    return Verdict(decision.allowed, decision.reason, decision.policy_hash, decision.policies)


def decide(ledger: Ledger, request: RequestState) -> Verdict:
    """Return what becomes of a request that is just made: allowed, denied, or to be put before the committee.

    A denial is what would still stand against it once the committee had approved.

    Raises:
        Refused: Somebody named is not registered.
    """
    verdict = judge(ledger, request, approved=False)
    if verdict.allowed:
        return verdict
    with_approval = judge(ledger, request, approved=True)
    return replace(with_approval, allowed=False, reason=AWAITS) if with_approval.allowed else with_approval


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
        ethics: SM3 of the ethics approval's document that it rests on, or zeros.
    """

    TYPE: ClassVar[int] = 4
    NAME: ClassVar[str] = "ACCESS_REQ"

    asked: Asked
    holders: tuple[bytes, ...]
    purpose: str
    answer_key: bytes
    reader: str = ""
    patient: bytes = ZERO_DIGEST
    ethics: bytes = ZERO_DIGEST

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return (
            listed(self.holders) + u8(PURPOSES.index(self.purpose)) + encode_reader(self.reader) + self.answer_key
            + self.patient + self.ethics + self.asked.encode()
        )  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        holders, purpose = read_ids(reader), reader.one_of(PURPOSES)
        who, key = read_reader(reader), reader.take(SHORT_ID)
        patient, ethics, asked = reader.take(DIGEST), reader.take(DIGEST), read_asked(reader)
        if isinstance(asked, RecordAsked) and len(holders) != 1:
            raise reader.wrong("a record is asked of exactly one holder")
        if isinstance(asked, SelectionAsked) and patient != ZERO_DIGEST:
            raise reader.wrong("a dataset names no patient")
        return {
            "holders": holders, "purpose": purpose, "reader": who, "answer_key": key, "patient": patient,
            "ethics": ethics, "asked": asked,
        }  # fmt: skip

    def execute(self, ledger: Ledger) -> Outcome:
        """The request is decided or waits for the committee; unless it is denied it stands in the state. It is counted.

        Raises:
            Refused: A holder is nobody who could answer, the key is not the requester's, the link is broken, or the
                sender asked with this very file before.
        """
        request = self.facts(ledger)
        verdict = decide(ledger, request)
        if not request.is_record:
            ledger.put(REQUEST, self.sender + request.digest, self.tx_id)
        _count(ledger, self.sender, dataset=not request.is_record)
        if verdict.allowed:
            allow(ledger, self.tx_id, request)
        elif verdict.pending:
            last = ledger.height + WAITING_EPOCHS * ledger.parameters.epoch_blocks
            ledger.put(REQUEST, self.tx_id, replace(request, stage=WAITING, deadline=last).encode())
        return Outcome(verdict.code, verdict.encode())

    def facts(self, ledger: Ledger) -> RequestState:
        """Return what the rules are asked about, as it would stand in the next block.

        Raises:
            Refused: As ``execute``; the signature is not looked at.
        """
        self._check_parties(ledger)
        found = self._asked(ledger)
        before = None if found.is_record else request_of(ledger, self.sender, found.digest)
        if before is not None and ledger.get(REQUEST, before) is not None:
            raise Refused("request file", "14", "the sender asked with this very file before; make a new one")
        return found

    def _check_parties(self, ledger: Ledger) -> None:
        requester = ledger.roster.registration(self.sender)
        if requester is None or requester.key_id != self.answer_key:
            raise Refused("answer key", "14", "the answer can only be encrypted to the requester's registered key")
        for one in self.holders:
            if one == self.sender or not may_act(ledger, one):
                raise Refused("holder", "14", "a holder is the requester, is not registered, or is not active")

    def _asked(self, ledger: Ledger) -> RequestState:
        if isinstance(self.asked, RecordAsked):
            leaf = self.asked.check(ledger, self.holders[0])
            what = leaf.rid, leaf.version, leaf.resource_type, leaf.ct_digest, 1
        else:
            what = self.asked.digest[:SHORT_ID], 0, 0, self.asked.digest, self.asked.most
        return RequestState(
            self.sender, self.answer_key, self.holders, self.purpose, self.reader, self.patient, self.ethics, *what,
            height=ledger.height, deadline=ledger.height, recent=recent(ledger, self.sender, not what[1]),
        )  # fmt: skip


def allow(ledger: Ledger, tx_id: bytes, request: RequestState) -> str:
    """The request may be answered from this block on, until the deadline that is noted with it; returns its stage."""
    deadline = ledger.height + ledger.parameters.deliver_blocks
    allowed = replace(request, stage=ALLOWED, height=ledger.height, deadline=deadline)
    ledger.put(REQUEST, tx_id, allowed.encode())
    _note_deadline(ledger, tx_id, deadline)
    if request.purpose == EMERGENCY:
        note_emergency(ledger, tx_id, request.requester, request.holders[0])
    return ALLOWED


def request_of(ledger: Ledger, requester: bytes, digest: bytes) -> bytes | None:
    """Return the id of the last ACCESS_REQ by which an institution asked with a request file, or None.

    Args:
        ledger: A ledger.
        requester: The institution, by id.
        digest: The file's ``request_digest``.
    """
    return ledger.get(REQUEST, requester + digest)


def recent(ledger: Ledger, institution: bytes, dataset: bool) -> int:
    """Return how many records, or datasets, an institution has asked for in this epoch, whatever came of it."""
    return _recent(ledger, institution)[dataset]


def _recent(ledger: Ledger, institution: bytes) -> tuple[int, int]:
    stored = ledger.get(REQUEST, institution)
    if stored is None:
        return 0, 0
    reader = Reader(stored, "requests of an epoch")
    epoch, records, datasets = reader.u32(), reader.u32(), reader.u32()
    reader.end()
    return (records, datasets) if epoch == ledger.epoch else (0, 0)


def _count(ledger: Ledger, institution: bytes, dataset: bool) -> None:
    """The request counts in its epoch."""
    records, datasets = _recent(ledger, institution)
    ledger.put(REQUEST, institution, u32(ledger.epoch) + u32(records + (not dataset)) + u32(datasets + dataset))


def may_act(ledger: Ledger, institution: bytes) -> bool:
    """Say whether an institution is registered, not frozen or removed, and not convicted of signing two ways."""
    registration, value = ledger.roster.registration(institution), ledger.get(INSTITUTION, institution)
    active = value is not None and InstitutionState.decode(value).standing == ACTIVE
    return active and registration is not None and registration.active


def _note_deadline(ledger: Ledger, tx_id: bytes, deadline: int) -> None:
    """The request is found by its deadline, and the deadline by its epoch."""
    epoch, due = u32(ledger.parameters.epoch_of(deadline)), ledger.get(DELIVERY, u64(deadline))
    if due is None:
        ledger.put(DELIVERY, epoch, (ledger.get(DELIVERY, epoch) or b"") + u64(deadline))
    ledger.put(DELIVERY, u64(deadline), (due or b"") + tx_id)


def deadlines(ledger: Ledger, epoch: int | None = None) -> list[int]:
    """Return the deadlines of an epoch, the present one where none is named, that any request has, in order."""
    noted = ledger.get(DELIVERY, u32(ledger.epoch if epoch is None else epoch)) or b""
    return sorted(int.from_bytes(noted[at : at + 8], "big") for at in range(0, len(noted), 8))


def due(ledger: Ledger, deadline: int) -> list[bytes]:
    """Return the ids of the requests with one deadline, in the chain's order."""
    ids = ledger.get(DELIVERY, u64(deadline)) or b""
    return [ids[at : at + DIGEST] for at in range(0, len(ids), DIGEST)]
