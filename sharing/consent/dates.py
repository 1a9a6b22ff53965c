"""When a record's content happened: what consents that permit or deny by date are asked with.

Which elements say it stands in ``schemas/consent/dates.json``. Dates without a zone are those of the region, UTC+8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import schemas
from ledger.messages.provisions import FOREVER, Interval

REGION: Final = timezone(timedelta(hours=8))
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: FHIR R4 2.24.0.1: date, dateTime and instant, with as much of them as is known.
_TIME: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?"
)
Place = tuple[tuple[str, ...], ...]


@cache
def _places() -> dict[str, tuple[Place, ...]]:
    """Return by type where its date may stand: each a path, or the paths of a beginning and an end."""
    found: dict[str, tuple[Place, ...]] = {}
    for row in table()["dated"]:
        elements = ([one] if isinstance(one, str) else one for one in row["elements"])
        places = tuple(tuple(tuple(path.split(".")) for path in one) for one in elements)
        found |= dict.fromkeys(row["types"], places)
    return found


@cache
def table() -> dict[str, Any]:
    """Return ``schemas/consent/dates.json``."""
    path = Path(schemas.__file__).parent / "consent" / "dates.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def nobodys() -> frozenset[str]:
    """Return the types that say nothing of a patient, of which no date is asked."""
    return frozenset(one for row in table()["nobodys"] for one in row["types"])


def extent(body: Mapping[str, Any]) -> Interval | None:
    """Return from when until when a resource's content happened, or None where it does not say.

    Returns:
        Milliseconds since 1970 UTC, the end excluded; ``FOREVER`` where it lasts, 0 for all that came before 1970.
    """
    found = _extent(body)
    if found is None:
        return None
    start, end = found
    begins = 0 if start is None else max(0, milliseconds(start))
    return begins, FOREVER if end is None else max(milliseconds(end), begins + 1)


def dated(body: Mapping[str, Any]) -> tuple[date, date] | None:
    """Return the first and last day of a resource's content in the region's zone, or None where it does not say.

    ``date.min`` and ``date.max`` stand for a beginning and an end that are open.
    """
    found = _extent(body)
    if found is None:
        return None
    start, end = found
    first = date.min if start is None else _local(start)
    return first, date.max if end is None else max(first, _local(end - timedelta(milliseconds=1)))


@lru_cache(maxsize=65_536)
def span(text: str) -> tuple[datetime, datetime] | None:
    """Return the beginning and the end, excluded, of a FHIR date, dateTime or instant; None where it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[number] or 0) for number in range(1, 7))
    zone = _zone(match["zone"])
    try:
        start = datetime(year, month or 1, day or 1, hour, minute, min(second, 59), tzinfo=zone)
        if match["hour"]:
            return _within_minute(start, match)
        if match["day"]:
            return start, start + timedelta(days=1)
        following = (year + month // 12, month % 12 + 1) if match["month"] else (year + 1, 1)
        return start, datetime(*following, 1, tzinfo=zone)
    except (ValueError, OverflowError):
        return None


def _within_minute(start: datetime, match: re.Match[str]) -> tuple[datetime, datetime]:
    if match["second"] is None:
        return start, start + timedelta(minutes=1)
    if match["fraction"] is None:
        return start, start + timedelta(seconds=1)
    start += timedelta(milliseconds=int(match["fraction"][:3].ljust(3, "0")))
    return start, start + timedelta(milliseconds=1)


def _zone(text: str | None) -> timezone:
    if text is None:
        return REGION
    if text == "Z":
        return UTC
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-ahead if text[0] == "-" else ahead) if ahead < timedelta(days=1) else UTC


Extent = tuple[datetime | None, datetime | None]


def _extent(body: Mapping[str, Any]) -> Extent | None:
    for place in _places().get(str(body.get("resourceType")), ()):
        found = [_at(body, path) for path in place]
        value = found[0] if len(found) == 1 else {"start": found[0], "end": found[1]}
        if (read := _value(value)) is not None:
            return read
    return None


def _at(body: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def _value(value: Any) -> Extent | None:
    """Return the extent of a date, a Period or a Timing."""
    if isinstance(value, str):
        return span(value)
    if not isinstance(value, Mapping):
        return None
    if "event" in value:
        spans = [one for one in map(_value, value["event"]) if one] if isinstance(value["event"], list) else []
        starts, ends = [one[0] for one in spans if one[0]], [one[1] for one in spans if one[1]]
        return (min(starts), max(ends)) if starts and ends else None
    if "repeat" in value:
        return _value(_at(value, ("repeat", "boundsPeriod")))
    start, end = (span(one) if isinstance(one, str) else None for one in (value.get("start"), value.get("end")))
    return (start and start[0], end and end[1]) if start or end else None


def _local(moment: datetime) -> date:
    try:
        return moment.astimezone(REGION).date()
    except OverflowError:
        return moment.date()


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970 UTC."""
    past = moment - EPOCH  # dividing it by a timedelta takes ten times as long
    return (past.days * 86_400 + past.seconds) * 1_000 + past.microseconds // 1_000


def moment(ms: int) -> datetime:
    """Return the region's time of milliseconds since 1970 UTC; OverflowError beyond the year 9999."""
    return (EPOCH + timedelta(milliseconds=ms)).astimezone(REGION)
