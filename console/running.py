"""`xinglin up`, `down`, `status`, `listen`: the region on this machine as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import print_json, sentences
from console.screen import columns, say

if TYPE_CHECKING:
    from ledger.chain.replica import Replica
    from vault.store import Vault

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def up() -> None:
    """Start the region, or what of it does not run, and keep it running."""
    from console.region.region import up as start
    from schemas.home import Home

    with sentences():
        airflow = start(Home.from_environment(), lambda step: say(f"· {step}"))
    say(f"The region runs. Airflow: {airflow.address}  user admin  password {airflow.password}")
    say("Stop it with `xinglin down` (make down); what it holds stays.")


def down() -> None:
    """Stop everything that `up` or `demo` started; what it holds stays."""
    from console.region.region import down as stop
    from schemas.home import Home

    with sentences():
        stopped = stop(Home.from_environment())
    say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def listen(
    sources: Annotated[list[str], typer.Argument(help="Ids of sources that send by themselves.")],
) -> None:
    """Listen for sources until SIGTERM; a message is acknowledged only once it is durable."""
    import asyncio
    import logging

    from connectors.listening import serve
    from console.records import source_of
    from dags.steps.listen import listener
    from dags.steps.site import site

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with sentences():
        at = site()
        asyncio.run(serve([listener(source_of(at, one), at) for one in sources]))


def status(as_json: Json = False) -> None:
    """Show what every source sent, what became of it, and how far the chain is."""
    from console.ledger import replicas
    from console.records import site, vaults

    with sentences():
        chain = replicas()
        heights = {name: replica.view.head.height for name, replica in chain.items()}
        facts = {
            name: {**asdict(vault.summary()), "open": unconfirmed(vault, chain.get(name))}
            for name, vault in vaults(site())
        }
        emergencies = unreviewed(chain.values())
    if as_json:
        print_json({"institutions": facts, "heights": heights, "emergencies": emergencies})
        return
    say(sources_table(source for one in facts.values() for source in one["sources"].items()))
    say("")
    for name, one in facts.items():
        say(f"{name}: {one['versions']} sealed, {one['open']} wait for a block")
    say(f"chain: {_heads(heights)}")
    if emergencies:
        say(f"{emergencies} emergency accesses wait for a review: xinglin record list --emergency")


def unreviewed(replicas: Iterable[Replica]) -> int:
    """Return how many emergency accesses nobody has reviewed, as the longest of these replicas has it."""
    from ledger.chain.working_state import WorkingState
    from ledger.messages.review import unreviewed as waiting

    view = max((one.view for one in replicas), key=lambda one: one.head.height, default=None)
    return 0 if view is None else sum(1 for _ in waiting(WorkingState(view, view.head.timestamp_ms + 1)))


def _heads(heights: dict[str, int]) -> str:
    if not heights:
        return "no block yet"
    if len(set(heights.values())) == 1:
        return f"block {max(heights.values())} on {len(heights)} replicas"
    return ", ".join(f"{name} {height}" for name, height in heights.items())


def unconfirmed(vault: Vault, replica: Replica | None) -> int:
    """Return how many sealed entries stand in no final block of the institution's own replica."""
    from ledger.chain.fate import fate_of

    entries = vault.summary()
    sent = vault.outbox.outstanding()
    final = sum(one.count for one in sent if replica is not None and fate_of(replica, one.tx).height is not None)
    return entries.waiting + entries.submissions.get("assigned", 0) + sum(one.count for one in sent) - final


def sources_table(totals: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Return the table that a hospital's manager reads: a row a source."""
    headings = ("source", "received", "sealed", "repeats", "set aside", "waiting", "refused")
    rows = [
        (
            source, one["received"], one["sealed"], one["duplicate"], one["quarantined"],
            one["pending"] + one["batched"], sum(one["refused"].values()),
        )
        for source, one in totals
    ]  # fmt: skip
    return columns(headings, rows, len(headings) - 1)
