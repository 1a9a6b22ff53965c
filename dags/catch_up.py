"""One DAG an institution, for its return: its one task waits for its worker, and catches its replica up.

As long as it waits, the institution counts as away, and ``notarise`` gives it no tasks. No other run waits with it.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from ledger.operators.notarise import CatchUpOperator, away_asset
from ledger.triggers.absence import catch_up_dag
from schemas.home import Home
from schemas.region import load_region

for institution in load_region(Home.from_environment().region).institutions:
    with DAG(
        dag_id=catch_up_dag(institution.id),
        schedule=away_asset(institution.id),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=2)},
        tags=["ledger"],
        doc_md="Waits until the institution's worker is back. See docs/region.md.",
    ) as dag:
        CatchUpOperator(institution=institution.id, task_id="catch_up")
    globals()[dag.dag_id] = dag
