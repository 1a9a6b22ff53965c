"""What the rules would say to a request now, by which sentence, and what would change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import combinations, product
from typing import Any

from ledger.chain.roster import Registration
from ledger.chain.rules import Ledger
from ledger.contracts.policy import PolicySet, party_facts
from ledger.contracts.policy_check import Rule, rules_of
from ledger.contracts.policy_request import PURPOSES, PartyFacts, Question
from ledger.contracts.policy_trials import numbers_in
from ledger.credit.scoring import HIGHEST
from ledger.encoding import ZERO_DIGEST
from ledger.messages.access import decide
from ledger.messages.request_state import RequestState, Verdict


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that decided.

    Attributes:
        id: Its ``@id``.
        says: Its sentence.
    """

    id: str
    says: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules say.

    Attributes:
        verdict: As the receipt would have it.
        reasons: The rules that decided; of a request that waits, those that would permit it.
        remedies: Ways to have it allowed, the shortest first: each names everything that must change together.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...]
    remedies: tuple[tuple[str, ...], ...]

    @property
    def word(self) -> str:
        """``allowed``, ``pending`` or ``denied``."""
        return "allowed" if self.verdict.allowed else "pending" if self.verdict.pending else "denied"


def answer(ledger: Ledger, request: RequestState) -> Answer:
    """Return what the rules in force say to a request for a dataset, and what would change it; nothing is written.

    Args:
        ledger: The chain, as the next block would find it.
        request: As ``AccessRequest.facts`` has it.

    Raises:
        Refused: Somebody named is not registered.
    """
    verdict = decide(ledger, request)
    if not ledger.policies:
        return Answer(verdict, (), (("The chain has no rules yet; governance proposes some.",),))
    rules = PolicySet.decode(ledger.policies)
    said = rules_of(rules.text)
    reasons = tuple(Reason(one.id, one.says) for one in said if one.id in verdict.policies)
    if verdict.allowed:
        return Answer(verdict, reasons, ())
    asked = _question(ledger, request)
    return Answer(verdict, reasons, tuple(_remedies(rules, said, asked)))


def reasons_of(policies: bytes, ids: Sequence[str]) -> tuple[Reason, ...]:
    """Return rules by id in their own sentences; one that is no longer in force keeps its id alone.

    Args:
        policies: The encoded policy set; empty for none.
        ids: Of a receipt.
    """
    said = {one.id: one.says for one in rules_of(PolicySet.decode(policies).text)} if policies else {}
    return tuple(Reason(one, said.get(one, "a rule that is no longer in force")) for one in ids)


def _question(ledger: Ledger, request: RequestState) -> Question:
    """Return what the engine is asked about a dataset that nobody has approved yet."""
    parties = {one: _party(ledger, one) for one in (request.requester, *request.holders)}
    return Question(
        action="access", principal=parties[request.requester], owners=tuple(parties[one] for one in request.holders),
        now_ms=ledger.time_ms, reader=request.reader, purpose=request.purpose, dataset=not request.is_record,
        ethics=request.ethics != ZERO_DIGEST, approved=request.approved, records=request.most, recent=request.recent,
    )  # fmt: skip


def _party(ledger: Ledger, institution: bytes) -> PartyFacts:
    found = ledger.roster.registration(institution)
    if not isinstance(found, Registration):
        raise RuntimeError("the rules were asked about it before")
    return party_facts(ledger, found)


#: One thing that may change: how the question would read then, and the sentence for it.
Change = tuple[Callable[[Question], Question], str]


def _changes(said: Sequence[Rule], asked: Question) -> Iterator[Sequence[Change]]:
    """Yield what could change, each as its degrees from the least on."""
    who, numbers = asked.principal, sorted({number for one in said for number in numbers_in(one)})
    if not asked.approved:
        yield [(partial(replace, approved=True), "Two members of the data access committee approve it.")]
    if not asked.ethics:
        yield [(partial(replace, ethics=True), "It names the approval of an ethics committee: fill in `ethics`.")]
    if asked.recent:
        waited = f"It waits for the next epoch: {asked.recent} requests were made in this one."
        yield [(partial(replace, recent=0), waited)]
    if asked.reader:
        yield [(partial(replace, reader=""), "The institution itself reads: leave `reader` empty.")]
    if who.standing != "active":
        thawed = f"Governance lets {who.name} act again: it is {who.standing}."
        yield [(partial(_as, standing="active"), thawed)]
    yield [
        (partial(_as, credit=one), f"{who.name} has a credit of {one} or more; it is {who.credit}.")
        for one in numbers
        if who.credit < one <= HIGHEST
    ]
    yield [
        (partial(replace, records=one), f"It asks for {one} records or fewer: lower `most`.")
        for one in reversed(numbers)
        if 0 < one < asked.records
    ]


def _as(asked: Question, **facts: Any) -> Question:
    return replace(asked, principal=replace(asked.principal, **facts))


def _remedies(rules: PolicySet, said: Sequence[Rule], asked: Question) -> Iterator[tuple[str, ...]]:
    """Yield the smallest sets of changes that the rules would allow it with."""
    kinds = [one for one in _changes(said, asked) if one]
    for size in range(1, len(kinds) + 1):
        found = [way for some in combinations(kinds, size) if (way := _way(rules, asked, some)) is not None]
        if found:
            yield from found
            return
    yield _other_purposes(rules, asked)


def _way(rules: PolicySet, asked: Question, kinds: Sequence[Sequence[Change]]) -> tuple[str, ...] | None:
    """Return the sentences of changes of these kinds that suffice together, each as small as may be."""
    degrees = sorted(product(*(range(len(one)) for one in kinds)), key=sum)
    for places in degrees:
        chosen = [kind[place] for kind, place in zip(kinds, places, strict=True)]
        if rules.decide(reduce(lambda question, change: change[0](question), chosen, asked)).allowed:
            return tuple(sentence for _, sentence in chosen)
    return None


def _other_purposes(rules: PolicySet, asked: Question) -> tuple[str, ...]:
    best = replace(asked, approved=True, ethics=True, recent=0, reader="")
    other = [one for one in PURPOSES if rules.decide(replace(best, purpose=one)).allowed]
    kind = asked.principal.party
    if other:
        return (f"No rule lets {_a(kind)} have a dataset for {asked.purpose}; the rules know: {', '.join(other)}.",)
    return (f"No rule lets {_a(kind)} have such a dataset; see `xinglin policy show`, and propose one.",)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
