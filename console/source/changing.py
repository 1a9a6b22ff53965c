"""`xinglin source diff` and `backfill`: what a changed mapping would change, and a window of the past read again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from console.exits import fail, print_json, sentences
from console.screen import columns, say
from console.source.opened import Json, Name, opened

if TYPE_CHECKING:
    from dags.steps.onboarding.differing import Difference
    from dags.steps.site import Site
    from schemas.home import Home
    from schemas.source import Source


def diff(
    name: Name,
    mapping: Annotated[str, typer.Option(help="The changed mapping: a name in sources/mappings, or a .yaml file.")],
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the records that landed last.")] = 500,
    show_values: Annotated[bool, typer.Option("--show-values", help="With examples: a patient's data.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a changed mapping would change in the records that landed last, element by element. Stores nothing."""
    from dags.steps.onboarding.differing import compare, with_mapping

    with sentences():
        source, at = opened(name, database=True)
        changed = with_mapping(source, mapping, at.home.sources)
        records = (one.raw for one in at.vault(source.institution).batches.newest(name, last))
        found = compare(records, source, changed)
    if not found.records:
        fail(f"nothing of {name} has landed yet; there is nothing to compare")
    if as_json:
        hidden: dict[str, list[str]] = {} if show_values else {"examples": []}
        paths = {path: asdict(one) | hidden for path, one in found.paths.items()}
        print_json({"records": found.records, "same": found.same, "paths": paths, "refusals": dict(found.refusals)})
        return
    _show(found, show_values)


def _show(found: Difference, values: bool) -> None:
    say(f"{found.records} records compared, {found.same} become the same")
    for what, count in found.refusals.most_common():
        say(f"  {count} {what}")
    if not found.paths:
        return
    rows = [(path, one.records, one.added, one.removed, one.changed) for path, one in found.paths.items()]
    say(columns(("element", "records", "added", "removed", "changed"), rows, 4))
    if values:
        for path, one in found.paths.items():
            say("\n".join([path, *(f"    {example}" for example in one.examples)]))


def backfill(
    name: Name,
    begin: Annotated[str, typer.Option("--from", help="First day or time, in the source's time zone.")],
    end: Annotated[str, typer.Option("--to", help="The day or time before which it ends.")],
    here: Annotated[bool, typer.Option("--here", help="In this process, also where Airflow runs.")] = False,
    as_json: Json = False,
) -> None:
    """Read a window of the source's past again: gaps are filled, nothing newer is overwritten, no cursor moves.

    Where Airflow runs it is a run of the source's backfill DAG, in a pool of its own; else it is done here.
    """
    from console.region.region import is_up
    from dags.steps.backfill import moments

    with sentences():
        source, at = opened(name, database=True)
        moments(source, begin, end)
        if is_up(at.home) and not here:
            _start(at.home, source, begin, end)
            return
        counts = _here(source, at, begin, end)
    if as_json:
        print_json(counts)
        return
    say(", ".join(f"{count} {word}" for word, count in counts.items()))


def _start(home: Home, source: Source, begin: str, end: str) -> None:
    from console.region.region import follow_sources
    from console.source.runs import start_run

    airflow = follow_sources(home, listeners=False)
    with airflow.client() as client:
        run = start_run(client, f"backfill_{source.id}", {"begin": begin, "end": end})
    say(f"started: {airflow.address}/dags/backfill_{source.id}/runs/{run}")


def _here(source: Source, at: Site, begin: str, end: str) -> dict[str, int]:
    from dags.steps import backfill, ingest

    counts = backfill.pull_past(source.id, begin, end, at)
    batches = ingest.plan(source.id, "backfill", at, past=True)
    for batch in batches:
        ingest.process(source.id, batch, at)
    total = ingest.reconcile(source.id, batches, at, past=True)
    return counts | {name: total.get(name, 0) for name in ("sealed", "quarantined", "filtered", "stale")}
