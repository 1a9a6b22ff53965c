"""Every half hour each institution looks at what the others signed; by night the auditor looks further back.

What is found (double signing, a producer's missed turn, an own vote that a certificate left out) is offered to the
next producers and counts once it stands in a block. A conviction fails the task, so that its notifiers are called; so
do emergency accesses whose review is overdue, every night.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

from dags.batch_tasks import ticks
from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import Region, load_region

#: Final heights that an auditor looks at by night.
DEEP = 1_000


def build(region: Region, dag_id: str, cron: str, roles: tuple[str, ...], heights: int) -> DAG:
    """Return the DAG in which the institutions of these roles look at the last heights."""
    with DAG(
        dag_id=dag_id,
        schedule=ticks(cron, "Asia/Shanghai"),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=25),
        default_args={"retries": 1, "retry_delay": timedelta(seconds=30), "on_failure_callback": notifiers()},
        tags=["ledger", "watch"],
        doc_md="Evidence, missed turns, late votes. See docs/ledger.md.",
    ) as dag:
        for one in region.institutions:
            if one.role in roles:
                look.override(task_id=f"look_{one.id}", queue=f"node-{one.id}")(one.id, heights)
            if one.role == "auditor" and roles == ("auditor",):
                reviews.override(task_id=f"reviews_{one.id}", queue=f"node-{one.id}")(one.id)
    return dag


@task
@discreet()
def look(institution: str, heights: int) -> dict[str, int]:
    """The institution has looked; whoever it convicts fails the task."""
    from dags.steps import watch_ledger

    counts = watch_ledger.look(institution, heights)
    if counts["convictions"]:
        raise AirflowFailException(f"{counts['convictions']} proofs of double signing were found and are offered")
    return counts


@task
@discreet()
def reviews(institution: str) -> None:
    """No emergency access of the region waits for its review beyond its time; those that do fail the task."""
    from dags.steps import records

    if late := records.overdue_reviews(institution):
        raise AirflowFailException(f"{len(late)} reviews are overdue; see `xinglin record list --emergency`")


_region = load_region(Home.from_environment().region)
watch_ledger = build(_region, "watch_ledger", "7,37 * * * *", ("producer", "validator", "auditor"), 20)
audit_ledger = build(_region, "audit_ledger", "30 3 * * *", ("auditor",), DEEP)
