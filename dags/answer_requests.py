"""Each institution answers who asks for a single record, at once: no doctor waits for a dataset that is being cut.

On its own worker, with its own key. Records never leave the task that opens them, except sealed. What was announced,
here or by `share_datasets`, is laid out for who asked in the run after its block. A new emergency access to an
institution's records fails a task of its own, once, so that its notifiers are called.
"""

from __future__ import annotations

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from dags.allowed import SETTINGS, soon
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import Region, load_region
from schemas.sharing import HOLDERS


def build(region: Region) -> DAG:
    """Return the DAG in which the institutions of a region answer requests."""
    with DAG(
        dag_id="answer_requests",
        schedule=soon("4-59/10 * * * *"),
        catchup=False,
        max_active_runs=1,
        default_args=SETTINGS,
        tags=["share"],
        doc_md="answer → emergency: for each institution that keeps records. See docs/records.md.",
    ) as dag:
        for one in region.institutions:
            if one.class_ in HOLDERS:
                found = answer.override(task_id=f"answer_{one.id}", queue=f"node-{one.id}")(one.id)
                emergency.override(task_id=f"emergency_{one.id}", queue=f"node-{one.id}").expand(news=found)
    return dag


@task
@discreet()
def answer(institution: str) -> list[str]:
    """Single records are answered, what is announced is laid out; returns what is new of emergencies."""
    from dags.steps import records, share
    from dags.steps.watch import told

    records.answer_all(institution)
    share.lay_out(institution)
    news = records.alarm(institution, run=str(get_current_context()["run_id"]))
    return [told(news.began)] if news.began else []


@task
@discreet()
def emergency(news: str) -> None:
    """Who was allowed what in an emergency fails the task, so that its notifiers are called."""
    raise AirflowFailException(news)


answer_requests = build(load_region(Home.from_environment().region))
