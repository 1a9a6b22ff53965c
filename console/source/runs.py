"""Runs of DAGs, started through Airflow's REST interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from console.region.errors import RegionError

if TYPE_CHECKING:
    import httpx


def start_run(client: httpx.Client, dag: str, conf: Mapping[str, str]) -> str:
    """Return the id of a new run of a DAG.

    Raises:
        RegionError: Airflow does not take it.
    """
    answer = client.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None, "conf": dict(conf)})
    if answer.status_code != 200:
        raise RegionError(f"Airflow does not start {dag}: HTTP {answer.status_code}; see that the source is enabled")
    return str(answer.json()["dag_run_id"])
