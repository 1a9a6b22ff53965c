"""What is known by its form or by the label before it: numbers, telephones, addresses of the net, number plates."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

from sharing.deidentify.scrubbing_checks import CHECKS, Check
from sharing.deidentify.scrubbing_data import rules
from sharing.deidentify.scrubbing_spans import Span


class _Rule(NamedTuple):
    id: str
    kind: str
    pattern: re.Pattern[str]
    check: Check | None
    asked: bool


@lru_cache(maxsize=1)
def _rules() -> tuple[_Rule, ...]:
    return tuple(
        _Rule(
            one["id"],
            one["kind"],
            re.compile(one["pattern"]),
            CHECKS[one["check"]] if "check" in one else None,
            one.get("asked", False),
        )
        for one in rules("patterns")["patterns"]
    )


def find_patterns(text: str, also: Collection[str] = ()) -> Iterator[Span]:
    """Yield what the patterns find, in half-width text; those that wait to be asked for only if ``also`` has them."""
    for rule in _rules():
        if rule.asked and rule.id not in also:
            continue
        for found in rule.pattern.finditer(text):
            group = found.lastgroup or 0
            if rule.check is None or rule.check(found[group]):
                yield Span(*found.span(group), rule.kind, rule.id)
