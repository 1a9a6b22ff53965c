"""One DAG for each file of ``sources``: pull, plan, process, reconcile, submit.

Tasks pass ids and counts; records stay in the vault, and the texts of foreign errors out of the logs.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, chain, get_current_context, task

from dags.batch_tasks import process, settings, submit, ticks
from ledger.discretion import discreet
from schemas.home import Home
from schemas.source import Source, load_sources


def build(source: Source) -> DAG:
    """Return the DAG that ingests one source."""
    with DAG(
        dag_id=f"ingest_{source.id}",
        dag_display_name=source.title,
        schedule=ticks(source.schedule, source.time_zone),
        catchup=False,
        max_active_runs=1,
        default_args=settings(source, pool=f"source-{source.id}"),
        tags=["ingest", source.institution, source.kind],
        doc_md=f"`{source.id}`: pull → plan → process → reconcile → submit. See docs/architecture.md.",
    ) as dag:
        sealed = Asset(f"xinglin://sealed/{source.institution}")
        batches = plan(source.id)
        done = reconcile(source.id, batches)  # type: ignore[arg-type]  # an XComArg until it runs
        chain(pull(source.id), batches)
        chain(process.partial(source_id=source.id).expand(batch_id=batches), done)
        chain(done, submit.override(outlets=[sealed])(source.institution))
    return dag


@task
@discreet()
def pull(source_id: str) -> dict[str, int]:
    """Everything the source holds beyond its cursor has landed."""
    from dags.steps import ingest

    return ingest.pull(source_id)


@task
@discreet()
def plan(source_id: str) -> list[str]:
    """Every landed record belongs to a batch; returns the ids of the open ones."""
    from dags.steps import ingest

    return ingest.plan(source_id, run=str(get_current_context()["run_id"]))


@task(trigger_rule="none_failed")
@discreet()
def reconcile(source_id: str, batch_ids: list[str]) -> dict[str, int]:
    """The counts agree and the cursor has moved, or the run stops here."""
    from dags.steps import ingest

    return ingest.reconcile(source_id, batch_ids)


for found in load_sources(Home.from_environment().sources):
    globals()[f"ingest_{found.id}"] = build(found)
