"""The facts of two bundles side by side: what both say, what one says alone, and which rule names it; the figures."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle_facts import Fact

_PERCENTS = ("recall", "precision", "recall_of_all", "precision_of_all")


@dataclass(frozen=True, slots=True)
class Rule:
    """One deviation on purpose: whose fact it is about, which facts, in which messages, and why.

    Attributes:
        side: ``theirs`` (they say it, we do not) or ``ours`` (we say it, they do not).
        kind, type, element, value, message: Regular expressions that match whole; ``""`` matches anything.
        reason: Why it is on purpose.
    """

    side: str
    kind: re.Pattern[str]
    type: re.Pattern[str]
    element: re.Pattern[str]
    value: re.Pattern[str]
    message: re.Pattern[str]
    reason: str

    def names(self, fact: Fact, message: str) -> bool:
        """Whether the rule is about this fact of this message."""
        return bool(
            self.kind.fullmatch(fact.kind)
            and self.type.fullmatch(fact.type)
            and self.element.fullmatch(fact.element)
            and self.value.fullmatch(fact.value)
            and self.message.fullmatch(message)
        )


def read_rules(path: Path) -> list[Rule]:
    """Return the deviations on purpose.

    Raises:
        ValueError: A rule has no reason, or no side.
    """
    found = []
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["side"] not in ("ours", "theirs") or not row["reason"]:
                raise ValueError(f"{path.name}: a rule needs a side and a reason: {row}")
            kind, type_, element, value, message = (
                re.compile(row[name] or ".*", re.DOTALL) for name in ("kind", "type", "element", "value", "message")
            )
            found.append(Rule(row["side"], kind, type_, element, value, message, row["reason"]))
    return found


@dataclass(slots=True)
class Compared:
    """What one message gave: the facts both have, and those of one side, divided by whether a rule names them.

    Attributes:
        dropped: Those of ``missing_on_purpose`` whose value stands in the message and nowhere in our bundle.
    """

    message: str
    refused: str
    both: set[Fact]
    missing: set[Fact]
    missing_on_purpose: dict[Fact, Rule]
    extra: set[Fact]
    extra_on_purpose: dict[Fact, Rule]
    dropped: dict[Fact, Rule]

    def only(self, wanted: Callable[[Fact], bool]) -> Compared:
        """Return what of it is about these facts."""

        def of(side: Iterable[Fact]) -> set[Fact]:
            return {fact for fact in side if wanted(fact)}

        def ruled(side: dict[Fact, Rule]) -> dict[Fact, Rule]:
            return {fact: rule for fact, rule in side.items() if wanted(fact)}

        return Compared(
            self.message,
            self.refused,
            of(self.both),
            of(self.missing),
            ruled(self.missing_on_purpose),
            of(self.extra),
            ruled(self.extra_on_purpose),
            ruled(self.dropped),
        )


def divide(facts: set[Fact], rules: list[Rule], message: str) -> tuple[set[Fact], dict[Fact, Rule]]:
    """Return the facts that no rule names, and those that one does."""
    named: dict[Fact, Rule] = {}
    for fact in facts:
        rule = next((one for one in rules if one.names(fact, message)), None)
        if rule is not None:
            named[fact] = rule
    return facts - named.keys(), named


def figures(compared: list[Compared]) -> dict[str, Any]:
    """Return recall and precision over messages, with the deviations on purpose taken out and with them counted."""
    both = sum(len(one.both) for one in compared)
    missing, extra = (sum(len(getattr(one, side)) for one in compared) for side in ("missing", "extra"))
    lacking = sum(len(one.missing_on_purpose) for one in compared)
    adding = sum(len(one.extra_on_purpose) for one in compared)
    return {
        "messages": len(compared),
        "both": both,
        "missing": missing,
        "extra": extra,
        "recall": share(both, missing),
        "precision": share(both, extra),
        "missing_on_purpose": lacking,
        "extra_on_purpose": adding,
        "dropped": sum(len(one.dropped) for one in compared),
        "recall_of_all": share(both, missing + lacking),
        "precision_of_all": share(both, extra + adding),
    }


def figures_by(compared: list[Compared], what: Callable[[Fact], str]) -> dict[str, dict[str, Any]]:
    """Return the figures of each kind of fact, each type of resource, or whatever else facts are told apart by."""
    names = sorted({what(fact) for one in compared for fact in one.both | one.missing | one.extra})
    return {name: figures([one.only(lambda fact, name=name: what(fact) == name) for one in compared]) for name in names}


def share(part: int, rest: int) -> float | None:
    """Return the share of a part in the whole, or None of nothing."""
    return round(part / (part + rest), 4) if part + rest else None


def row(title: str, found: dict[str, Any]) -> list[object]:
    """Return the figures as the table shows them."""
    percents = [None if found[name] is None else f"{found[name]:.1%}" for name in _PERCENTS]
    return [title, *(found[name] for name in ("messages", "both", "missing", "extra")), *percents]


def show(title: str, compared: list[Compared], side: str, on_purpose: bool) -> None:
    """Print the facts of one side, the most frequent first, each with a message that holds it."""
    count: Counter[Fact] = Counter()
    example: dict[Fact, str] = {}
    for one in compared:
        facts = set(getattr(one, side)) | (set(getattr(one, f"{side}_on_purpose")) if on_purpose else set())
        count.update(facts)
        example.update(dict.fromkeys(facts, one.message))
    print(f"\n{title}")
    for fact, times in sorted(count.items(), key=lambda item: (-item[1], item[0])):
        print(f"{times:4} {fact}  [{example[fact]}]")
