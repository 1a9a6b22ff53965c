"""What Airflow is told of this distribution as a provider (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description as ``airflow providers get`` shows it."""
    return {
        "package-name": "xinglin",
        "name": "Xinglin",
        "description": "Notarises digests of health records on a consortium ledger.",
        "hooks": [{"integration-name": "Xinglin ledger", "python-modules": ["ledger.hooks.ledger"]}],
        "notifications": ["dags.feed_alerts.FeedAlert"],
        "operators": [{"integration-name": "Xinglin ledger", "python-modules": ["ledger.operators.notarise"]}],
    }
