"""What a patient's statement says and means, in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time
from typing import Final

from ledger.chain.roster import Registration
from ledger.contracts.policy_request import type_name
from ledger.messages.consent import ConsentState
from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, PURPOSES, Interval, Provision, Question
from sharing.consent.cutting import NEEDS_PERMIT, permitted
from sharing.consent.dates import moment
from sharing.consent.parties import Parties

_ALWAYS: Final = ((0, FOREVER),)
ALL, SOME, NONE = "all records", "some records", "none"


def sentence(said: Provision, parties: Parties) -> str:
    """Return one provision as a sentence."""
    purposes = "every purpose" if said.purposes == EVERY_PURPOSE else _listed(sorted(said.purposes, key=PURPOSES.index))
    types = _listed(type_name(one) or str(one) for one in said.types) or "all records"
    text = f"{'Permits' if said.permits else 'Denies'} {purposes} to {parties.told(said.classes, said.institutions)}: "
    text += types + _span(" dated", said.data)
    return text + _span("; it holds", said.valid) + "."


def _listed(words: Iterable[str]) -> str:
    found = list(words)
    return ", ".join(found[:-1]) + " and " + found[-1] if len(found) > 1 else "".join(found)


def _span(word: str, interval: Interval) -> str:
    if interval == (0, FOREVER):
        return ""
    start = f" from {_day(interval[0], interval[0])}" if interval[0] else ""
    end = f" until {_day(interval[1] - 1, interval[1])}" if interval[1] != FOREVER else ""
    return word + start + end


def _day(ms: int, edge: int) -> str:
    """Return a time as its day where the day's edge is meant, else to the second."""
    try:
        found = moment(ms)
    except OverflowError:
        return "the end of time"
    return f"{found:%Y-%m-%d}" if moment(edge).time() == time() else f"{found:%Y-%m-%d %H:%M:%S}"


def meaning(
    state: ConsentState | None, institutions: Iterable[Registration], time_ms: int
) -> dict[str, dict[str, list[str]]]:
    """Return by purpose who may get all of the patient's records today, who some, and who none.

    Args:
        state: What stands, or None.
        institutions: Who is looked at, in order.
        time_ms: Today, in the chain's time.

    Returns:
        By purpose: ``all records``, ``some records``, ``none`` to names of institutions. Of ``directory`` everybody is
        in the same, since summaries are sealed to all.
    """
    asked = list(institutions)
    named = {number for one in state.provisions for number in one.types} if state else set()
    found: dict[str, dict[str, list[str]]] = {}
    for purpose in PURPOSES:
        answers: dict[str, list[str]] = {ALL: [], SOME: [], NONE: []}
        for one in asked:
            answers[_extent(state, purpose, one, named | {0}, time_ms)].append(one.name)
        found[purpose] = answers
    if state is not None and (state.withdrawn or any(_keeps_out(one) for one in state.provisions)):
        found["directory"] = {ALL: [], SOME: [], NONE: [one.name for one in asked]}
    return found


def _keeps_out(said: Provision) -> bool:
    return not said.permits and "directory" in said.purposes


def _extent(state: ConsentState | None, purpose: str, who: Registration, types: set[int], time_ms: int) -> str:
    answers = [permitted(state, Question(purpose, who.id, who.class_, one, time_ms)) for one in sorted(types)]
    if all(one == _ALWAYS for one in answers):
        return ALL
    return NONE if all(isinstance(one, str) for one in answers) else SOME


def told(found: dict[str, dict[str, list[str]]]) -> str:
    """Return what a statement means today, a line a purpose."""
    lines = []
    for purpose, answers in found.items():
        said = [f"{what} to {_whom(answers, what)}" for what in (ALL, SOME) if answers[what]]
        note = "" if purpose in NEEDS_PERMIT else " (unless denied)"
        lines.append(f"  {purpose:<14}{'; '.join(said) or 'nothing to anybody'}{note if said else ''}")
    return "\n".join(lines)


def _whom(answers: dict[str, list[str]], what: str) -> str:
    others = [one for kind, names in answers.items() if kind != what for one in names]
    return "everybody" if not others else ", ".join(answers[what])
