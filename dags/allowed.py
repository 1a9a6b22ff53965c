"""What the DAGs share that answer requests: when they begin, and how their tasks are tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from dags.feed_alerts import notifiers
from dags.retries import unless
from ledger.triggers.offered import AllowedTrigger

STOPS = [
    "sharing.errors.Stop",
    "vault.errors.Stop",
    "ledger.errors.Refused",
    "ledger.errors.Halted",
    "schemas.errors.ConfigurationError",
]
SETTINGS: dict[str, Any] = {
    "retries": 5,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "retry_policy": unless(STOPS),
    "on_failure_callback": notifiers(),
}
#: A final block allows a request, or holds the answer to one.
ALLOWED = Asset("xinglin://allowed", watchers=[AssetWatcher(name="allowed", trigger=AllowedTrigger())])


def soon(cron: str) -> AssetOrTimeSchedule:
    """Return when a block allows something, and now and then in case nobody said so."""
    ticks = CronTriggerTimetable(cron, timezone="UTC", run_immediately=timedelta())
    return AssetOrTimeSchedule(timetable=ticks, assets=ALLOWED)
