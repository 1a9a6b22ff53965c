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
from dataclasses import asdict
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


def land(at: Site, _: list[str]) -> Work:
    """Pull every file of the drop folder and put the records in batches."""
    at.vault(INSTITUTION)
    return lambda: {**ingest.pull(SOURCE, at), "batches": ingest.plan(SOURCE, "benchmark", at)}


def process(at: Site, batches: list[str]) -> Work:
    """Normalise, check and seal batch after batch; a task does one, a worker's memory must bear many."""
    source = at.source(SOURCE)
    at.vault(INSTITUTION)
    # What is loaded at the first message (mapping tables, great-expectations) is a start's cost, not a message's.
    first = RawRecord(SOURCE, "first", next(messages(1, seed=0)), "hl7v2", datetime.now(UTC), "first")
    ingest.normalise_and_check([LandedRecord("first", first)], source, Gate(source.suite))

    def work() -> dict[str, Any]:
        seconds, peaks = [], []
        for batch in batches:
            begun = time.process_time()
            ingest.process(SOURCE, batch, at)
            seconds.append(round(time.process_time() - begun, 3))
            peaks.append(round(peak_mib()))
        return {"cpu_by_batch": seconds, "peak_by_batch": peaks}

    return work


def reconcile(at: Site, batches: list[str]) -> Work:
    """Count every record of the batches again."""
    at.vault(INSTITUTION)
    return lambda: ingest.reconcile(SOURCE, batches, at)


def submit(at: Site, _: list[str]) -> Work:
    """Sign all that was sealed and put it on the exchange."""
    at.vault(INSTITUTION)
    at.node(INSTITUTION)
    return lambda: publish.submit(INSTITUTION, at)


def notarise(at: Site, _: list[str]) -> Work:
    """Make blocks until nothing waits: every voter verifies, every institution applies, one after the other."""
    logging.getLogger("ledger.carrier").setLevel(logging.ERROR)  # names every batch that is final already
    carriers = [Carrier(at.node(one.id), at.exchange) for one in at.region.institutions]

    def work() -> dict[str, Any]:
        heights = []
        while (height := carry_block(carriers)) is not None:
            heights.append(height)
        return {"blocks": len(heights)}

    return work


def settle(at: Site, _: list[str]) -> Work:
    """Note in the vault what became final."""
    at.vault(INSTITUTION)
    at.node(INSTITUTION)
    return lambda: publish.settle(INSTITUTION, at)


PARTS = {one.__name__: one for one in (land, process, reconcile, submit, notarise, settle)}


def main() -> None:
    """Do one part and report."""
    part, mongod, batches = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    work = PARTS[part](site(), batches)
    start, idle = time.process_time(), peak_mib()
    with spending(mongod) as spent:
        result = work()
    cost = {"start": start, "idle_mib": idle, "peak_mib": peak_mib(), **asdict(spent)}
    print(json.dumps({"result": result, "cost": {name: round(value, 3) for name, value in cost.items()}}))


if __name__ == "__main__":
    main()
