"""What every kind of archive can be told: from which day, how fast, at which hours, which modalities."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """Settings of every archive.

    Attributes:
        since: First StudyDate that is read, such as 2026-01-31.
        overlap_days: Days before the newest day read that are looked at again for late studies and objects.
        modalities: Only series of these modalities (CT, MR, SR); none means all.
        objects_per_second: At most so many objects a second; 0 means as fast as the archive gives them.
        objects_per_run: After so many objects a run ends and the next one goes on.
        objects_per_request: Objects asked for at a time; 1 for archives that take no lists.
        hours: When objects may be fetched, such as 20:00-06:00, in the source's time zone; none means always.
        attempts: How often a lost connection is made anew before a run gives up.
        seconds: How long the archive may take to answer.
    """

    since: str
    overlap_days: int = 3
    modalities: tuple[str, ...] = ()
    objects_per_second: float = 0.0
    objects_per_run: int = 20_000
    objects_per_request: int = 16
    hours: tuple[str, ...] = ()
    attempts: int = 3
    seconds: float = 60.0

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.since)
        except ValueError:
            raise ValueError("since must be a day such as 2026-01-31") from None
        for one in self.hours:
            if not _HOURS.fullmatch(one):
                raise ValueError("hours must be such as 20:00-06:00")
        ranges = {
            "overlap_days": (0, 366),
            "objects_per_second": (0, 10_000),
            "objects_per_run": (1, 10_000_000),
            "objects_per_request": (1, 100),
            "attempts": (1, 20),
            "seconds": (0.1, 3_600),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least} to {most}")

    def takes(self, modality: str) -> bool:
        """Whether series of this modality are read."""
        return not self.modalities or modality in self.modalities

    def open_at(self, local: datetime) -> bool:
        """Whether objects may be fetched at this local time."""
        return not self.hours or any(_within(one, local.time()) for one in self.hours)


def _within(hours: str, now: time) -> bool:
    first, last = (60 * int(one[:2]) + int(one[3:]) for one in hours.split("-"))
    minute = 60 * now.hour + now.minute
    return first <= minute < last if first < last else minute >= first or minute < last
