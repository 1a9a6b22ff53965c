"""One DAG for each file of ``sources``: pull, plan, process, reconcile, submit.

Tasks pass ids and counts; records stay in the vault, and the texts of foreign errors out of the logs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, RetryAction, RetryRule, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from ledger.discretion import discreet
from schemas.home import Home
from schemas.source import Source, load_sources

STOPS = [
    "dags.steps.errors.Stop",
    "connectors.errors.Stop",
    "vault.errors.Stop",
    "ledger.errors.Halted",
    "schemas.errors.ConfigurationError",
]


def build(source: Source) -> DAG:
    """Return the DAG that ingests one source."""
    settings: dict[str, Any] = {
        "queue": f"node-{source.institution}",
        "pool": f"source-{source.id}",
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(exception=list(STOPS), action=RetryAction.FAIL)]),
    }
    with DAG(
        dag_id=f"ingest_{source.id}",
        dag_display_name=source.title,
        schedule=source.schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args=settings,
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


@task
@discreet()
def process(source_id: str, batch_id: str) -> dict[str, int]:
    """Every record of the batch is sealed or set aside."""
    from dags.steps import ingest

    return ingest.process(source_id, batch_id)


@task(trigger_rule="none_failed")
@discreet()
def reconcile(source_id: str, batch_ids: list[str]) -> dict[str, int]:
    """The counts agree and the cursor has moved, or the run stops here."""
    from dags.steps import ingest

    return ingest.reconcile(source_id, batch_ids)


@task(trigger_rule="none_failed")
@discreet()
def submit(institution: str) -> dict[str, int]:
    """What was sealed is signed and offered to the consortium."""
    from dags.steps import publish

    counts = publish.submit(institution)
    if not counts["open"]:
        raise AirflowSkipException("nothing waits for a block")
    return counts


for found in load_sources(Home.from_environment().sources):
    globals()[f"ingest_{found.id}"] = build(found)
