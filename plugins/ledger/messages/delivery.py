"""DELIVERED and RECEIVED: the holder's answer to an allowed request, and that it arrived (section 14).

An answer is a package for the requester alone, named by its digest; or a reason why there can be none. No answer until
the deadline is a fact of the chain that credit counts, unless the rules have come to forbid the delivery meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import DELIVERY, REQUEST
from ledger.chain.transaction import Transaction
from ledger.encoding import DIGEST, SHORT_ID, ZERO_DIGEST, Reader, u8, u32, u64
from ledger.errors import Refused
from ledger.messages.access import deadlines, due, holders_to_answer, judge, may_act
from ledger.messages.request_state import ALLOWED, RequestState

#: What a holder answers: the package is made; or there can be none, since the record is another patient's than the one
#: named, since its key is destroyed, since no date of it is permitted, or since its stored bytes cannot be opened; and
#: none to a dataset, since nobody is meant, more is meant than was asked for, or persons could be recognised.
ANSWERS: Final = (
    *("delivered", "other-patient", "erased", "not-permitted", "unreadable"),
    *("nobody", "too-many", "risk-too-high"),
)
GIVEN: Final = "delivered"


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What the state holds of one holder's answer.

    Attributes:
        answer: One of ``ANSWERS``.
        package: SM3 of the encrypted package; zeros where there is none.
        manifest: SM3 of its signed manifest; zeros likewise.
        records: Records in it.
        size: Bytes of it.
        height: Block of the answer.
        received: Block in which the requester confirmed it, or 0.
    """

    answer: str
    package: bytes
    manifest: bytes
    records: int
    size: int
    height: int
    received: int = 0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            u8(ANSWERS.index(self.answer)) + self.package + self.manifest + u32(self.records) + u64(self.size)
            + u64(self.height) + u64(self.received)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> DeliveryState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "delivery state")
        found = cls(
            reader.one_of(ANSWERS), reader.take(DIGEST), reader.take(DIGEST), reader.u32(), reader.u64(), reader.u64(),
            reader.u64(),
        )  # fmt: skip
        reader.end()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Transaction):
    """The holder's signed answer.

    Attributes:
        request: Id of the ACCESS_REQ.
        answer: One of ``ANSWERS``.
        package: SM3 of the package, encrypted to the requester's key; zeros where there is none.
        manifest: SM3 of the package's manifest; zeros likewise.
        records: Records in it; exactly 1 where a record was asked for.
        size: Bytes of it.
    """

    TYPE: ClassVar[int] = 5
    NAME: ClassVar[str] = "DELIVERED"

    request: bytes
    answer: str = GIVEN
    package: bytes = ZERO_DIGEST
    manifest: bytes = ZERO_DIGEST
    records: int = 0
    size: int = 0

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return (
            self.request + u8(ANSWERS.index(self.answer)) + self.package + self.manifest + u32(self.records)
            + u64(self.size)
        )  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        request, answer = reader.take(DIGEST), reader.one_of(ANSWERS)
        package, manifest, records, size = reader.take(DIGEST), reader.take(DIGEST), reader.u32(), reader.u64()
        given = answer == GIVEN
        if {package != ZERO_DIGEST, manifest != ZERO_DIGEST, size > 0} != {given} or (records and not given):
            raise reader.wrong("a delivery names package, manifest and size, and any other answer none of them")
        return {
            "request": request, "answer": answer, "package": package, "manifest": manifest, "records": records,
            "size": size,
        }  # fmt: skip

    def execute(self, ledger: Ledger) -> Outcome:
        """The answer stands in the state; it is the holder's only one.

        Raises:
            Refused: Nobody allowed it, it was asked of others, it is answered or too late; or the rules forbid it now.
        """
        request = allowed_request(ledger, self.request)
        if self.sender not in request.holders:
            raise Refused("holder", "14", "the request was not addressed to the sender")
        if ledger.get(DELIVERY, self.request + self.sender) is not None:
            raise Refused("delivery", "14", "the sender has answered this request already")
        if ledger.height > request.deadline:
            raise Refused("deadline", "14", f"an answer was due at height {request.deadline}")
        if self.answer == GIVEN:
            self._check_delivery(ledger, request)
        state = DeliveryState(self.answer, self.package, self.manifest, self.records, self.size, ledger.height)
        ledger.put(DELIVERY, self.request + self.sender, state.encode())
        return Outcome(detail=self.request)

    def _check_delivery(self, ledger: Ledger, request: RequestState) -> None:
        if self.records > request.most or (request.is_record and self.records != 1):
            raise Refused("delivery size", "14", f"{self.records} records came, at most {request.most} were allowed")
        if (reason := forbidden(ledger, request)) is not None:
            raise Refused("delivery", "14", reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Transaction):
    """The requester's signed confirmation.

    Attributes:
        request: Id of its ACCESS_REQ.
        holder: Whose answer arrived.
        package: SM3 of the package that arrived; the one that was announced.
    """

    TYPE: ClassVar[int] = 6
    NAME: ClassVar[str] = "RECEIVED"

    request: bytes
    holder: bytes
    package: bytes

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return self.request + self.holder + self.package

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        return {
            "request": reader.take(DIGEST), "holder": reader.take(SHORT_ID), "package": reader.take(DIGEST),
        }  # fmt: skip

    def execute(self, ledger: Ledger) -> Outcome:
        """The delivery is confirmed.

        Raises:
            Refused: It is not the requester's, nothing was delivered, another package was, or it is confirmed already.
        """
        request = allowed_request(ledger, self.request)
        if request.requester != self.sender:
            raise Refused("requester", "14", "only who asked can confirm what arrived")
        stored = ledger.get(DELIVERY, self.request + self.holder)
        delivery = None if stored is None else DeliveryState.decode(stored)
        if delivery is None or delivery.answer != GIVEN or delivery.package != self.package:
            raise Refused("delivery", "14", "the holder has not announced that package")
        if delivery.received:
            raise Refused("delivery", "14", f"it was confirmed at height {delivery.received}")
        ledger.put(DELIVERY, self.request + self.holder, replace(delivery, received=ledger.height).encode())
        return Outcome(detail=self.request)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A holder that let an allowed request pass its deadline without any answer.

    Attributes:
        request: Id of the ACCESS_REQ.
        requester: Who asked.
        holder: Who did not answer.
        deadline: The height at which the answer was due.
    """

    request: bytes
    requester: bytes
    holder: bytes
    deadline: int


def current(ledger: Ledger) -> Iterator[tuple[bytes, RequestState]]:
    """Yield the allowed requests whose deadline is still to come, by id, in order of deadline."""
    parameters = ledger.parameters
    for epoch in range(ledger.epoch, parameters.epoch_of(ledger.height + parameters.deliver_blocks) + 1):
        for deadline in deadlines(ledger, epoch):
            for tx_id in due(ledger, deadline) if deadline >= ledger.height else ():
                yield tx_id, allowed_request(ledger, tx_id)


def awaited(ledger: Ledger, tx_id: bytes, request: RequestState) -> Iterator[bytes]:
    """Yield what a request still waits for: each holder's answer, and each package's receipt, apart."""
    for holder in request.holders:
        stored = ledger.get(DELIVERY, tx_id + holder)
        delivery = None if stored is None else DeliveryState.decode(stored)
        if delivery is None:
            yield tx_id + holder
        elif delivery.answer == GIVEN and not delivery.received:
            yield tx_id + holder + delivery.package


def allowed_request(ledger: Ledger, tx_id: bytes) -> RequestState:
    """Return an allowed request.

    Raises:
        Refused: No request of this id was allowed.
    """
    stored = ledger.get(REQUEST, tx_id)
    request = None if stored is None else RequestState.decode(stored)
    if request is None or request.stage != ALLOWED:
        raise Refused("request", "14", "no request of that id was allowed")
    return request


def forbidden(ledger: Ledger, request: RequestState) -> str | None:
    """Return why an allowed request may not be answered with data any more, or None."""
    requester = ledger.roster.registration(request.requester)
    if requester is None or not may_act(ledger, requester.id):
        return "the requester may not act any more"
    if requester.key_id != request.answer_key:
        return "the requester's key is another by now; the answer would be encrypted to the old one"
    if not judge(ledger, request, "download").allowed:
        return "the rules no longer allow it: an erasure, a withdrawal or a change of policy came in between"
    return None


def overdue(ledger: Ledger, heights: Iterable[int] | None = None) -> list[Overdue]:
    """Return who has not answered in time, in order of deadline, request and holder.

    Nobody is blamed for what may not be delivered any more, or while it may not act itself.

    Args:
        ledger: The chain, after the transactions of its block.
        heights: Deadlines to look at; without them the epoch's. Those above the block are passed over.
    """
    passed = deadlines(ledger) if heights is None else sorted(set(heights))
    return [
        found
        for deadline in passed
        if deadline <= ledger.height
        for tx_id in due(ledger, deadline)
        for found in _unanswered(ledger, tx_id)
    ]


def _unanswered(ledger: Ledger, tx_id: bytes) -> list[Overdue]:
    request = allowed_request(ledger, tx_id)
    silent = [one for one in holders_to_answer(ledger, tx_id, request) if may_act(ledger, one)]
    if not silent or forbidden(ledger, request) is not None:
        return []
    return [Overdue(tx_id, request.requester, one, request.deadline) for one in silent]
