"""Dates in a text: hidden, cut to the year, or moved with the person's other dates and written as they were."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from typing import Final, Literal

from sharing.deidentify.scrubbing_data import rules
from sharing.deidentify.scrubbing_spans import Span

_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((one["id"], re.compile(one["pattern"])) for one in rules("dates")["patterns"])


def find_dates(text: str, dates: Literal["hide", "year"] | Callable[[date], date]) -> Iterator[Span]:
    """Yield every date, with what is written in its place; years alone and durations are none."""
    for name, pattern in _patterns():
        for found in pattern.finditer(text):
            yield Span(*found.span(), "DATE", name, _token(found, dates))


def _token(found: re.Match[str], dates: Literal["hide", "year"] | Callable[[date], date]) -> str | None:
    parts = found.groupdict()
    if dates == "hide":
        return None
    if dates == "year":
        return f"{parts['y']}年" if parts.get("y") else None
    if not callable(dates) or not parts.get("y") or not parts.get("d"):
        return None
    try:
        month = int(parts["m"]) if parts.get("m") else _MONTHS.index(parts["mon"]) + 1
        return dates(date(int(parts["y"]), month, int(parts["d"]))).isoformat()
    except (ValueError, OverflowError):
        return None
