"""Rules of sharing in words: what changes for whom, and the questions that `policy check --as` puts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from console.exits import USAGE, fail

if TYPE_CHECKING:
    from ledger.contracts.policy_check import Changes, Rule
    from ledger.contracts.policy_request import PartyFacts, Question
    from ledger.contracts.policy_trials import Case, Comparison

#: Kinds of request that are told; --json has them all.
_SHOWN: Final = 12


def plain_rules(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return rules as JSON has them."""
    return [{"id": one.id, "says": one.says, "forbids": one.forbids} for one in rules]


def plain_changes(found: Changes) -> dict[str, Any]:
    """Return what changes, rule by rule, as JSON has it."""
    return {
        "deny_only": found.deny_only,
        "added": [one.id for one in found.added],
        "removed": [one.id for one in found.removed],
        "changed": [one.id for one, _ in found.changed],
    }


def plain_trial(trial: Comparison) -> dict[str, Any]:
    """Return what changes for people as JSON has it."""
    allowed, denied = ([asdict(one) for one in some] for some in (trial.allowed, trial.denied))
    return {"tried": trial.tried, "allowed": allowed, "denied": denied}


def trial_told(trial: Comparison) -> str:
    """Return what changes for people, in lines."""
    counts = f"{len(trial.allowed)} newly allowed, {len(trial.denied)} newly denied"
    lines = [f"{trial.tried} kinds of request tried: {counts}."]
    for word, cases in (("newly allowed", trial.allowed), ("newly denied", trial.denied)):
        kinds = [(key, list(some)) for key, some in groupby(sorted(cases, key=_kind), _kind)]
        lines += [f"  {word}: {_told(some)}" for _, some in kinds[:_SHOWN]]
        if len(kinds) > _SHOWN:
            lines.append(f"  … and {len(kinds) - _SHOWN} kinds more that are {word} (--json has them all)")
    return "\n".join(lines)


def _kind(case: Case) -> tuple[str, bool, str, str, bool]:
    return case.who, case.action != "upload", case.action, case.purpose, case.dataset


def _told(cases: list[Case]) -> str:
    """Return requests of one kind in one line: what they have in common, then what differs."""
    one = cases[0]
    credits = f"credit {_list(str(credit) for credit in sorted({case.credit for case in cases}))}"
    if one.action == "upload":
        return f"{one.who} publishes its own records; {credits}"
    verb = "receives" if one.action == "download" else "asks for"
    readers = _list(case.reader or "itself" for case in cases)
    statement = "" if one.dataset else f"; statement: {_list(case.consent for case in cases)}"
    approved = _list("approved" if case.approved else "not approved" for case in cases)
    what = "a dataset" if one.dataset else "one record"
    ethics = _list("with ethics approval" if case.ethics else "without" for case in cases) if one.dataset else ""
    facts = (f"{one.purpose}{statement}", approved, ethics, f"read by {readers}", credits, _counted(cases))
    return f"{one.who} {verb} {what}; {'; '.join(filter(None, facts))}"


def _counted(cases: list[Case]) -> str:
    """Return after how many earlier requests, where that makes a difference."""
    found = sorted({case.recent for case in cases})
    return f"after {_list(map(str, found))} requests" if found != [0] else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def question_of(who: str, owner: str, credit: int, **asked: Any) -> Question:
    """Return the question that the options of `policy check --as` put; unknown words end the command."""
    from ledger.contracts.policy_request import ACTIONS, CONSENTS, PURPOSES, READERS, Question

    known = {"action": ACTIONS, "purpose": PURPOSES, "consent": CONSENTS, "reader": ("", *READERS)}
    for name, words in known.items():
        if asked[name] not in words:
            fail(f"--{name} {asked[name]}: expected one of {', '.join(filter(None, words))}", USAGE)
    principal = _party(who, credit)
    upload = asked["action"] == "upload"
    holder = principal if upload and owner in ("another-hospital", who) else _party(owner, 600)
    return Question(principal=principal, owners=(holder,), now_ms=_now(), **asked | ({"purpose": ""} if upload else {}))


def _now() -> int:
    import time

    return int(time.time() * 1000)


def _party(word: str, credit: int) -> PartyFacts:
    """Return an institution of the region's file, or one of a kind."""
    from ledger.chain.roster import CLASS_PARTY, PARTIES
    from ledger.contracts.policy_request import PartyFacts
    from ledger.contracts.policy_trials import HOLDER
    from schemas.home import Home
    from schemas.region import load_region

    if word in PARTIES:
        class_ = next((class_ for class_, party in CLASS_PARTY.items() if party == word), "P")
        return PartyFacts(f"some-{word}", class_, word, credit=credit)
    if word == HOLDER.name:
        return HOLDER
    one = load_region(Home.from_environment().region).institution(word)
    return PartyFacts(one.id, one.class_, CLASS_PARTY[one.class_], credit=credit)
