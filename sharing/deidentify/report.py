"""What de-identification dropped and changed: places and rules with counts, and no value of anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: A place in a resource without indexes (``Patient.name``), and the rule that was applied there.
Applied = tuple[str, str]

_SENTENCES: Final = {
    "unlisted": "dropped: no rule lists it",
    "type": "dropped whole: no rule lists the type",
    "modifier": "dropped whole: it carries a modifier that no rule knows, without which it would say something else",
    "shape": "dropped: it does not have the shape that FHIR gives it",
    "empty": "dropped: nothing of it was left that FHIR demands",
    "not-closed": "dropped: not a value of the closed list or form that may stand here",
    "dangling": "dropped: what it refers to does not leave",
    "meta": "replaced by the one label that identities are pseudonyms",
    "masked": "replaced by FHIR's data-absent-reason 'masked', since FHIR demands the element",
}


@dataclass(slots=True)
class Report:
    """Counts by place and rule; ``drop``-like rules took something away, the others changed it.

    Attributes:
        counts: How often each rule was applied at each place.
        taken: Resources (objects, texts) that came.
        left: Of those, how many left.
    """

    counts: Counter[Applied] = field(default_factory=Counter)
    taken: int = 0
    left: int = 0

    def note(self, place: str, rule: str, times: int = 1) -> None:
        """Count one application of a rule at a place; neither may hold a value."""
        self.counts[place, rule] += times

    def add(self, other: Report) -> None:
        """Take another report's counts in."""
        self.counts.update(other.counts)
        self.taken += other.taken
        self.left += other.left

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"taken", "left", "applied": {place: {rule: count}}}``, sorted: equal reports give equal bytes."""
        applied: dict[str, dict[str, int]] = {}
        for (place, rule), count in sorted(self.counts.items()):
            applied.setdefault(place, {})[rule] = count
        return {"taken": self.taken, "left": self.left, "applied": applied}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Report:
        """Return the report that ``as_dict`` wrote."""
        pairs = {(place, rule): n for place, rules in value["applied"].items() for rule, n in rules.items()}
        return cls(Counter(pairs), value["taken"], value["left"])

    def sentences(self, rules: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield what was done in plain sentences, most frequent first.

        Args:
            rules: What each rule does, by its name (``Profile.sentences``); the general ones are known.
        """
        known = {**_SENTENCES, **(rules or {})}
        yield f"{self.taken} came, {self.left} left, {self.taken - self.left} stayed behind."
        for (place, rule), count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            yield f"{count} × {place}: {known.get(rule, rule)}"
