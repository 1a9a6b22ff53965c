"""HL7 v2 dates and times as FHIR ones: precision kept, offset kept or the source's own, nothing invented.

Sources: HL7 v2.8.2 chapter 2A (DT, TM, DTM); FHIR R4 datatypes (date, dateTime, instant, time).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

Precision = Literal["year", "month", "day", "minute", "second"]

_MOMENT: Final = re.compile(
    r"(\d{4})(?:-?(\d\d)(?:-?(\d\d)(?:[ T]?(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?)?)?)?"
    r"(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?(?:[+-]\d{4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date or time as FHIR writes it.

    Attributes:
        value: FHIR dateTime.
        precision: How exact the sender was.
        note: What had to be completed or left out, or ``""``.
    """

    value: str
    precision: Precision
    note: str = ""

    @property
    def date(self) -> str:
        """The FHIR date: the local calendar day at its own offset, or less."""
        return self.value[:10]

    @property
    def instant(self) -> str | None:
        """The FHIR instant, or None where the sender was not exact to the minute."""
        return self.value if self.precision in ("minute", "second") else None


@lru_cache(maxsize=8192)
def moment(raw: str, zone: str) -> Moment | None:
    """Return what an HL7 v2 DT, DTM or TS says, or None where it is no date.

    Args:
        raw: The component as it came, ``20260616231418+0800``.
        zone: IANA name of the zone that a time without offset is in.
    """
    match = _MOMENT.fullmatch(raw.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        local = datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
        )
        tail, ambiguous = _offset(offset, local, zone) if minute else ("", False)
    except (ValueError, OverflowError):
        return None
    if not minute:
        return _date(year, month, day, hour)
    value = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{'.' + fraction if fraction else ''}{tail}"
    if ambiguous:
        return Moment(value, "second", "the clock showed this time twice that day; read as the first. Send an offset.")
    if not second:
        return Moment(value, "minute", "seconds are missing and FHIR requires them; written as 00.")
    return Moment(value, "second")


def later(start: str, span: timedelta) -> str:
    """Return the FHIR time that is so much later than another, at the same offset; empty beyond the year 9999."""
    try:
        return (datetime.fromisoformat(start) + span).isoformat()
    except OverflowError:
        return ""


def time_of_day(raw: str) -> str | None:
    """Return an HL7 v2 TM as a FHIR time, or None where it is no time exact to the minute."""
    match = _TIME.fullmatch(raw.strip())
    if match is None or match[2] is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        return None
    return f"{match[1]}:{match[2]}:{match[3] or '00'}{'.' + match[4] if match[4] else ''}"


def _date(year: str, month: str | None, day: str | None, hour: str | None) -> Moment:
    if not month:
        return Moment(year, "year")
    if not day:
        return Moment(f"{year}-{month}", "month")
    note = "an hour without minutes is no FHIR time; kept as a date." if hour else ""
    return Moment(f"{year}-{month}-{day}", "day", note)


def _offset(sent: str | None, local: datetime, zone: str) -> tuple[str, bool]:
    """The offset as FHIR writes it, and whether the zone's clock showed the local time twice."""
    if sent == "Z":
        return "+00:00", False
    if sent:
        hours, minutes = int(sent[1:3]), int(sent[-2:])
        if hours * 60 + minutes > 14 * 60 or minutes > 59:
            raise ValueError
        return f"{sent[0]}{sent[1:3]}:{sent[-2:]}" if hours or minutes else "+00:00", False
    first = local.replace(tzinfo=ZoneInfo(zone))
    offset, later = first.utcoffset(), first.replace(fold=1).utcoffset()
    if offset is None or later is None or _crosses(local, offset):
        raise ValueError
    minutes = round(offset.total_seconds() / 60)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}", later < offset


def _crosses(local: datetime, offset: timedelta) -> bool:
    """Whether the moment leaves the calendar that Python and FHIR can write."""
    try:
        local.replace(tzinfo=timezone(offset)).timestamp()
    except (OverflowError, ValueError, OSError):
        return True
    return False
