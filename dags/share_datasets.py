"""Each holder exports its part of every dataset that the chain allows: on its own worker, with its own key.

Ids and answers pass between tasks; patients' records never leave the task that opens them, except sealed.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
    task,
)

from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from ledger.triggers.offered import AllowedTrigger
from schemas.home import Home
from schemas.region import Region, load_region

STOPS = ["sharing.errors.Stop", "vault.errors.Stop", "ledger.errors.Refused", "ledger.errors.Halted"]
#: A final block allows a request that its holders have yet to answer.
ALLOWED = Asset("xinglin://allowed", watchers=[AssetWatcher(name="allowed", trigger=AllowedTrigger())])
#: Classes whose institutions keep patients' records.
HOLDERS = ("A", "B", "C")


def build(region: Region) -> DAG:
    """Return the DAG in which the institutions of a region answer requests for datasets."""
    with DAG(
        dag_id="share_datasets",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("4-59/10 * * * *", timezone="UTC", run_immediately=timedelta()),
            assets=ALLOWED,
        ),
        catchup=False,
        max_active_runs=1,
        default_args={
            "retries": 5,
            "retry_delay": timedelta(seconds=20),
            "retry_exponential_backoff": True,
            "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(exception=list(STOPS), action=RetryAction.FAIL)]),
            "on_failure_callback": notifiers(),
        },
        tags=["share"],
        doc_md="due → share, for each holder. See docs/sharing.md.",
    ) as dag:
        for one in region.institutions:
            if one.class_ in HOLDERS:
                queue = f"node-{one.id}"
                waiting = due.override(task_id=f"due_{one.id}", queue=queue)(one.id)
                export = share.override(task_id=f"share_{one.id}", queue=queue, max_active_tis_per_dag=1)
                export.partial(institution=one.id).expand(request=waiting)
    return dag


@task
@discreet()
def due(institution: str) -> list[str]:
    """Return the ids of the requests that wait for this holder."""
    from dags.steps import share as steps

    return steps.due(institution)


@task
@discreet()
def share(institution: str, request: str) -> str:
    """This holder's part is on the shelf and its answer offered to the next block; returns the answer."""
    from dags.steps import share as steps

    return steps.share(institution, request)


share_datasets = build(load_region(Home.from_environment().region))
