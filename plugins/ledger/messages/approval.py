"""APPROVAL: a member of the data access committee approves or refuses a request that waits for it (section 14).

The committee is every registered institution of class A, B, C or R that may act, the requester excepted. Each speaks
once, and names the digest of what it read: one cannot be made to approve another request than the one on the screen.
Two approvals have the rules asked again, as they stand in that block; two refusals close the request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import REQUEST
from ledger.chain.transaction import Transaction
from ledger.encoding import DIGEST, Reader, u8
from ledger.errors import Refused
from ledger.messages.access import allow, judge, may_act
from ledger.messages.request_state import (
    COMMITTEE_SIGNATURES,
    OVERRULED,
    REFUSED,
    STAGES,
    VOICE_REASONS,
    WAITING,
    RequestState,
    Verdict,
    Voice,
    read_choice,
)

COMMITTEE_CLASSES: Final = ("A", "B", "C", "R")


def on_committee(ledger: Ledger, institution: bytes, request: RequestState) -> bool:
    """Say whether an institution is one of those that decide on a request, now."""
    found = ledger.roster.registration(institution)
    seated = found is not None and found.class_ in COMMITTEE_CLASSES and institution != request.requester
    return seated and may_act(ledger, institution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Transaction):
    """The signed message.

    Attributes:
        request: Id of the ACCESS_REQ.
        digest: What the member read: ``request_digest`` of the request file, or a record's ``ct_digest``.
        approves: Whether it approves; else it refuses.
        reason: One of ``VOICE_REASONS``; empty for an approval.
    """

    TYPE: ClassVar[int] = 12
    NAME: ClassVar[str] = "APPROVAL"

    request: bytes
    digest: bytes
    approves: bool
    reason: str = ""

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return self.request + self.digest + u8(self.approves) + u8(VOICE_REASONS.index(self.reason))

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        request, digest = reader.take(DIGEST), reader.take(DIGEST)
        approves, reason = read_choice(reader)
        return {"request": request, "digest": digest, "approves": approves, "reason": reason}

    def execute(self, ledger: Ledger) -> Outcome:
        """The member has spoken; with the second voice of a kind the request is decided.

        Raises:
            Refused: Nothing waits under this id, it lapsed, is another request than the one read, or is not the
                sender's to decide.
        """
        request = self._waiting(ledger)
        voices = (*request.voices, Voice(self.sender, self.approves, self.reason))
        stage, verdict = _decide(ledger, self.request, replace(request, voices=voices))
        if verdict is None:
            return Outcome(detail=u8(STAGES.index(stage)))
        return Outcome(verdict.code, u8(STAGES.index(stage)) + verdict.encode())

    def _waiting(self, ledger: Ledger) -> RequestState:
        stored = ledger.get(REQUEST, self.request)
        if stored is None:
            raise Refused("request", "14", "no request of that id waits for the committee")
        request = RequestState.decode(stored)
        if request.stage != WAITING:
            raise Refused("request", "14", f"the request is decided already: {request.stage}")
        if ledger.height > request.deadline:
            raise Refused("deadline", "14", f"the committee could speak until height {request.deadline}")
        if self.digest != request.digest:
            raise Refused("digest", "14", "the member read another request than the one that waits under this id")
        if not on_committee(ledger, self.sender, request):
            raise Refused("committee", "14", "the sender is the requester, or not on the data access committee")
        if any(one.member == self.sender for one in request.voices):
            raise Refused("voice", "14", "the sender has spoken on this request already")
        return request


def _decide(ledger: Ledger, tx_id: bytes, request: RequestState) -> tuple[str, Verdict | None]:
    """The request is where its voices bring it; returns its stage, and what the rules said where they were asked.

    Who approved and may not act any more does not count.
    """
    heard = [one for one in request.voices if on_committee(ledger, one.member, request)]
    approvals = sum(one.approves for one in heard)
    if approvals >= COMMITTEE_SIGNATURES:
        verdict = judge(ledger, request, approved=True)
        if verdict.allowed:
            return allow(ledger, tx_id, request), verdict
        return _put(ledger, tx_id, replace(request, stage=OVERRULED, height=ledger.height)), verdict
    if len(heard) - approvals >= COMMITTEE_SIGNATURES:
        request = replace(request, stage=REFUSED, height=ledger.height)
    return _put(ledger, tx_id, request), None


def _put(ledger: Ledger, tx_id: bytes, request: RequestState) -> str:
    ledger.put(REQUEST, tx_id, request.encode())
    return request.stage


def read_approval(code: int, detail: bytes) -> tuple[str, Verdict | None]:
    """Return from an APPROVAL's receipt where it brought the request, and the rules' verdict where they were asked.

    Raises:
        Malformed: It is no receipt of an APPROVAL.
    """
    reader = Reader(detail[:1], "approval receipt")
    stage = reader.one_of(STAGES)
    return stage, Verdict.decode(code, detail[1:]) if len(detail) > 1 else None
