"""A window of a source's past is read again: in a pool of its own, behind all that arrives, moving no cursor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from connectors import Retry, mode, open_connector
from connectors.contract import Page
from dags.steps.errors import Stop
from dags.steps.site import Site, site
from schemas.records import RawRecord
from schemas.source import Source
from shangmi import Sm3

log = logging.getLogger(__name__)


def pull_past(source_id: str, begin: str, end: str, at: Site | None = None) -> dict[str, int]:
    """Everything the source dates from ``begin`` to before ``end`` has landed, what had landed before only counted.

    Args:
        source_id: The source.
        begin: ISO 8601 with an offset, or a date in the source's time zone.
        end: The same, not included.
        at: This machine's site.

    Returns:
        Counts: ``received``, ``landed``, ``duplicate``.

    Raises:
        Stop: The source's kind cannot read a window, or the window is none.
    """
    at = at or site()
    source = at.source(source_id)
    landing, counts = at.vault(source.institution).landing, dict.fromkeys(("received", "landed", "duplicate"), 0)
    expected: int | None = None
    for page in window(source, at, *moments(source, begin, end)):
        raws = [one for one in page.records if isinstance(one, RawRecord)]
        unreadable = [one for one in page.records if not isinstance(one, RawRecord)]
        landed = landing.put_many(raws, past=True) + [landing.put_unreadable(one) for one in unreadable]
        counts["received"] += len(landed)
        counts["landed"] += sum(one.new for one in landed)
        expected = page.expected
    if expected is not None and counts["received"] < expected:
        raise Retry(f"{source_id}: the source counts {expected} records in that time and {counts['received']} came")
    counts["duplicate"] = counts["received"] - counts["landed"]
    log.info("backfill %s: %s", source_id, counts)
    return counts


def moments(source: Source, begin: str, end: str) -> tuple[datetime, datetime]:
    """Return a window's two ends; Stop where it is none."""
    from zoneinfo import ZoneInfo

    try:
        ends = [datetime.fromisoformat(one) for one in (begin, end)]
    except ValueError:
        raise Stop(f"{source.id}: expected times such as 2026-11-01 or 2026-11-01T08:00:00+08:00") from None
    zone = ZoneInfo(source.time_zone)
    first, last = (one.replace(tzinfo=zone) if one.tzinfo is None else one for one in ends)
    if first >= last:
        raise Stop(f"{source.id}: the window ends before it begins; give the earlier time first")
    return first.astimezone(UTC), last.astimezone(UTC)


def window(source: Source, at: Site, begin: datetime, end: datetime) -> Iterator[Page]:
    """Yield what the source dates from ``begin`` to before ``end``.

    Raises:
        Stop: Its kind cannot tell; what to do instead is said.
    """
    if mode(source) == "listen":
        raise Stop(f"{source.id} sends by itself: ask its sender to send that time again; repeats are kept once")
    connector = open_connector(source, at.home.path, digest=Sm3, bulk=at.vault(source.institution).bulk)
    yield from connector.pull_past(begin, end)
