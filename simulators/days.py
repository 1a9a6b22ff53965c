"""Which days of the synthetic region there were: the demonstration writes them, its peers read them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Final

_NAME: Final = "demo.days"


def days(home: Path) -> list[date]:
    """Return the calendar day of each day so far; the first is day 0."""
    try:
        return [date.fromisoformat(one) for one in json.loads((home / _NAME).read_text(encoding="ascii"))]
    except FileNotFoundError:
        return []


def is_simulated(home: Path) -> bool:
    """Whether the home is a demonstration's."""
    return (home / _NAME).exists()


def prepare(home: Path) -> None:
    """The home is a demonstration's, even before its first day."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(home, days(home))


def begin_day(home: Path) -> int:
    """A new day begins; returns its number, from 0."""
    before = days(home)
    _write(home, [*before, date.today()])  # noqa: DTZ011  (an archive's own calendar)
    return len(before)


def _write(home: Path, found: list[date]) -> None:
    partial = home / f"{_NAME}.partial"
    partial.write_text(json.dumps([one.isoformat() for one in found]), encoding="ascii")
    partial.replace(home / _NAME)
