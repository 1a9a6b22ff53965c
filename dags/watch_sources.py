"""Every quarter of an hour each source is looked at: silent, doubled, of another shape, standing still.

One task looks at all sources of an institution: a task costs seconds of a processor before its first line, a look
milliseconds. It fails when trouble begins, and its notifiers are called; it is skipped while trouble lasts, so that
nobody is told every quarter of an hour; it succeeds when all is well.
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
        doc_md="One task an institution: fails when trouble of a source begins, skipped while it lasts. "
        "See docs/onboarding/README.md.",
    ) as dag:
        for institution in sorted({source.institution for source in sources}):
            own = [source.id for source in sources if source.institution == institution]
            look.override(task_id=f"look_{institution}", queue=f"node-{institution}")(own)
    return dag


@task
@discreet()
def look(source_ids: list[str]) -> None:
    """The sources were looked at; new trouble fails the task with what it is, and of which source."""
    from dags.steps import watch

    news = watch.look(source_ids, run=str(get_current_context()["run_id"]))
    if news.began:
        raise AirflowFailException(watch.told(news.began))
    if news.lasts:
        raise AirflowSkipException(watch.told(news.lasts))


watch_sources = build(load_sources(Home.from_environment().sources))
