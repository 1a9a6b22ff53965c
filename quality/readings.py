"""How a column makes a plain value of what its path found.

Each reading takes the list that a path found and gives a text, a number or None (nothing there, or nothing
that can be read). Times become seconds since 1970 in UTC, so that rules compare them as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

Reading = Callable[[list[Any]], Any]

# A date without an offset begins first where clocks are furthest ahead and ends last where they are furthest
# behind. Reading it so, no rule ever refuses a record over a time zone that the sender did not give.
_AHEAD: Final = timezone(timedelta(hours=14))
_BEHIND: Final = timezone(-timedelta(hours=12))

_PLAIN: Final = (str, int, float)
_NUMBERS: Final = (int, float)
_LEAP_SECOND: Final = re.compile(r"(T\d\d:\d\d):60")
_IDENTITY: Final = re.compile(r"[1-9]\d{5}(\d{8})\d{2}(\d)[\dXx]")
_OLD_IDENTITY: Final = re.compile(r"[1-9]\d{5}\d{2}(0[1-9]|1[0-2])\d{2}\d{3}")
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK: Final = "10X98765432"


def value(found: list[Any]) -> Any:
    """The first plain value."""
    for one in found:
        if isinstance(one, _PLAIN):
            return one
    return None


def number(found: list[Any]) -> float | None:
    """The first number, as a float."""
    for one in found:
        if isinstance(one, _NUMBERS):
            return float(one)
    return None


def present(found: list[Any]) -> bool:
    """Whether anything is there; never None."""
    return bool(found)


def count(found: list[Any]) -> int:
    """How many there are; never None."""
    return len(found)


def earliest(found: list[Any]) -> float | None:
    """The first instant that a FHIR date or time can mean, in seconds."""
    text = value(found)
    if not isinstance(text, str):
        return None
    if "T" in text:
        return _instant(text)
    parts = _date_parts(text)
    return None if parts is None else _seconds(parts, _AHEAD)


def latest(found: list[Any]) -> float | None:
    """The instant at which what a FHIR date or time can mean is over, in seconds."""
    text = value(found)
    if not isinstance(text, str):
        return None
    if "T" in text:
        return _instant(text)
    parts = _date_parts(text)
    if parts is None:
        return None
    if text.count("-") == 2:
        return _seconds(parts, _BEHIND, days=1)
    year, month = (parts.year, parts.month + 1) if "-" in text else (parts.year + 1, 1)
    if month > 12:
        year, month = year + 1, 1
    return _seconds(date(year, month, 1), _BEHIND) if year <= 9999 else None


def _instant(text: str) -> float | None:
    if ":60" in text:  # Python has no leap second; it is within a second of the one before it
        text = _LEAP_SECOND.sub(r"\1:59", text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _date_parts(text: str) -> date | None:
    try:
        return date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return None


def _seconds(day: date, zone: timezone, days: int = 0) -> float | None:
    try:
        moment = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=days)
        return moment.timestamp()
    except OverflowError:
        return None


def identity(found: list[Any]) -> str | None:
    """How a resident identity number stands (GB 11643-1999): ``ok``, ``form``, ``date`` or ``checksum``.

    Numbers of 15 digits, issued before 1999, have no check character; only their form is judged.
    """
    text = value(found)
    if text is None:
        return None
    text = str(text).strip()
    if _OLD_IDENTITY.fullmatch(text):
        return "ok"
    match = _IDENTITY.fullmatch(text)
    if not match:
        return "form"
    if _compact_date(match[1]) is None:
        return "date"
    total = sum(int(digit) * weight for digit, weight in zip(text, _WEIGHTS, strict=False))
    return "ok" if _CHECK[total % 11] == text[17].upper() else "checksum"


def identity_birth(found: list[Any]) -> str | None:
    """The birth date that a resident identity number of 18 places holds, ``YYYY-MM-DD``."""
    match = _identity(found)
    return match and _compact_date(match[1])


def identity_sex(found: list[Any]) -> str | None:
    """The sex that a resident identity number of 18 places holds: ``male`` or ``female``."""
    match = _identity(found)
    return match and ("male" if int(match[2]) % 2 else "female")


def _identity(found: list[Any]) -> re.Match[str] | None:
    text = value(found)
    return _IDENTITY.fullmatch(text.strip()) if isinstance(text, str) else None


def _compact_date(digits: str) -> str | None:
    try:
        return date.fromisoformat(digits).isoformat()
    except ValueError:
        return None


def full_date(found: list[Any]) -> str | None:
    """The value where it is a whole date, ``YYYY-MM-DD``; None for a year or a month."""
    text = value(found)
    return text if isinstance(text, str) and len(text) == 10 else None


READINGS: Final[dict[str, Reading]] = {
    "value": value,
    "number": number,
    "present": present,
    "count": count,
    "earliest": earliest,
    "latest": latest,
    "full_date": full_date,
    "identity": identity,
    "identity_birth": identity_birth,
    "identity_sex": identity_sex,
}
#: Readings whose columns hold floats.
NUMERIC: Final = frozenset({"number", "earliest", "latest"})
