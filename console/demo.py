"""`xinglin demo`: the whole region once, on real parts: up, messages in, blocks out, everything verified."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import REFUSED, fail, sentences
from console.screen import say

if TYPE_CHECKING:
    import httpx
    from rich.console import Console

    from console.region.airflow import Airflow
    from dags.steps.site import Site
    from simulators.sent import Sent

FLOW_SECONDS: Final = 900.0


def demo(
    messages: Annotated[int, typer.Option(min=1, max=20_000, help="Right messages from each hospital.")] = 200,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the region afterwards.")] = False,
) -> None:
    """Run the region on real parts: simulated hospitals send, Airflow works, institutions confirm, all is verified.

    A second run is the next day: new messages, and some of yesterday's again.
    """
    from rich.console import Console

    from console.demo_sharing import share
    from console.region.region import down, up
    from console.report import Report
    from schemas.home import Home
    from simulators.days import prepare

    console, home, started = Console(), Home.from_environment(), time.monotonic()
    with sentences():
        prepare(home.path)
        airflow = up(home, lambda step: console.print(f"· {step}", highlight=False))
        from dags.steps.site import site

        at = site()
        before = Account.of(at)
        sent = _send(at, messages, console)
        _work(airflow, at, console)
        shared = share(at, lambda step: console.print(f"· {step}", highlight=False))
        report = Report.make(at, before, sent, shared)
        say("\n".join(report.lines(airflow, time.monotonic() - started)))
        if stop:
            down(home)
    raise typer.Exit(0 if report.ok else REFUSED)


@dataclass(frozen=True, slots=True)
class Account:
    """What stands in the vaults of a site, by source: the side of the account that is ours."""

    received: Mapping[str, int]
    outcomes: Mapping[str, Mapping[str, int]]
    refused: Mapping[str, Mapping[str, int]]
    resources: int
    height: int

    @classmethod
    def of(cls, at: Site) -> Account:
        """Return the account as it stands now."""
        from console.records import vaults

        totals: dict[str, Any] = {}
        versions = 0
        for _, vault in vaults(at):
            summary = vault.summary()
            totals |= summary.sources
            versions += summary.versions
        return cls(
            {name: one.received for name, one in totals.items()},
            {
                name: {"sealed": one.sealed, "repeats": one.duplicate, "set aside": one.quarantined}
                for name, one in totals.items()
            },
            {name: dict(one.refused) for name, one in totals.items()},
            versions,
            min(at.node(one.id).height for one in at.region.institutions),
        )


def _send(at: Site, messages: int, console: Console) -> dict[str, Sent]:
    """Return what each source got in one more day, or holds now for whoever asks it; all of them side by side."""
    from simulators.days import begin_day, days
    from simulators.region import Day

    number = begin_day(at.home.path)
    names = {one.id: one.name for one in at.region.institutions}
    day = Day(at.home.path, number, days(at.home.path)[number], messages, names)
    sources = at.sources()
    title = "hospitals, laboratory and nursing home send"
    with _bar(console, title, sum(map(day.steps, sources))) as step, ThreadPoolExecutor(4) as threads:
        results = threads.map(lambda source: day.send(source, step), sources)
        return {source.id: one for source, one in zip(sources, results, strict=True)}


def _work(airflow: Airflow, at: Site, console: Console) -> None:
    """Every message is settled and every sealed resource confirmed; Airflow does it, this only starts and watches."""
    deadline = time.monotonic() + FLOW_SECONDS
    with airflow.client() as client, console.status("Airflow works") as line:
        runs = [_start(client, f"ingest_{source.id}", airflow) for source in at.sources()]
        while (left := _left(client, runs, airflow, at)) is not None:
            line.update(f"Airflow works: {left}")
            if time.monotonic() > deadline:
                fail(f"not done after {FLOW_SECONDS:.0f} s ({left}); look at {airflow.address}")
            time.sleep(1)


def _left(client: httpx.Client, runs: list[str], airflow: Airflow, at: Site) -> str | None:
    """Return what is still to be done, or None; a part that is down may be started again meanwhile."""
    import httpx
    from pymongo.errors import PyMongoError

    try:
        return _unfinished(client, runs, airflow) or _unconfirmed(at)
    except httpx.TransportError:
        return "Airflow does not answer; `xinglin up` starts what is down"
    except PyMongoError:
        return "MongoDB does not answer; `xinglin up` starts what is down"


def _start(client: httpx.Client, dag: str, airflow: Airflow) -> str:
    """Return the address of a run of the DAG, started once the DAG is known."""
    for _ in range(60):
        answer = client.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None})
        if answer.status_code != 404:
            break
        time.sleep(0.5)
    if answer.status_code != 200:
        fail(f"Airflow does not start {dag}: HTTP {answer.status_code}; see {airflow.folder}")
    return f"/api/v2/dags/{dag}/dagRuns/{answer.json()['dag_run_id']}"


def _unfinished(client: httpx.Client, runs: list[str], airflow: Airflow) -> str | None:
    """Return how many of the runs still work, or None; a failed one ends the demo."""
    states = [client.get(run).json()["state"] for run in runs]
    if "failed" in states:
        fail(f"{runs[states.index('failed')]} failed; its log is at {airflow.address}")
    open_ = sum(state != "success" for state in states)
    return f"{open_} of {len(runs)} sources to pull, normalise, check and seal" if open_ else None


def _unconfirmed(at: Site) -> str | None:
    """Return what the chain has still to do, or None."""
    from console.records import vaults
    from console.running import unconfirmed

    open_ = sum(unconfirmed(vault, at.replica(name)) for name, vault in vaults(at))
    heights = {at.node(one.id).height for one in at.region.institutions}
    if open_:
        return f"{open_} sealed resources to confirm in block {max(heights) + 1}"
    return f"block {max(heights)} to apply everywhere" if len(heights) > 1 else None


@contextmanager
def _bar(console: Console, title: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield what moves a bar one on; where nobody watches, one line says what began."""
    from rich.progress import Progress

    if not console.is_terminal:
        console.print(f"· {title}")
        yield lambda: None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda: bars.advance(task)
