"""Requests for datasets in words: what they ask, what the rules answer, where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ledger.chain.roster import Roster
    from ledger.messages.request_state import Verdict
    from sharing.request.answer import Answer, Reason
    from sharing.request.standing import Standing

_REASONS: Final = {
    "purpose": "the purpose does not carry it",
    "ethics": "the ethics approval does not cover it",
    "too-much": "it asks for more than the purpose needs",
    "re-identification": "persons could be recognised",
    "unclear": "it does not say clearly what is done with the data",
    "conflict": "a conflict of interests",
    "other": "a reason told elsewhere",
}
_UNRULED: Final = {
    "not permitted": "No rule permits it with these facts; what none permits is denied.",
    "no rules": "The chain has no rules; nothing is shared.",
    "error": "A rule could not be evaluated; that denies.",
    "erased": "The record is erased.",
}


def named(roster: Roster) -> Callable[[str], str]:
    """Return what gives an institution its title: ``东城医院 (hospital-east)``."""
    titles = {one.name: one.title for one in roster}
    return lambda name: f"{titles[name]} ({name})" if name in titles else name


def answer_lines(answer: Answer) -> Iterator[str]:
    """Yield what the rules say now, why, and what would change it."""
    word = {
        "allowed": "The rules allow it: it may be answered as soon as it stands on the chain.",
        "pending": "The rules put it before the data access committee: two of its members must approve it.",
        "denied": "The rules deny it.",
    }[answer.word]
    yield word
    yield from verdict_lines(answer.verdict, answer.reasons)
    if answer.word == "denied":
        for way, sentences in enumerate(answer.remedies):
            yield "What would change that:" if not way else "Or:"
            yield from (f"  - {one}" for one in sentences)


def verdict_lines(verdict: Verdict | None, reasons: tuple[Reason, ...]) -> Iterator[str]:
    """Yield the rules that decided, in their own sentences."""
    for one in reasons:
        yield f"  {one.says} [{one.id}]"
    if verdict is not None and verdict.reason in _UNRULED:
        yield f"  {_UNRULED[verdict.reason]}"


def standing_lines(found: Standing, name: Callable[[bytes], str]) -> Iterator[str]:
    """Yield where a request stands: who said what, who delivered, who received."""
    last = found.until
    yield f"Asked in block {found.asked_at} by {name(found.asked.sender)}."
    for voice in found.voices:
        why = "" if voice.approves else f": {_REASONS[voice.reason]}"
        yield f"{name(voice.member)} {'approved' if voice.approves else 'refused'}{why}."
    yield {
        "pending": f"Waits for the data access committee, up to block {last}.",
        "allowed": f"Allowed. The holders answer by block {last}.",
        "refused": "Refused by two members of the data access committee. Another request can be written.",
        "denied": "Denied by the rules.",
        "lapsed": "Lapsed: too few members of the committee spoke in time. Write the request anew.",
    }[found.stage]
    for one in found.answers if found.stage == "allowed" else ():
        yield _answered(name(one.holder), one.delivery)


def _answered(holder: str, delivery: Any) -> str:
    if delivery is None:
        return f"{holder}: no answer so far."
    if delivery.answer != "delivered":
        return f"{holder}: no data, {delivery.answer} (block {delivery.height})."
    received = f"received in block {delivery.received}" if delivery.received else "not received so far"
    return f"{holder}: delivered {delivery.records} records in block {delivery.height}, {received}."


def record_lines(found: Standing, name: Callable[[bytes], str]) -> Iterator[str]:
    """Yield what a request for one record asks; it has no file, the chain says all of it."""
    from ledger.chain.leaves import RecordLeaf
    from ledger.contracts.policy_request import type_name
    from ledger.messages.asked import RecordAsked

    tx = found.asked
    if not isinstance(tx.asked, RecordAsked):
        raise RuntimeError("a request for a dataset has a file")
    leaf = RecordLeaf.decode(tx.asked.leaf)
    yield (
        f"{name(tx.sender)} asks {name(tx.holders[0])} for one record, version {leaf.version} of a "
        f"{type_name(leaf.resource_type) or 'resource'}; purpose: {tx.purpose}."
    )
    yield f"Read by {f'a {tx.reader} there' if tx.reader else 'the institution itself'}."
    yield f"Record {leaf.rid.hex()}; SM3 of its sealed envelope {leaf.ct_digest.hex()}."


def plain_answer(answer: Answer) -> dict[str, Any]:
    """Return what the rules say as JSON has it."""
    return {
        "answer": answer.word,
        "reason": answer.verdict.reason,
        "rules": [{"id": one.id, "says": one.says} for one in answer.reasons],
        "what_would_change_it": [list(one) for one in answer.remedies],
    }


def plain_standing(found: Standing, name: Callable[[bytes], str]) -> dict[str, Any]:
    """Return where a request stands as JSON has it."""
    return {
        "transaction": found.asked.tx_id.hex(),
        "kind": "record" if found.is_record else "dataset",
        "digest": found.digest.hex(),
        "requester": name(found.asked.sender),
        "asked_at": found.asked_at,
        "stage": found.stage,
        "until": found.until,
        "reason": found.verdict.reason if found.verdict else None,
        "policies": list(found.verdict.policies) if found.verdict else [],
        "committee": [
            {"member": name(one.member), "approves": one.approves, "reason": one.reason} for one in found.voices
        ],
        "answers": [
            {
                "holder": name(one.holder),
                "answer": one.delivery.answer if one.delivery else None,
                "records": one.delivery.records if one.delivery else None,
                "package": one.delivery.package.hex() if one.delivery else None,
                "height": one.delivery.height if one.delivery else None,
                "received": (one.delivery.received or None) if one.delivery else None,
            }
            for one in found.answers
        ],
    }
