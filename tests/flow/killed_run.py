"""Runs one DAG run's steps in a process that gets SIGKILL right before its n-th command to MongoDB.

Arguments: n (0 for never). Run by test_flow_killed.py, with the home in the environment.
"""

from __future__ import annotations

import sys

from killed import KilledBefore
from pymongo import monitoring

from dags.steps import ingest, publish
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from schemas.home import Home

LAB = "lab-centre-lis"


def main() -> None:
    """Pull, plan, process, reconcile, submit, one block, settle."""
    monitoring.register(KilledBefore(int(sys.argv[1])))
    at = Site(Home.from_environment())
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, "run", at)
    for batch in batches:
        ingest.process(LAB, batch, at)
    ingest.reconcile(LAB, batches, at)
    publish.submit("lab-centre", at)
    carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.institutions])
    publish.settle("lab-centre", at)


if __name__ == "__main__":
    main()
