"""Each institution answers what the chain allows others to have of it: single records, and its part of datasets.

On its own worker, with its own key. Ids and answers pass between tasks; records never leave the task that opens them,
except sealed. What was announced is laid out for who asked in the run after its block. A new emergency access to an
institution's records fails a task of its own, once, so that its notifiers are called.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowFailException

from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from ledger.triggers.offered import AllowedTrigger
from schemas.home import Home
from schemas.region import Region, load_region
from schemas.sharing import HOLDERS

STOPS = ["sharing.errors.Stop", "vault.errors.Stop", "ledger.errors.Refused", "ledger.errors.Halted"]
#: A final block allows a request, or holds the answer to one.
ALLOWED = Asset("xinglin://allowed", watchers=[AssetWatcher(name="allowed", trigger=AllowedTrigger())])


def build(region: Region) -> DAG:
    """Return the DAG in which the institutions of a region answer requests."""
    with DAG(
        dag_id="answer_requests",
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
        doc_md="answer → follow_up: for each institution that keeps records. See docs/sharing.md, docs/records.md.",
    ) as dag:
        for one in region.institutions:
            if one.class_ in HOLDERS:
                here: dict[str, Any] = {"queue": f"node-{one.id}"}
                found = answer.override(task_id=f"answer_{one.id}", **here)(one.id)
                follow = follow_up.override(task_id=f"follow_up_{one.id}", max_active_tis_per_dag=1, **here)
                follow.partial(institution=one.id).expand_kwargs(found)
    return dag


@task
@discreet()
def answer(institution: str) -> list[dict[str, str]]:
    """Single records are answered, what is announced is laid out; returns the datasets that wait, and emergencies."""
    from dags.steps import records, share
    from dags.steps.watch import told

    records.answer_all(institution)
    news = records.alarm(institution, run=str(get_current_context()["run_id"]))
    emergencies = [{"request": "", "news": told(news.began)}] if news.began else []
    return [*emergencies, *({"request": one, "news": ""} for one in share.due(institution))]


@task
@discreet()
def follow_up(institution: str, request: str, news: str) -> str:
    """A holder's part of a dataset is made and its answer offered to the next block; or news fail the task.

    Args:
        institution: Whose.
        request: Id of the dataset's request; or "".
        news: Who was allowed what in an emergency; or "".
    """
    from dags.steps import share

    if news:
        raise AirflowFailException(news)
    return share.share(institution, request)


answer_requests = build(load_region(Home.from_environment().region))
