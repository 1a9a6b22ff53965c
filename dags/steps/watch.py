"""What is wrong with a feed: it fell silent, doubled, changed its shape, or a batch of it stands still."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

from dags.steps.site import Site, site
from schemas.source import Source
from vault.alerts import Alert, News
from vault.rhythm import REMEMBERED, Hour, hour_of
from vault.store import Vault

log = logging.getLogger(__name__)

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
#: Earlier windows that must have been lively before their silence now means anything.
_WEEKS_KNOWN: Final = 2
_DAYS_KNOWN: Final = 3
#: A volume is doubled from so many times the usual, and so many records beyond it, on.
_TIMES: Final = 2.0
_BEYOND: Final = 50


@dataclass(frozen=True, slots=True)
class Feed:
    """How one source is doing.

    Attributes:
        source: Its id.
        last: When the last record came, repeats included; None before the first.
        day: Receptions of the last 24 hours.
        usual: Receptions of such 24 hours before; None while too few are known.
        repeats: Those of the day that had come before.
        problems: What is wrong now, message by code.
    """

    source: str
    last: datetime | None
    day: int
    usual: int | None
    repeats: int
    problems: dict[str, str]


def look(source_ids: Iterable[str], run: str, at: Site | None = None, now: datetime | None = None) -> News:
    """Look at sources and remember what is wrong with them; returns what began, lasts and ended, of all together.

    What began must be told; it is not new again until it ended, except to the same ``run``. All are looked at before
    anything is remembered: a source that cannot be looked at makes no other's news old before they were told.
    """
    at = at or site()
    sources = [at.source(one) for one in source_ids]
    feeds = [feed(one, at.vault(one.institution), now) for one in sources]
    told = [_remember(one, found, run, at, now) for one, found in zip(sources, feeds, strict=True)]
    return News(
        tuple(alert for news in told for alert in news.began),
        tuple(alert for news in told for alert in news.lasts),
        tuple(code for news in told for code in news.ended),
    )


def _remember(source: Source, found: Feed, run: str, at: Site, now: datetime | None) -> News:
    vault = at.vault(source.institution)
    news = vault.alerts.update(source.id, found.problems, run)
    vault.rhythm.forget((now or datetime.now(UTC)) - REMEMBERED)
    log.info("watch %s: %d new, %d last, %d ended", source.id, len(news.began), len(news.lasts), len(news.ended))
    return news


def told(alerts: Iterable[Alert]) -> str:
    """Return alerts in one line for a log, a mail, a message: names, codes and numbers."""
    return "; ".join(f"{one.source} {one.code}: {one.message}" for one in alerts)


def feed(source: Source, vault: Vault, now: datetime | None = None) -> Feed:
    """Return how a source is doing; nothing is remembered."""
    now = now or datetime.now(UTC)
    hours = vault.rhythm.hours(source.id, now - REMEMBERED)
    last = vault.rhythm.last(source.id)
    today, before = _window(hours, now - _DAY, now), _before(hours, now)
    usual = round(median(before)) if len(before) >= _DAYS_KNOWN else None
    problems = {
        "silent": _silent(source, hours, last, now),
        "doubled": _doubled(today, usual, sum(one.repeats for one in _between(hours, now - _DAY, now))),
        "shape": _shape(source, vault, now),
        "stopped": _stopped(source, vault),
    }
    repeats = sum(one.repeats for one in _between(hours, now - _DAY, now))
    return Feed(source.id, last, today, usual, repeats, {code: text for code, text in problems.items() if text})


def _between(hours: Sequence[Hour], begin: datetime, end: datetime) -> list[Hour]:
    """Return the hours that ended after ``begin`` and began before ``end``."""
    return [one for one in hours if begin < one.begins + _HOUR and one.begins < end]


def _window(hours: Sequence[Hour], begin: datetime, end: datetime) -> int:
    return sum(one.new + one.repeats for one in _between(hours, begin, end))


def _before(hours: Sequence[Hour], now: datetime) -> list[int]:
    """Return the receptions of the same 24 hours on each of the days before, as far as the source is known."""
    if not hours:
        return []
    ends = [now - number * _DAY for number in range(1, 8)]
    return [_window(hours, end - _DAY, end) for end in ends if hours[0].begins <= end - _DAY]


def _silent(source: Source, hours: Sequence[Hour], last: datetime | None, now: datetime) -> str:
    """Whether nothing came for longer than the source's limit or, without one, than its own rhythm allows."""
    if last is None:
        return ""
    quiet = now - last
    said = f"nothing came for {_span(quiet)}"
    if source.silence_minutes is not None:
        limit = timedelta(minutes=source.silence_minutes)
        return f"{said}; expected every {_span(limit)}; ask its sender" if quiet > limit else ""
    begin, end = hour_of(last) + _HOUR, hour_of(now)
    if end - begin < _HOUR:
        return ""
    for step, number, known, word in ((_WEEK, 4, _WEEKS_KNOWN, "weeks"), (_DAY, 6, _DAYS_KNOWN, "days")):
        shifts = [step * one for one in range(1, number + 1) if hours[0].begins <= begin - step * one]
        if len(shifts) >= known:
            lively = all(_window(hours, begin - shift, end - shift) for shift in shifts)
            return f"{said}; in the same hours of the last {len(shifts)} {word} some did each time" if lively else ""
    return ""


def _doubled(day: int, usual: int | None, repeats: int) -> str:
    if usual is None or day < _TIMES * usual or day - usual < _BEYOND:
        return ""
    again = f", {repeats} of them repeats" if repeats else ""
    return f"{day} records in 24 hours{again}; usual are {usual}; see whether its sender sends twice"


def _shape(source: Source, vault: Vault, now: datetime) -> str:
    change = vault.shapes.changed(source.id, now - _DAY)
    if not change.fields:
        return ""
    return (
        f"{change.fields} fields came that never came before; see `xinglin source profile {source.id}`, "
        "then certify and enable it anew"
    )


def _stopped(source: Source, vault: Vault) -> str:
    found = vault.batches.list(source.id, "stopped", limit=1)
    return f"batch {found[0].id} stands still: {found[0].reason}" if found else ""


def _span(time: timedelta) -> str:
    """Return a time as a person says it."""
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
