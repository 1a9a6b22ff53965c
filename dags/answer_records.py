"""Each institution answers what others were allowed to ask of it, one record at a time, and hears of emergencies.

An answer is laid out for who asked once the chain holds its announcement: until then the task is tried again. A new
emergency access to an institution's records fails a task of its own, once, so that its notifiers are called.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import Region, load_region

#: A final block allows a request that its holder has yet to answer; `share_datasets` watches for it.
ALLOWED = Asset("xinglin://allowed")
#: Classes whose institutions keep patients' records.
HOLDERS = ("A", "B", "C")


def build(region: Region) -> DAG:
    """Return the DAG in which the institutions of a region answer requests for single records."""
    with DAG(
        dag_id="answer_records",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("9-59/10 * * * *", timezone="UTC", run_immediately=timedelta()),
            assets=ALLOWED,
        ),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=10),
        default_args={"on_failure_callback": notifiers()},
        tags=["share"],
        doc_md="answer and alarm, for each institution that keeps records. See docs/records.md.",
    ) as dag:
        for one in region.institutions:
            if one.class_ in HOLDERS:
                queue = f"node-{one.id}"
                alarm.override(task_id=f"alarm_{one.id}", queue=queue)(one.id)
                answer.override(task_id=f"answer_{one.id}", queue=queue)(one.id)
    return dag


@task(retries=10, retry_delay=timedelta(seconds=15))
@discreet()
def answer(institution: str) -> dict[str, int]:
    """Every allowed request is answered, and what was announced lies ready for who asked."""
    from dags.steps import records

    counts = records.answer_all(institution)
    if counts.get("waiting"):
        from sharing.errors import NotYet

        raise NotYet(f"{counts['waiting']} answers wait for the block that holds their announcement")
    return counts


@task(retries=1, retry_delay=timedelta(seconds=10))
@discreet()
def alarm(institution: str) -> int:
    """Emergency accesses that are new fail the task with who was allowed what; returns how many wait for a review."""
    from dags.steps import records
    from dags.steps.watch import told

    news = records.alarm(institution, run=str(get_current_context()["run_id"]))
    if news.began:
        raise AirflowFailException(told(news.began))
    return len(news.lasts)


answer_records = build(load_region(Home.from_environment().region))
