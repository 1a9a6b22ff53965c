"""One DAG for each source: a window of its past is read again, in a pool of its own, on demand only.

What is read again has its place before all that arrived by itself: it fills gaps and overwrites nothing newer.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, Param, chain, get_current_context, task

from connectors.registry import PULL
from dags.batch_tasks import process, settings, submit
from ledger.discretion import discreet
from schemas.home import Home
from schemas.source import Source, load_sources


def build(source: Source) -> DAG:
    """Return the DAG that reads a window of one source's past again."""
    with DAG(
        dag_id=f"backfill_{source.id}",
        dag_display_name=f"{source.title}: read again",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args=settings(source, pool="backfill"),
        params={
            "begin": Param("2026-01-01", type="string", description="first day or time, in the source's time zone"),
            "end": Param("2026-01-02", type="string", description="the day or time before which it ends"),
        },
        tags=["backfill", source.institution, source.kind],
        doc_md=f"`{source.id}`: a window of its past is read again. See `xinglin source backfill --help`.",
    ) as dag:
        batches = plan_past(source.id)
        done = reconcile_past(source.id, batches)  # type: ignore[arg-type]  # an XComArg until it runs
        chain(pull_past(source.id), batches)
        chain(process.partial(source_id=source.id).expand(batch_id=batches), done)
        chain(done, submit.override(outlets=[Asset(f"xinglin://sealed/{source.institution}")])(source.institution))
    return dag


@task
@discreet()
def pull_past(source_id: str) -> dict[str, int]:
    """What the source dates in the window has landed."""
    from dags.steps import backfill

    window = get_current_context()["params"]
    return backfill.pull_past(source_id, str(window["begin"]), str(window["end"]))


@task
@discreet()
def plan_past(source_id: str) -> list[str]:
    """Every such record belongs to a batch; returns the ids of the open ones."""
    from dags.steps import ingest

    return ingest.plan(source_id, run=str(get_current_context()["run_id"]), past=True)


@task(trigger_rule="none_failed")
@discreet()
def reconcile_past(source_id: str, batch_ids: list[str]) -> dict[str, int]:
    """The counts agree, or the run stops here; the source's cursor stays where it was."""
    from dags.steps import ingest

    return ingest.reconcile(source_id, batch_ids, past=True)


for found in load_sources(Home.from_environment().sources):
    if found.kind not in PULL:
        continue  # its sender sends that time again; repeats are kept once
    globals()[f"backfill_{found.id}"] = build(found)
