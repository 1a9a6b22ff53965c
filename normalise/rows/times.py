"""Dates and times in columns as FHIR ones: as exact as they came, at their own offset or in the source's zone.

Source: FHIR R4 datatypes (date, dateTime, instant).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

_ISO: Final = re.compile(
    r"(\d{4})(?:[-/.年]?(\d{1,2})(?:[-/.月]?(\d{1,2})日?"
    r"(?:[T ]?(\d{1,2})(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?)?)?)?月?\s?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


@lru_cache(maxsize=16_384)
def moment(text: str, zone: str, formats: tuple[str, ...] = ()) -> str | None:
    """Return what a text says as a FHIR dateTime, or None where it is no date.

    Args:
        text: ``2026-05-01 08:00:00``, ``20260501``, ``2026/5/1``, ``2026年5月1日`` and the like.
        zone: IANA zone of a time without an offset.
        formats: Forms of ``strptime`` that are tried instead.
    """
    text = text.strip()
    for form in formats:
        try:
            return _written(datetime.strptime(text, form), form, zone)  # noqa: DTZ007 - the zone is put to it below
        except (ValueError, OverflowError):
            continue
    if formats:
        return None
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        local = datetime(  # noqa: DTZ001 - the zone is put to it below
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0)
        )
        if not minute:
            return _day(year, month, day)
        clock = f"{local:%H:%M:%S}" + (f".{fraction}" if fraction else "")
        return f"{year}-{local:%m-%d}T{clock}{_sent(offset) or _offset(local, zone)}"
    except (ValueError, OverflowError):
        return None


def day_of(value: str) -> str:
    """Return the FHIR date of a FHIR dateTime: the calendar day at its own offset."""
    return value[:10]


def is_instant(value: str) -> bool:
    """Whether a FHIR dateTime is exact enough for an instant."""
    return "T" in value


def _day(year: str, month: str | None, day: str | None) -> str:
    return "-".join([year, *(part.zfill(2) for part in (month, day) if part)])


def _written(local: datetime, form: str, zone: str) -> str:
    if not any(mark in form for mark in ("%H", "%I", "%c", "%X")):
        return f"{local.year:04}-{local:%m-%d}"
    if local.tzinfo:
        return local.isoformat()
    return local.isoformat() + _offset(local, zone)


def _sent(offset: str | None) -> str:
    if not offset:
        return ""
    if offset == "Z":
        return "+00:00"
    if int(offset[1:3]) > 14 or int(offset[-2:]) > 59:
        raise ValueError
    return f"{offset[:3]}:{offset[-2:]}"


def _offset(local: datetime, zone: str) -> str:
    offset = local.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta(0)
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
