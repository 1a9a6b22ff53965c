"""What a change of rules changes for people: both sets answer the same few thousand requests (section 14).

Rules are compared by what they say, not by how they are written. The requests go over every kind of institution,
purpose, statement of the patient and approval, at credits on both sides of every number in a rule that changes,
likewise at earlier requests where such a rule counts them, and over every institution that a rule names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from ledger.contracts.policy import PolicySet
from ledger.contracts.policy_check import Changes, Rule, changes
from ledger.contracts.policy_engine import Answer
from ledger.contracts.policy_request import CONSENTS, PURPOSES, PartyFacts, Question
from ledger.credit.scoring import HIGHEST, START

KINDS: Final = (
    PartyFacts("a-hospital", "A", "hospital"),
    PartyFacts("a-nursing-home", "C", "nursing-home"),
    PartyFacts("an-insurer", "P", "insurer"),
    PartyFacts("a-research-institution", "P", "research"),
    PartyFacts("a-regulator", "R", "regulator"),
    PartyFacts("a-participant", "P", "participant"),
)
HOLDER: Final = PartyFacts("another-hospital", "A", "hospital")
_NUMBER: Final = re.compile(r'"Value": (\d{1,9})\b')
_NAMED: Final = re.compile(r'Institution::"([a-z][a-z0-9-]{1,54})"')
#: 2026-11-01, when nothing better is known; a rule about dates is tried at this moment only.
_MOMENT: Final = 1_793_462_400_000


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One kind of request.

    Attributes:
        who: Who asks: a kind of institution, or one that a rule names.
        action: ``upload``, ``access`` or ``download``.
        purpose: Of ``PURPOSES``; empty for an upload.
        dataset: Whether a dataset is asked for, not one record.
        consent: What the patient's statement says.
        ethics: Whether it names an ethics committee's approval.
        approved: Whether the data access committee approved it.
        reader: Who will read; empty for the institution itself.
        credit: Credit of who asks.
        recent: Requests of its kind that it made in the epoch before.
    """

    who: str
    action: str
    purpose: str = ""
    dataset: bool = False
    consent: str = "none"
    ethics: bool = False
    approved: bool = False
    reader: str = ""
    credit: int = 600
    recent: int = 0


@dataclass(frozen=True, slots=True)
class Trials:
    """What is tried of each kind of request, beyond what always is.

    Attributes:
        actions: ``access``, and ``download`` where it may differ.
        recents: How many requests went before.
        ethics: For a single record, whether it names an approval; for a dataset both are always tried.
    """

    actions: Sequence[str] = ("access", "download")
    recents: Sequence[int] = (0,)
    ethics: Sequence[bool] = (False,)


def cases_of(who: PartyFacts, trials: Trials) -> Iterator[Case]:
    """Yield every kind of request that is tried for one institution: an upload, and the trials' actions."""
    yield Case(who.name, "upload", credit=who.credit)
    readers = ("", "doctor", "patient") if who.party in ("hospital", "nursing-home") else ("",)
    shapes = [(False, *one) for one in product(CONSENTS, trials.ethics)]
    shapes += [(True, "none", one) for one in (False, True)]
    for action, purpose, (dataset, consent, ethics), approved, reader, recent in product(
        trials.actions, PURPOSES, shapes, (False, True), readers, trials.recents
    ):
        yield Case(who.name, action, purpose, dataset, consent, ethics, approved, reader, who.credit, recent)


def people(old: PolicySet, new: PolicySet, others: Iterable[PartyFacts] = ()) -> list[PartyFacts]:
    """Return who asks in trials: every kind of institution at every credit, and each that the rules name.

    Args:
        old: Sound rules.
        new: Others.
        others: Known institutions; a named one that is not among them is taken for a hospital.
    """
    known = {one.name: one for one in others}
    names = sorted({name for one in (old, new) for name in _NAMED.findall(one.text)})
    named = [known.get(name, PartyFacts(name, "A", "hospital")) for name in names]
    credits = _credits(changes(old, new))
    return [replace(one, credit=credit) for one in KINDS for credit in credits] + named


def numbers_in(rule: Rule) -> list[int]:
    """Return the numbers that a rule compares with."""
    return [int(number) for number in _NUMBER.findall(rule.meaning)]


def _moved(found: Changes) -> list[Rule]:
    """Return every rule that is not the same in both sets."""
    return [*found.added, *found.removed, *(one for pair in found.changed for one in pair)]


def _actions(found: Changes) -> Sequence[str]:
    """Return the actions worth asking for: downloading, where a changed rule does not treat it as access."""
    apart = any(('"download"' in one.meaning) != ('"access"' in one.meaning) for one in _moved(found))
    return ("access", "download") if apart else ("access",)


def _trials(found: Changes) -> Trials:
    """Return what is worth trying of a change."""
    ethics = any('"ethics"' in one.meaning for one in _moved(found))
    return Trials(_actions(found), sorted(_sides(found, "recent") | {0}), (False, True) if ethics else (False,))


def _credits(found: Changes) -> list[int]:
    """Return the credit everybody begins with, and both sides of every number that a changed rule compares it with."""
    return sorted({one for one in _sides(found, "credit") if one <= HIGHEST} | {START})


def _sides(found: Changes, fact: str) -> set[int]:
    """Return both sides of every number in the rules that are not the same and ask for a fact."""
    numbers = {number for one in _moved(found) if f'"{fact}"' in one.meaning for number in numbers_in(one)}
    return {side for number in numbers for side in (number - 1, number, number + 1) if side >= 0}


def answers(rules: PolicySet, who: PartyFacts, trials: Trials) -> dict[Case, bool]:
    """Return which requests of an institution a set of rules allows."""
    cases = list(cases_of(who, trials))
    questions = [_question(who, one) for one in cases]
    asked = [one.requests()[0] for one in questions]
    entities = questions[-1].entities() + _own_records(who)
    found: list[Answer] = rules.compiled.ask(asked, entities)
    return {case: answer.verdict == "allow" for case, answer in zip(cases, found, strict=True)}


def _question(who: PartyFacts, case: Case) -> Question:
    owner = who if case.action == "upload" else HOLDER
    return Question(
        action=case.action, principal=who, owners=(owner,), now_ms=_MOMENT, reader=case.reader, purpose=case.purpose,
        consent=case.consent, dataset=case.dataset, ethics=case.ethics, approved=case.approved, recent=case.recent,
    )  # fmt: skip


def _own_records(who: PartyFacts) -> list[dict[str, object]]:
    own = Question(action="upload", principal=who, owners=(who,), now_ms=_MOMENT)
    return [one for one in own.entities() if one["uid"]["type"] == "Records"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two sets of rules answer differently.

    Attributes:
        allowed: Requests that only the new set allows.
        denied: Requests that only the old set allowed.
        tried: How many requests both were asked.
    """

    allowed: tuple[Case, ...]
    denied: tuple[Case, ...]
    tried: int


def compare(old: PolicySet, new: PolicySet, others: Iterable[PartyFacts] = ()) -> Comparison:
    """Return what changes for people when sound rules replace others; the arguments are those of ``people``."""
    allowed, denied, tried = list[Case](), list[Case](), 0
    trials = _trials(changes(old, new))
    for who in people(old, new, others):
        before, after = answers(old, who, trials), answers(new, who, trials)
        tried += len(after)
        allowed += [case for case, permitted in after.items() if permitted and not before[case]]
        denied += [case for case, permitted in after.items() if not permitted and before[case]]
    return Comparison(tuple(sorted(allowed)), tuple(sorted(denied)), tried)
