"""The holder's side: every allowed request for one of its records is answered, or is told why it cannot be.

The record is opened, and sealed to the requester, once the request stands allowed in a final block. The answer stays
here until its DELIVERED is final too: the block of that asks the rules again, so nothing leaves that an erasure, a
withdrawal, a frozen requester or another key came before. Killed anywhere, the next pass goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from ledger.chain.state import DELIVERY
from ledger.chain.working_state import WorkingState
from ledger.messages.access import holders_to_answer
from ledger.messages.delivery import GIVEN, Delivered, DeliveryState, allowed_request, current, forbidden
from ledger.messages.erasure import erased
from ledger.messages.request_state import RequestState
from shangmi import PublicKey, sm3
from sharing.consent import Cutter
from sharing.outgoing import Document, Sent
from sharing.record.answer import Terms, seal
from sharing.record.desk import Desk
from vault.errors import Erased, Tampered, Unknown
from vault.records import Released
from vault.store import Vault

log = logging.getLogger(__name__)
#: Blocks for which an answer that nobody confirms lies on the shelf.
KEPT_BLOCKS: Final = 1_000
_GIVEN: Final = "answer/given/"
_NONE: Final = "answer/none/"


def answer_all(desk: Desk, vault: Vault) -> dict[str, int]:
    """Every request that waits for this institution's answer has one on its way; what is announced lies on the shelf.

    Returns:
        Counts: ``waiting`` requests looked at, answers by what they say, ``shown`` on the shelf now, ``taken`` away.
    """
    state, counts = desk.now(), Counter[str]()
    for tx_id, request in awaiting(state, desk.id):
        counts["waiting"] += 1
        counts[_answer(desk, vault, state, tx_id, request)] += 1
    for sent in desk.outgoing.named(_GIVEN):
        counts.update(_carry(desk, state, sent))
    log.info("records asked of %s: %s", desk.institution, dict(counts))
    return dict(counts)


def awaiting(state: WorkingState, holder: bytes) -> Iterator[tuple[bytes, RequestState]]:
    """Yield the allowed requests for single records that an institution has not answered yet, in order of deadline."""
    for tx_id, request in current(state):
        if request.is_record and holder in holders_to_answer(state, tx_id, request):
            yield tx_id, request


def _answer(desk: Desk, vault: Vault, state: WorkingState, tx_id: bytes, request: RequestState) -> str:
    """The answer to one request is signed and offered; returns what it says."""
    found = judged(vault, state, request)
    if isinstance(found, str):
        desk.outgoing.forget(_GIVEN + tx_id.hex())
        draft = lambda: (Delivered(**desk.node.heading(), request=tx_id, answer=found), Document())  # noqa: E731
        desk.outgoing.offer(_NONE + tx_id.hex(), draft)
        return found
    desk.outgoing.offer(_GIVEN + tx_id.hex(), lambda: _delivery(desk, state, tx_id, request, found))
    return GIVEN


def judged(vault: Vault, state: WorkingState, request: RequestState) -> Released | str:
    """Return the record that may be given, or the answer that says why none may be.

    What the patient says counts although the request names nobody: an emergency may, but not against a patient's no.
    """
    holder = request.holders[0]
    if erased(state, holder, request.rid, request.version):
        return "erased"
    if forbidden(state, request) is not None:
        return "not-permitted"
    try:
        found = vault.records.release(request.rid, request.version)
    except Erased:
        return "erased"
    except (Tampered, Unknown) as error:
        log.error("a record asked for cannot be read: %s", error)
        return "unreadable"
    if sm3(found.envelope) != request.digest:
        return "unreadable"
    patient = vault.summaries.pseudonym(found.owner)
    if any(request.patient) and request.patient != patient:
        return "other-patient"
    requester = state.roster.registration(request.requester)
    if requester is None or forbidden(state, replace(request, patient=patient)) is not None:
        return "not-permitted"
    consent = Cutter(state, holder, requester, request.purpose, state.time_ms)
    return found if consent.refusal(patient, found.resource_type, found.body) is None else "not-permitted"


def _delivery(
    desk: Desk, state: WorkingState, tx_id: bytes, request: RequestState, found: Released
) -> tuple[Delivered, Document]:
    """Return the announcement of an answer that was just made and lies among the drafts."""
    requester = state.roster.registration(request.requester)
    if requester is None or requester.key_id != request.answer_key:
        raise RuntimeError("who may be answered was checked, and is not registered with that key")
    terms = terms_of(desk.replica.genesis.chain_id, tx_id, request)
    answer = seal(terms, PublicKey.from_bytes(requester.public_key), found.data_key, found.envelope)
    digest = desk.drafts.put(answer)
    made = Delivered(
        **desk.node.heading(), request=tx_id, package=digest, manifest=terms.digest, records=1, size=len(answer)
    )
    return made, {"package": digest, "rid": request.rid, "version": request.version}


def terms_of(chain_id: bytes, tx_id: bytes, request: RequestState) -> Terms:
    """Return what an answer to a request says of itself."""
    return Terms(
        chain_id, tx_id, request.holders[0], request.requester, request.answer_key, request.rid, request.version,
        request.digest,
    )  # fmt: skip


def _carry(desk: Desk, state: WorkingState, sent: Sent) -> Iterator[str]:
    """An announced answer lies on the shelf until it is confirmed, forbidden, or there for long enough."""
    package, tx_id = bytes(sent.facts["package"]), bytes.fromhex(sent.name.removeprefix(_GIVEN))
    stored = state.get(DELIVERY, tx_id + desk.id)
    delivery = None if stored is None else DeliveryState.decode(stored)
    if delivery is None:
        return
    fresh = not delivery.received and state.height <= delivery.height + KEPT_BLOCKS
    if delivery.package == package and fresh and forbidden(state, allowed_request(state, tx_id)) is None:
        answer = desk.drafts.get(package, delivery.size)
        if answer is not None and desk.shelf.get(package, delivery.size) is None:
            desk.shelf.put(answer)
            yield "shown"
        return
    _take_away(desk, sent)
    yield "taken"


def _take_away(desk: Desk, sent: Sent) -> None:
    """Nobody can fetch the answer any more, and it cannot be laid out again."""
    package = bytes(sent.facts["package"])
    desk.shelf.drop(package)
    desk.drafts.drop(package)
    desk.outgoing.forget(sent.name)


def take_back(desk: Desk, records: Collection[tuple[bytes, int]]) -> int:
    """No answer with one of these records is left here or on the shelf; returns how many were.

    What was fetched before, nobody can take back.

    Args:
        desk: The holder's.
        records: Id and version of each.
    """
    wanted = frozenset(records)
    found = [
        sent for sent in desk.outgoing.named(_GIVEN) if (bytes(sent.facts["rid"]), sent.facts["version"]) in wanted
    ]  # fmt: skip
    for sent in found:
        _take_away(desk, sent)
    return len(found)
