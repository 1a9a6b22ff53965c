"""The requester's side: where its requests stand, and the record that came, checked against the chain and confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.chain.receipt import read_receipt
from ledger.chain.state import DELIVERY, REQUEST, SEEN
from ledger.chain.working_state import WorkingState
from ledger.messages.access import AccessRequest
from ledger.messages.delivery import GIVEN, DeliveryState, Received, forbidden
from ledger.messages.erasure import erased
from ledger.messages.request_state import ALLOWED, WAITING, RequestState, Verdict
from sharing.errors import Malformed, NotYet, Refused
from sharing.record.answer import MAX_ANSWER, Opened, open_answer
from sharing.record.answering import terms_of
from sharing.record.asking import state_name
from sharing.record.desk import Desk
from sharing.request.answer import reasons_of

#: What a holder's answer without data means.
SAYS: Final = {
    "other-patient": "the record is another patient's than the one the request names",
    "erased": "the record is erased; nobody can read it again",
    "not-permitted": "its patient, or a rule, no longer permits it; or your key changed: then ask again",
    "unreadable": "the holder's stored bytes are not those it published; `xinglin ledger verify --stored` names them",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands.

    Attributes:
        request: Its id.
        reference: What it asks for.
        purpose: For what.
        reader: Who will read; "" for the institution.
        holder: Who is to answer, by its id in the region's files.
        stage: ``offered``, ``denied``, ``allowed``, ``received`` or one of ``delivery.ANSWERS``.
        rules: Rules that decided.
        deadline: Last height at which an answer is in time; 0 where none is awaited.
    """

    request: bytes
    reference: str
    purpose: str
    reader: str
    holder: str
    stage: str
    rules: tuple[str, ...] = ()
    deadline: int = 0


def requests_of(desk: Desk, beginning: str = "") -> list[Standing]:
    """Return where this institution's requests for records stand, oldest first; those that lapsed are left out.

    Args:
        desk: The institution's.
        beginning: Hex digits that their ids begin with.
    """
    state, found = desk.now(), list[Standing]()
    for sent in desk.outgoing.named(f"request/{beginning}"):
        asked = sent.opened
        if isinstance(asked, AccessRequest):
            stage, rules, deadline = _stage(desk, state, asked)
            holder = state_name(state, asked.holders[0])
            reference = str(sent.facts["reference"])
            found.append(Standing(asked.tx_id, reference, asked.purpose, asked.reader, holder, stage, rules, deadline))
    return found


def _stage(desk: Desk, state: WorkingState, asked: AccessRequest) -> tuple[str, tuple[str, ...], int]:
    verdict = verdict_of(desk, state, asked.tx_id)
    if verdict is None:
        return "offered", (), 0
    stored = state.get(REQUEST, asked.tx_id)
    request = None if stored is None else RequestState.decode(stored)
    if request is None or request.stage != ALLOWED:
        return "denied" if request is None else request.stage, verdict.policies, 0
    answered = state.get(DELIVERY, asked.tx_id + asked.holders[0])
    if answered is None:
        return "allowed", verdict.policies, request.deadline
    delivery = DeliveryState.decode(answered)
    return "received" if delivery.received else delivery.answer, verdict.policies, 0


def verdict_of(desk: Desk, state: WorkingState, tx_id: bytes) -> Verdict | None:
    """Return what the contract said to a request, or None where no final block holds it."""
    seen = state.get(SEEN, tx_id)
    for receipt in desk.replica.receipts(int.from_bytes(seen, "big")) if seen is not None else ():
        about, outcome = read_receipt(receipt)
        if about == tx_id:
            return Verdict.decode(outcome.code, outcome.detail)
    return None


def open_record(desk: Desk, tx_id: bytes) -> Opened:
    """Return the record that came, which is the one the chain names.

    Raises:
        Refused: It is nobody's request, another's, was denied, or the holder's answer says that there is no data.
        NotYet: The request, or its answer, is not there so far.
        NotForThisKey: It is sealed to a key that this institution no longer has.
        Tampered: Something else came than was announced, asked for or published.
    """
    state = desk.now()
    request = _allowed(desk, state, tx_id)
    delivery = _given(state, tx_id, request)
    answer = desk.shelf.get(delivery.package, min(delivery.size, MAX_ANSWER))
    if answer is None:
        raise _missing(state, request, delivery)
    terms = terms_of(desk.replica.genesis.chain_id, tx_id, request)
    return open_answer(answer, terms, state_name(state, request.holders[0]), desk.node.public, desk.node.decrypt)


def _missing(state: WorkingState, request: RequestState, delivery: DeliveryState) -> Exception:
    """Return why an announced answer does not lie on the shelf."""
    if erased(state, request.holders[0], request.rid, request.version):
        return Refused("erased", SAYS["erased"])
    if forbidden(state, request) is not None:
        return Refused("not-permitted", SAYS["not-permitted"])
    return NotYet(
        f"the holder announced the answer in block {delivery.height}, and it does not lie on the shelf (yet, or any "
        "more: an answer is taken away once it was received); ask again where it stays away"
    )


def confirm(desk: Desk, tx_id: bytes) -> None:
    """The chain is told that the record arrived; telling it again changes nothing. Call it once the record is kept."""
    state = desk.now()
    request = _allowed(desk, state, tx_id)
    delivery = _given(state, tx_id, request)
    if delivery.received:
        return
    holder, package = request.holders[0], delivery.package
    desk.outgoing.offer(
        f"received/{tx_id.hex()}",
        lambda: (Received(**desk.node.heading(), request=tx_id, holder=holder, package=package), {}),
    )


def _allowed(desk: Desk, state: WorkingState, tx_id: bytes) -> RequestState:
    stored = state.get(REQUEST, tx_id) if len(tx_id) == 32 else None
    if stored is None:
        verdict = verdict_of(desk, state, tx_id)
        if verdict is not None and not verdict.allowed:
            said = " ".join(one.says for one in reasons_of(state.policies, verdict.policies)) or "No rule permitted it."
            raise Refused(", ".join(verdict.policies) or "no rule", f"{verdict.reason}: {said}")
        if desk.outgoing.find(f"request/{tx_id.hex()}") is not None:
            raise NotYet("no final block holds the request yet; look again after the next block")
        raise Refused("request", "no final block holds a request for a record under this id")
    request = RequestState.decode(stored)
    if not request.is_record:
        raise Malformed("a dataset was asked for under this id; see `xinglin dataset`")
    if request.requester != desk.id:
        raise Refused("requester", "another institution asked; only who asked can open the answer")
    if request.stage == WAITING:
        raise NotYet("it waits for the data access committee; see `xinglin record list`")
    if request.stage != ALLOWED:
        raise Refused("data access committee", f"the request is {request.stage}")
    return request


def _given(state: WorkingState, tx_id: bytes, request: RequestState) -> DeliveryState:
    stored = state.get(DELIVERY, tx_id + request.holders[0])
    if stored is None:
        late = " and it is late" if state.height > request.deadline else ""
        raise NotYet(f"the holder has not answered yet; an answer is due by block {request.deadline}{late}")
    delivery = DeliveryState.decode(stored)
    if delivery.answer != GIVEN:
        raise Refused(delivery.answer, SAYS[delivery.answer])
    return delivery
