"""Every night the region's replicas are held against one another, pair by pair; the auditor signs what they share.

`tell` and `prove` and `keep` run where an institution's replica is, `judge` at the auditor's. A halted replica fails
its own `tell`, two histories that contradict one another fail `judge`: both call the notifiers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import DAG, chain, get_current_context, task

from dags.batch_tasks import ticks
from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import Region, load_region


def build(region: Region) -> DAG:
    """Return the DAG that compares the region's replicas."""
    everyone = [one.id for one in region.institutions]
    auditor = next((one.id for one in region.institutions if one.role == "auditor"), everyone[0])
    with DAG(
        dag_id="compare_replicas",
        schedule=ticks("0 3 * * *", "Asia/Shanghai"),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=1),
        default_args={"retries": 1, "retry_delay": timedelta(seconds=30), "on_failure_callback": notifiers()},
        tags=["ledger"],
        doc_md="tell → prove → judge → keep, two minutes each. See docs/ledger.md.",
    ) as dag:
        # Each institution does its part once the time for the one before is over: who is away holds nobody up.
        told, proved = (
            TimeDeltaSensor(task_id=name, delta=timedelta(minutes=minutes), deferrable=True, queue=f"node-{auditor}")
            for name, minutes in (("told", 2), ("proved", 4))
        )
        judged = _at(judge, "judge", auditor)
        chain(proved, judged)
        for one in everyone:
            proving = _at(prove, "prove", one)
            chain(_at(tell, "tell", one), proving)
            chain(told, proving)
            chain(judged, _at(keep, "keep", one))
    return dag


def _at(step: Any, name: str, institution: str) -> Any:
    """Return the task of a step where an institution's replica is."""
    return step.override(task_id=f"{name}_{institution}", queue=f"node-{institution}")(institution)


def _night() -> str:
    """Return what this run's messages are filed under."""
    return str(get_current_context()["run_id"])


@task
@discreet()
def tell(institution: str) -> dict[str, int]:
    """Where the replica stands is shown to all."""
    from dags.steps import compare

    return compare.tell(institution, _night())


@task
@discreet()
def prove(institution: str) -> dict[str, int]:
    """It is shown that this replica's history continues the others'."""
    from dags.steps import compare

    return compare.prove(institution, _night())


@task
@discreet()
def judge(institution: str) -> dict[str, int]:
    """Every pair was compared; the auditor signed what all have in common."""
    from dags.steps import compare

    return compare.judge(institution, _night())


@task
@discreet()
def keep(institution: str) -> dict[str, int]:
    """The checkpoints shown are kept beside the replica."""
    from dags.steps import compare

    return compare.keep(institution)


compare_replicas = build(load_region(Home.from_environment().region))
