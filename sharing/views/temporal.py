"""Dates and times as FHIR writes them, compared and widened at the precision they have.

They stay the strings they are; what is said here is what two of them mean to each other.
Source: FHIRPath N1 (2.0.0), 6.2 (comparison) and its draft's ``lowBoundary`` and ``highBoundary``; FHIR R4, 2.24.0.1.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

_DATE: Final = r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?"
_TIME: Final = r"(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?"
_MOMENT: Final = re.compile(rf"{_DATE}(?:T(?:{_TIME})?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_CLOCK: Final = re.compile(_TIME, re.ASCII)
_LENGTH_OF_DAY: Final = 10
#: Offsets of the earliest and the latest place on Earth: where a date begins first and ends last.
_FIRST, _LAST = "+14:00", "-12:00"

#: Year, month, day, hour, minute, second and nanosecond as far as they are said, and seconds from UTC or None.
Parts = tuple[tuple[int, ...], int | None]


def read(text: str) -> Parts | None:
    """Return the parts of a date, dateTime or instant; None where it is none."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    *numbers, fraction, zone = match.groups()
    parts = _said(numbers, fraction)
    try:
        datetime(*(*parts[:6], *(1, 1, 1)[len(parts) :]))  # type: ignore[arg-type]  # noqa: DTZ001
        offset = _offset(zone)
    except ValueError:
        return None
    return parts, offset


def read_time(text: str) -> Parts | None:
    """Return hour, minute, second and nanosecond of a time; None where it is none."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    parts = _said(list(match.groups()[:3]), match[4])
    return (parts, None) if all(map(int.__lt__, parts, (24, 60, 60, 10**9))) else None


def _said(numbers: list[str | None], fraction: str | None) -> tuple[int, ...]:
    parts = [int(one) for one in numbers if one is not None]
    if len(parts) == len(numbers):  # seconds and their fraction are one precision (FHIRPath N1, 6.2)
        parts.append(int((fraction or "").ljust(9, "0")))
    return tuple(parts)


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    seconds = 0 if zone == "Z" else int(zone[1:3]) * 3600 + int(zone[4:]) * 60
    timezone(timedelta(seconds=seconds))
    return -seconds if zone.startswith("-") else seconds


def compare(left: str, right: str) -> int | None:
    """Return whether the left one is before (-1), at (0) or after (1) the right one.

    None where that cannot be said: one is less exact and they agree as far as it goes, only one of them has a zone, or
    one is no date or time.
    """
    if len(left) == len(right) and _alike(left, right):
        return (left > right) - (left < right)
    one, other = read(left), read(right)
    if one is None and other is None:
        one, other = read_time(left), read_time(right)
    if one is None or other is None:
        return None
    first, second = one[0], other[0]
    if len(first) > 3 and len(second) > 3:
        if (one[1] is None) != (other[1] is None):
            return None
        first, second = _in_utc(one), _in_utc(other)
    for a, b in zip(first, second, strict=False):
        if a != b:
            return 1 if a > b else -1
    return 0 if len(first) == len(second) else None


def _alike(left: str, right: str) -> bool:
    """Whether both are days, or both times to the second with the same fraction and zone: their text is their order."""
    if len(left) == _LENGTH_OF_DAY:
        return left[4] == right[4] == "-"
    return left[16:17] == right[16:17] == ":" and left[19:] == right[19:]


def _in_utc(parts: Parts) -> tuple[int, ...]:
    said, offset = parts
    if not offset:
        return said
    try:
        moment = datetime(*said[:6]) - timedelta(seconds=offset)  # type: ignore[arg-type]  # noqa: DTZ001
    except OverflowError:
        return said
    whole = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, *said[6:])
    return whole[: max(len(said), 5)]


def boundary(text: str, type_: str, high: bool) -> str | None:
    """Return the first or last date, moment or time that a less exact one may mean, to the millisecond.

    Args:
        text: As FHIR writes it.
        type_: ``date``, ``dateTime``, ``instant`` or ``time``.
        high: Whether the last one is meant.
    """
    parts = read_time(text) if type_ == "time" else read(text)
    if parts is None:
        return None
    said, offset = parts
    if type_ == "time":
        return _clock(said, high, "." in text)
    year, month, day = (*said[:3], *((12 if high else 1), 0)[len(said[:3]) - 1 :])[:3] if len(said) < 3 else said[:3]
    day = day or (monthrange(year, month)[1] if high else 1)
    whole = f"{year:04}-{month:02}-{day:02}"
    if type_ == "date":
        return whole
    zone = (_LAST if high else _FIRST) if offset is None else _zone(text)
    return f"{whole}T{_clock(said[3:], high, '.' in text)}{zone}"


def _zone(text: str) -> str:
    return "Z" if text.endswith("Z") else text[-6:]


def _clock(said: tuple[int, ...], high: bool, fraction: bool) -> str:
    rest = (23, 59, 59) if high else (0, 0, 0)
    hour, minute, second = (*said[:3], *rest[len(said[:3]) :])
    nanoseconds = said[3] if fraction else 999_000_000 if high else 0  # seconds without a fraction do not say zero
    return f"{hour:02}:{minute:02}:{second:02}.{nanoseconds // 1_000_000:03}"


def day(text: str) -> date | None:
    """Return the date as written; of a less exact one its first day; None where it is none."""
    try:
        return date.fromisoformat(text[:10]) if len(text) >= _LENGTH_OF_DAY else _first_day(text)
    except ValueError:
        return None


def _first_day(text: str) -> date | None:
    parts = read(text)
    return None if parts is None else date(*(*parts[0], 1, 1)[:3])


def moment(text: str) -> datetime | None:
    """Return the moment in UTC, of a less exact one its first; None where it is none or its zone is not said."""
    parts = read(text)
    if parts is None or (parts[1] is None and len(parts[0]) > 3):
        return None
    said, offset = parts
    whole = (*said[:6], *(1, 1, 1)[len(said) :][:3])
    try:
        found = datetime(*whole, tzinfo=UTC) - timedelta(seconds=offset or 0)  # type: ignore[misc,arg-type]
    except OverflowError:
        return None
    return found + timedelta(microseconds=said[6] // 1000 if len(said) > 6 else 0)
