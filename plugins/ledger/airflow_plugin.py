"""The Airflow plugin, registered by the entry point ``airflow.plugins``; Airflow loads nothing by path."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class LedgerPlugin(AirflowPlugin):
    """Makes the ledger's operators known to Airflow under one name."""

    name = "xinglin_ledger"
