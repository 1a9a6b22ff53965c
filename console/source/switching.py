"""`xinglin source certify`, `enable`, `disable`: a scorecard, and with a good one a DAG."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import REFUSED, print_json, sentences
from console.screen import columns, say
from console.source.opened import Json, Name, opened

if TYPE_CHECKING:
    from schemas.home import Home
    from schemas.source import Source

#: How long Airflow is waited for; it looks at its files every half minute, or when asked.
_APPEAR_SECONDS: Final = 90.0
_SIGNS: Final = {"passed": "✓", "failed": "✗", "not_shown": "–", "not_applicable": "·"}


def certify(
    name: Name,
    records: Annotated[int, typer.Option(min=1, max=10_000, help="Records looked at, at most.")] = 500,
    as_json: Json = False,
) -> None:
    """Run the conformance suite on the source and write its scorecard; exit 1 where it stays below the bar."""
    from dags.steps.onboarding.certifying import certify as run
    from dags.steps.onboarding.scorecard import keep

    with sentences():
        source, at = opened(name)
        card = run(source, at, records, (lambda _: None) if as_json else (lambda step: say(f"· {step}")))
        page = keep(at.home, card)
    if as_json:
        print_json(card)
    else:
        _show(card)
        say(f"\nscorecard: {page}")
        say(f"next: xinglin source enable {name}" if card["passed"] else "below the bar: mend it, then certify again")
    if not card["passed"]:
        raise typer.Exit(REFUSED)


def _show(card: dict[str, Any]) -> None:
    from dags.steps.onboarding.page import QUESTIONS

    say("")
    for one in card["checks"]:
        say(f"{_SIGNS[one['status']]} {QUESTIONS.get(one['name'], one['name'])}\n    {one['detail']}")
    broken = [one for one in card["quality"] if one["failed"]]
    rules = len(card["quality"])
    say(f"{'–' if broken else '✓'} Quality: {rules - len(broken)} of {rules} rules kept")
    for one in broken:
        say(f"    {one['rule']} ({one['severity']}): {one['failed']} of {one['rows']} rows, {one['records']} records")
    for one in card["set_aside"]:
        say(f"    set aside: {one['records']} {one['code']} at {one['where'] or 'the record'}")
    rows = [("✓" if one["passed"] else "✗", one["name"], one["needed"], one["found"]) for one in card["bar"]]
    say("\n" + columns(("", "the bar", "asked", "found"), rows))


def enable(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until its DAG is there, where Airflow runs.")] = True,
) -> None:
    """Switch the source on; refused below the bar, or without a fresh scorecard of exactly this file and mapping."""
    from dags.steps.onboarding.enabling import enable as switch

    with sentences():
        source, at = opened(name)
        switch(at.home, source)
        say(f"{name} is enabled")
        _follow(at.home, source, wait, there=True)


def disable(name: Name) -> None:
    """Switch the source off: its DAG goes; what it holds stays."""
    from dags.steps.onboarding.enabling import disable as switch

    with sentences():
        source, at = opened(name)
        switch(at.home, source)
        say(f"{name} is disabled; what it brought stays")
        _follow(at.home, source, wait=False, there=False)


def _follow(home: Home, source: Source, wait: bool, there: bool) -> None:
    """What runs of the region on this machine follows at once: pools, listeners, the DAG."""
    from console.region.region import is_up

    if not is_up(home):
        say(f"its DAG ingest_{source.id} {'appears' if there else 'goes'} when the region runs: xinglin up")
        return
    from connectors import mode
    from console.region.region import follow_sources

    airflow = follow_sources(home, listeners=mode(source) == "listen")
    if not wait:
        return
    dag = f"ingest_{source.id}"
    deadline = time.monotonic() + _APPEAR_SECONDS
    with airflow.client() as client:
        while client.get(f"/api/v2/dags/{dag}").status_code != 200:
            if time.monotonic() > deadline:
                say(f"its DAG {dag} is not there yet; Airflow looks again within minutes: {airflow.address}")
                return
            time.sleep(0.5)
    say(f"its DAG {dag} is there: {airflow.address}/dags/{dag}\nnext: xinglin source status {source.id}")
