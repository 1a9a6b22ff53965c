"""Times of samples as FHIR has them: the instant with the offset that the sender knew (FHIR R4, 2.24.0.1 dateTime)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)? ?([Zz]|[+-]\d\d:?\d\d)", re.ASCII
)  # also HealthKit's "2026-01-10 07:00:00 +0800"
_OFFSET: Final = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2}):?(\d\d)?", re.ASCII)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)


def from_text(text: str) -> datetime | None:
    """Return the time of an RFC 3339 text, or of one with blanks as HealthKit writes it; None where it is none.

    A leap second is the second before it; fractions beyond microseconds are cut.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    if clock.endswith(":60"):
        clock = clock[:-2] + "59"
    offset = "+00:00" if offset in "Zz" else offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"
    try:
        found = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{offset}")
    except ValueError:
        return None
    return found if _FIRST < found < _LAST else None


def from_epoch(seconds: Decimal | int | float, zone: tzinfo = UTC) -> datetime | None:
    """Return the time so many seconds after 1970 in a zone, or None where the calendar has none such."""
    try:
        found = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(Decimal(seconds) * 1_000_000))
        return found.astimezone(zone)
    except (OverflowError, ValueError, ArithmeticError):
        return None


def local(text: str, form: str, zone: tzinfo) -> datetime | None:
    """Return the time of a text without an offset, read by a ``strptime`` form in a zone."""
    try:
        found = datetime.strptime(text, form).replace(tzinfo=zone)
        return found if _FIRST < found < _LAST else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=512)
def zone_of(name: str, otherwise: str) -> tzinfo:
    """Return the zone of an IANA name or an offset (``-0600``, ``GMT+8``); the other where it is none."""
    match = _OFFSET.fullmatch(name)
    if match:
        ahead = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        if ahead < timedelta(hours=24):
            return timezone(-ahead if match[1] == "-" else ahead)
    try:
        return ZoneInfo(name or otherwise)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(otherwise)


def fhir(time: datetime) -> str:
    """Return the FHIR dateTime with seconds, the fraction only where there is one, and the offset."""
    text = time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")
    if time.utcoffset() == timedelta(0):
        return text[:-6] + "Z"
    return text if text[-6] in "+-" else text[:-3]  # offsets before standard time had seconds, FHIR's have none
