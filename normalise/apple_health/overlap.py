"""Watch and phone count the same steps: which samples of a day stand where several devices cover the same time.

The device whose samples cover most of the record's time comes first (of equals the one with more samples, then by
name), and all of its samples stand. Those of the next device stand where no sample of an earlier one lies in their
time, and so on. So a day adds up to one device's count, with the gaps filled by the others: nothing is counted twice,
and the choice depends on the samples alone, not on their order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Span:
    """One sample's time and device.

    Attributes:
        start: When it began.
        end: When it ended; the same for an instant.
        source: The device's name.
        number: Its place among the samples.
    """

    start: datetime
    end: datetime
    source: str
    number: int


def standing(spans: Sequence[Span]) -> set[int]:
    """Return the numbers of the samples that stand."""
    by_source: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_source[span.source].append(span)
    kept: set[int] = set()
    taken: list[tuple[datetime, datetime]] = []
    for source in sorted(by_source, key=lambda name: _rank(name, by_source[name])):
        free = [one for one in by_source[source] if not _lies_in(one, taken)]
        kept.update(one.number for one in free)
        taken = _joined([*taken, *((one.start, one.end) for one in free)])
    return kept


def _rank(name: str, spans: Sequence[Span]) -> tuple[float, int, str]:
    covered = sum((end - start).total_seconds() for start, end in _joined([(one.start, one.end) for one in spans]))
    return -covered, -len(spans), name


def _joined(spans: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Return the spans in order, those that overlap as one; two that only touch stay two."""
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _lies_in(span: Span, taken: list[tuple[datetime, datetime]]) -> bool:
    """Whether any of the taken spans (in order, apart) shares time with this one."""
    if not taken:
        return False
    # The last one that begins before this ends; of an instant, the last that begins at it or before.
    find = bisect_left if span.end > span.start else bisect_right
    before = find(taken, span.end, key=lambda one: one[0])
    start, end = taken[before - 1] if before else (span.end, span.end)
    return before > 0 and (end > span.start or (end == start == span.start))
