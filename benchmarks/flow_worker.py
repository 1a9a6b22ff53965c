"""One part of the flow in a process of its own, as an Airflow worker runs it; started by flow_speed.py.

    python flow_worker.py PART MONGOD_PID [BATCH…]

Works on the region that ``XINGLIN_HOME`` and ``MONGODB_URI`` name. Writes one line of JSON: what the part gave, and
what it cost from the moment the process was ready (imports done, region opened: ``start`` seconds).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oru import messages
from spent import peak_mib, spending

from dags.steps import ingest, publish
from dags.steps.site import Site, site
from ledger.carrier import Carrier, carry_block
from quality.gate import Gate
from schemas.records import RawRecord
from vault.batches import LandedRecord

SOURCE = "lab-centre-lis"
INSTITUTION = "lab-centre"
Work = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a part works on: the region, the batches it is given, the database server's process id."""

    at: Site
    batches: list[str]
    mongod: int


def land(task: Task) -> Work:
    """Pull every file of the drop folder and put the records in batches."""
    at = task.at
    at.vault(INSTITUTION)
    return lambda: {**ingest.pull(SOURCE, at), "batches": ingest.plan(SOURCE, "benchmark", at)}


def process(task: Task) -> Work:
    """Normalise, check and seal batch after batch; a task does one, a worker's memory must bear many."""
    at = task.at
    source = at.source(SOURCE)
    at.vault(INSTITUTION)
    # What is loaded at the first message (mapping tables, great-expectations) is a start's cost, not a message's.
    first = RawRecord(SOURCE, "first", next(messages(1, seed=0)), "hl7v2", datetime.now(UTC), "first")
    ingest.normalise_and_check([LandedRecord("first", first)], source, Gate(source.suite))

    def work() -> dict[str, Any]:
        each = []
        for batch in task.batches:
            with spending(task.mongod) as spent:
                ingest.process(SOURCE, batch, at)
            each.append({**spent.figures(), "peak_mib": round(peak_mib(), 1)})
        return {"batches": each}

    return work


def reconcile(task: Task) -> Work:
    """Count every record of the batches again."""
    task.at.vault(INSTITUTION)
    return lambda: ingest.reconcile(SOURCE, task.batches, task.at)


def submit(task: Task) -> Work:
    """Sign all that was sealed and put it on the exchange."""
    task.at.vault(INSTITUTION)
    task.at.node(INSTITUTION)
    return lambda: publish.submit(INSTITUTION, task.at)


def notarise(task: Task) -> Work:
    """Make blocks until nothing waits: every voter verifies, every institution applies, one after the other."""
    logging.getLogger("ledger.carrier").setLevel(logging.ERROR)  # names every batch that is final already
    carriers = [Carrier(task.at.node(one.id), task.at.exchange) for one in task.at.region.institutions]

    def work() -> dict[str, Any]:
        heights = []
        while (height := carry_block(carriers)) is not None:
            heights.append(height)
        return {"blocks": len(heights)}

    return work


def settle(task: Task) -> Work:
    """Note in the vault what became final."""
    task.at.vault(INSTITUTION)
    task.at.node(INSTITUTION)
    return lambda: publish.settle(INSTITUTION, task.at)


PARTS = {one.__name__: one for one in (land, process, reconcile, submit, notarise, settle)}


def main() -> None:
    """Do one part and report."""
    task = Task(site(), sys.argv[3:], int(sys.argv[2]))
    work = PARTS[sys.argv[1]](task)
    start = time.process_time()
    with spending(task.mongod) as spent:
        result = work()
    cost = {"start": round(start, 3), **spent.figures(), "peak_mib": round(peak_mib(), 1)}
    print(json.dumps({"result": result, "cost": cost}))


if __name__ == "__main__":
    main()
