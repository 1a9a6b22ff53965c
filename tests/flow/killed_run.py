"""Runs one DAG run's steps in a process that gets SIGKILL right before its n-th command to MongoDB.

Arguments: n (0 for never). Run by test_flow_killed.py, with the home in the environment.
"""

from __future__ import annotations

import os
import signal
import sys

from pymongo import monitoring

from dags.steps import ingest, publish
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from schemas.home import Home

LAB = "lab-centre-lis"


class Reaper(monitoring.CommandListener):
    """Kills this process before its n-th command."""

    def __init__(self, number: int) -> None:
        self.left = number

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


def main() -> None:
    """Pull, plan, process, reconcile, submit, one block, settle."""
    monitoring.register(Reaper(int(sys.argv[1])))
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
