"""`xinglin source status`: how every source is doing, and what of it needs somebody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import print_json, sentences
from console.screen import columns, say
from console.source.opened import Json

if TYPE_CHECKING:
    from dags.steps.site import Site
    from dags.steps.watch import Feed
    from schemas.source import Source
    from vault.results import Batch


@dataclass(frozen=True, slots=True)
class _State:
    """One source as it stands; ``feed`` and ``batch`` are None where its vault is not on this machine."""

    source: Source
    certified: str
    feed: Feed | None
    batch: Batch | None
    aside: int


def status(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this source.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Show each source: last record, volume against usual, what is wrong, quarantine, last batch."""
    from console.records import site

    with sentences():
        at = site()
        states = [_state(source, at) for source in _sources(at, name)]
    if as_json:
        print_json([_value(one) for one in states])
        return
    headings = ("source", "on", "last record", "24 h", "usual", "repeats", "set aside", "last batch")
    say(columns(headings, map(_row, states)))
    for one in states:
        for code, message in (one.feed.problems if one.feed else {}).items():
            say(f"{one.source.id} {code}: {message}")
        if not one.source.enabled:
            say(f"{one.source.id} is not enabled: {one.certified}")


def _sources(at: Site, name: str | None) -> list[Source]:
    """Return the sources, enabled or not."""
    from console.records import onboarded, source_of

    return onboarded(at) if name is None else [source_of(at, name)]


def _state(source: Source, at: Site) -> _State:
    from dags.steps.onboarding.scorecard import hindrances
    from dags.steps.watch import feed

    certified = "" if source.enabled else "; ".join(hindrances(at.home, source)) or "it may be; `xinglin source enable`"
    if not at.home.keys(source.institution).is_dir():
        return _State(source, certified, None, None, 0)
    vault = at.vault(source.institution)
    batches = vault.batches.list(source.id, limit=1)
    aside = len(vault.quarantine.list(source=source.id))
    return _State(source, certified, feed(source, vault), batches[0] if batches else None, aside)


def _row(one: _State) -> tuple[object, ...]:
    feed, batch = one.feed, one.batch
    if feed is None:
        return one.source.id, "yes" if one.source.enabled else "no", "elsewhere", "", "", "", "", ""
    return (
        one.source.id, "yes" if one.source.enabled else "no", _when(feed.last), feed.day,
        "?" if feed.usual is None else feed.usual, feed.repeats, one.aside,
        f"{batch.id} {batch.state}" if batch else "none",
    )  # fmt: skip


def _when(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else "never"


def _value(one: _State) -> dict[str, Any]:
    feed, batch = one.feed, one.batch
    return {
        "source": one.source.id,
        "enabled": one.source.enabled,
        "hindrances": one.certified,
        "last": feed.last if feed else None,
        "day": feed.day if feed else None,
        "usual": feed.usual if feed else None,
        "repeats": feed.repeats if feed else None,
        "problems": feed.problems if feed else {},
        "set_aside": one.aside,
        "batch": {"id": batch.id, "state": batch.state, "counts": batch.counts.as_dict()} if batch else None,
    }
