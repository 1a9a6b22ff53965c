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
    from schemas.source import Source
    from simulators.sent import Sent

#: The region's people are the same in every demo.
SEED: Final = 20261101
FLOW_SECONDS: Final = 300.0


def demo(
    messages: Annotated[int, typer.Option(min=1, max=20_000, help="Right messages from each hospital.")] = 200,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the region afterwards.")] = False,
) -> None:
    """Run the region on real parts: simulated hospitals send, Airflow works, institutions confirm, all is verified.

    A second run is the next day: new messages, and some of yesterday's again.
    """
    from rich.console import Console

    from console.region.region import down, up
    from console.report import Report
    from schemas.home import Home

    console, home, started = Console(), Home.from_environment(), time.monotonic()
    with sentences():
        airflow = up(home, lambda step: console.print(f"· {step}", highlight=False))
        from dags.steps.site import site

        at = site()
        before = Account.of(at)
        sent = _send(at, messages, _day(home.path), console)
        _work(airflow, at, console)
        report = Report.make(at, before, sent)
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


def _day(folder: Any) -> int:
    """Return which day of the demo this is, from 0, and remember that it was run."""
    kept = folder / "demo.day"
    day = int(kept.read_text(encoding="ascii")) + 1 if kept.exists() else 0
    kept.write_text(str(day), encoding="ascii")
    return day


def _send(at: Site, messages: int, day: int, console: Console) -> dict[str, Sent]:
    """Return what each simulator sent: hospitals over MLLP side by side, the laboratory as files."""
    from simulators.lis import Laboratory

    sources = {source.id: source for source in at.sources()}
    laboratory = sources["lab-centre-lis"]
    folder = at.home.path / str(laboratory.settings["folder"])
    sent = {laboratory.id: Laboratory(SEED, record_bytes=laboratory.record_bytes).drop(folder, 3, 40, day=day)}
    hospitals = [sources["hospital-east-his"], sources["hospital-west-his"]]
    with _bar(console, "hospitals send over MLLP", 2 * messages) as step, ThreadPoolExecutor(2) as threads:
        results = threads.map(lambda source: _hospital(at, source, messages, day, step), hospitals)
        sent |= {source.id: one for source, one in zip(hospitals, results, strict=True)}
    return sent


def _hospital(at: Site, source: Source, messages: int, day: int, step: Callable[[], None]) -> Sent:
    from simulators.his import Hospital

    west = source.charset == "gb18030"
    hospital = Hospital(
        SEED,
        source.id,
        charset="gb18030" if west else "utf-8",
        declares=not west,
        name=at.region.institution(source.institution).name,
        record_bytes=source.record_bytes,
    )
    host, port = str(source.settings.get("host", "127.0.0.1")), int(source.settings["port"])
    return hospital.send(host, port, messages, day=day, connections=4, progress=step)


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

    open_ = sum(unconfirmed(vault, at.node(name).replica) for name, vault in vaults(at))
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
