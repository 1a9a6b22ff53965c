"""Why the rules say no to one record, in their own sentences, and what would change it: tried, not guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

from ledger.chain.working_state import WorkingState
from ledger.contracts.policy import PolicySet, party_facts
from ledger.contracts.policy_request import Question, type_name
from ledger.encoding import ZERO_DIGEST
from ledger.messages.consent import standing
from ledger.messages.provisions import EMERGENCY
from ledger.messages.provisions import Question as Wanted
from ledger.messages.request_state import ERASED, RequestState, Verdict
from sharing.errors import Refused
from sharing.request.answer import reasons_of

_READERS: Final = ("doctor", "patient")


def refusal(state: WorkingState, request: RequestState, verdict: Verdict) -> Refused:
    """Return the error that says which rule stands against a request for a record, and what would change it."""
    if verdict.reason == ERASED:
        return Refused("never.erased", "the record is erased; nothing brings it back")
    says = " ".join(one.says for one in reasons_of(state.policies, verdict.policies)) or "No rule permits it."
    ways = list(_ways(state, request)) if state.policies else []
    changed = f" It would be allowed {', or '.join(ways)}." if ways else " Nothing that you can change here would do."
    return Refused(", ".join(verdict.policies) or "no rule", says + changed)


def _ways(state: WorkingState, request: RequestState) -> Iterator[str]:
    """Yield the smallest changes with which the rules in force would allow it."""
    asked, rules = _question(state, request), PolicySet.decode(state.policies)
    changes = list(_changes(asked, state, request))
    for size in (1, 2):
        found = [some for some in combinations(changes, size) if _allowed(rules, asked, some)]
        for some in found:
            yield " and ".join(sentence for _, sentence in some)
        if found:
            break
    emergency = replace(asked, purpose=EMERGENCY, consent="none", reader=asked.reader or "doctor")
    if request.purpose != EMERGENCY and asked.consent != "deny" and rules.decide(emergency).allowed:
        yield "in an emergency (--purpose emergency), which is reviewed"


Change = tuple[dict[str, str | int], str]


def _changes(asked: Question, state: WorkingState, request: RequestState) -> Iterator[Change]:
    if asked.consent != "permit":
        holder = state.roster.registration(request.holders[0])
        at = "its holder" if holder is None else holder.name
        named = "" if any(request.patient) else ", and the request names the patient (--patient, or a summary)"
        yield {"consent": "permit"}, f"once the patient permits it at {at} (`xinglin consent grant`){named}"
    for reader in _READERS:
        if asked.reader != reader:
            yield {"reader": reader}, f"with --reader {reader}"
    if asked.recent:
        yield {"recent": 0}, "in the next epoch"


def _allowed(rules: PolicySet, asked: Question, some: Sequence[Change]) -> bool:
    changed = asked
    for fields, _ in some:
        changed = replace(changed, **fields)  # type: ignore[arg-type]
    return rules.decide(changed).allowed


def _question(state: WorkingState, request: RequestState) -> Question:
    parties = [state.roster.registration(one) for one in (request.requester, *request.holders)]
    facts = [party_facts(state, one) for one in parties if one is not None]
    return Question(
        action="access", principal=facts[0], owners=tuple(facts[1:]), now_ms=state.time_ms, reader=request.reader,
        purpose=request.purpose, consent=_consent(state, request), type=type_name(request.type),
        ethics=request.ethics != ZERO_DIGEST, approved=request.approved, recent=request.recent,
    )  # fmt: skip


def _consent(state: WorkingState, request: RequestState) -> str:
    """Return what the patient that the request names says."""
    requester = state.roster.registration(request.requester)
    if requester is None or not any(request.patient):
        return "none"
    wanted = Wanted(request.purpose, requester.id, requester.class_, request.type or None, state.time_ms)
    return standing(state, request.holders[0], request.patient, wanted)
