"""Every quarter of an hour each source is looked at: silent, doubled, of another shape, standing still.

A task fails when trouble begins, and its notifiers are called; it is skipped while the trouble lasts, so that nobody is
told every quarter of an hour; it succeeds when all is well.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.batch_tasks import ticks
from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from schemas.home import Home
from schemas.source import Source, load_sources


def build(sources: tuple[Source, ...]) -> DAG:
    """Return the DAG that watches the sources."""
    with DAG(
        dag_id="watch_sources",
        schedule=ticks("*/15 * * * *", "UTC"),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=10),
        default_args={"retries": 1, "retry_delay": timedelta(seconds=30), "on_failure_callback": notifiers()},
        tags=["watch"],
        doc_md="One task a source: fails when trouble begins, skipped while it lasts. See docs/onboarding/README.md.",
    ) as dag:
        for source in sources:
            look.override(task_id=f"look_{source.id}", queue=f"node-{source.institution}")(source.id)
    return dag


@task
@discreet()
def look(source_id: str) -> None:
    """The source was looked at; new trouble fails the task with what it is."""
    from dags.steps import watch

    news = watch.look(source_id, run=str(get_current_context()["run_id"]))
    if news.began:
        raise AirflowFailException(watch.told(news.began))
    if news.lasts:
        raise AirflowSkipException(watch.told(news.lasts))


watch_sources = build(load_sources(Home.from_environment().sources))
