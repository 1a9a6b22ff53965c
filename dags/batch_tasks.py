"""What the DAGs of a source share: how its tasks run, and the two that do not care whether it is now or the past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowSkipException

from dags.retries import unless
from ledger.discretion import discreet
from schemas.source import Source

STOPS = [
    "dags.steps.errors.Stop",
    "connectors.errors.Stop",
    "vault.errors.Stop",
    "ledger.errors.Halted",
    "schemas.errors.ConfigurationError",
]


def settings(source: Source, pool: str) -> dict[str, Any]:
    """Return how a source's tasks run: on its institution's queue, in a pool, tried again unless a person must act."""
    return {
        "queue": f"node-{source.institution}",
        "pool": pool,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "retry_policy": unless(STOPS),
    }


def ticks(schedule: str | None, time_zone: str) -> CronTriggerTimetable | None:
    """Return when a cron expression ticks on the source's own clock; a new DAG waits for its first tick."""
    return CronTriggerTimetable(schedule, timezone=time_zone, run_immediately=timedelta()) if schedule else None


@task
@discreet()
def process(source_id: str, batch_id: str) -> dict[str, int]:
    """Every record of the batch is sealed or set aside."""
    from dags.steps import ingest

    return ingest.process(source_id, batch_id)


@task(trigger_rule="none_failed")
@discreet()
def submit(institution: str) -> dict[str, int]:
    """What was sealed is signed and offered to the consortium."""
    from dags.steps import publish

    counts = publish.submit(institution)
    if not counts["open"]:
        raise AirflowSkipException("nothing waits for a block")
    return counts
