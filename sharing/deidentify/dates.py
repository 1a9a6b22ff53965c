"""Dates of one person: moved together, or cut to the year. Text in, text out; None for what is no date.

A shift moves whole days, and the clock of times by up to half an hour: between two times of a person, and between two
dates, exactly as much passes after it as before; morning stays morning; no clock time can be looked up elsewhere. A
partial date stands for its middle, which moves with the rest, and is cut again, so it becomes no nonsense such as the
first of a month. GB/T 37964-2019, annex A (randomisation); the year alone: 45 CFR 164.514(b)(2)(i)(C).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Final

#: FHIR R4 date and dateTime; seconds are required where there is a time, and so is the offset.
_DATE: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much one person's dates move.

    Attributes:
        days: Whole days.
        minutes: That the clock moves beside them.
        zone: Hours that moved times are written in, from UTC; an offset of the sender's would say where they were.
    """

    days: timedelta
    time: timedelta
    zone: timezone

    @classmethod
    def of(cls, days: int, minutes: int, zone_hours: int) -> Shift:
        """Return the shift by these days, and these days and minutes."""
        return cls(timedelta(days), timedelta(days, minutes=minutes), timezone(timedelta(hours=zone_hours)))

    def moved(self, text: str) -> str | None:
        """Return a FHIR date, dateTime or instant moved; fractions of a second are cut off."""
        try:
            if len(text) > 10:
                if _TIME.fullmatch(text) is None:
                    return None
                return (datetime.fromisoformat(text) + self.time).astimezone(self.zone).isoformat(timespec="seconds")
            return self._date(text)
        except (ValueError, OverflowError):
            return None

    def _date(self, text: str) -> str | None:
        found = _DATE.fullmatch(text)
        if found is None:
            return None
        year, month, day = found.groups()
        middle = date(int(year), int(month or 7), int(day or (15 if month else 2)))
        return (middle + self.days).isoformat()[: len(text)]


def year(text: str) -> str | None:
    """Return the year of a FHIR date, dateTime or instant."""
    found = _DATE.match(text)
    return None if found is None or int(found[1]) < 1 else found[1]
