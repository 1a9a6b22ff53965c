"""Pulls the SQL source in a process that gets SIGKILL right before its n-th command to MongoDB.

Arguments: n (0 for never). Run by test_sql_flow.py, with the home in the environment.
"""

from __future__ import annotations

import sys

from killed import KilledBefore
from pymongo import monitoring

from dags.steps import ingest
from dags.steps.site import Site
from schemas.home import Home

SOURCE = "east-db"


def main() -> None:
    """Pull, and nothing else."""
    monitoring.register(KilledBefore(int(sys.argv[1])))
    ingest.pull(SOURCE, Site(Home.from_environment()))


def run(at: Site) -> dict[str, int]:
    """One run's steps; returns what the reconciliation counted."""
    ingest.pull(SOURCE, at)
    batches = ingest.plan(SOURCE, "run", at)
    for batch in batches:
        ingest.process(SOURCE, batch, at)
    return ingest.reconcile(SOURCE, batches, at)


if __name__ == "__main__":
    main()
