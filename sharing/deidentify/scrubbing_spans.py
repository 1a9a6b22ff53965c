"""Places in a text where something is hidden, and how those that touch each other become one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text.

    Attributes:
        start: First character, from 0.
        end: The one behind the last.
        kind: What stood there: ``NAME``, ``ID``, ``PHONE``, … (``scrubbing.TOKENS``).
        rule: Which rule found it.
        token: What is written there; None for the kind's own token.
    """

    start: int
    end: int
    kind: str
    rule: str
    token: str | None = None


def settle(found: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in order, none of which overlap: where some did, one that covers all, of the longest one's kind."""
    settled: list[Span] = []
    for span in sorted(found, key=lambda one: (one.start, -one.end)):
        last = settled[-1] if settled else None
        if last is None or span.start >= last.end:
            settled.append(span)
        elif span.end > last.end:
            longer = max(last, span, key=lambda one: one.end - one.start)
            settled[-1] = replace(longer, start=last.start, end=span.end, token=None)
        elif last.token is not None:
            settled[-1] = replace(last, token=None)  # a moved date must not speak for what it lay over
    return tuple(settled)


def occurrences(text: str, wanted: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield where any of these stands, overlapping ones as well, in time that does not grow with their number."""
    lengths: dict[str, set[int]] = {}
    for one in wanted:
        lengths.setdefault(one[0], set()).add(len(one))
    for start, first in enumerate(text):
        for length in lengths.get(first, ()):
            if text[start : start + length] in wanted:
                yield start, start + length
