"""An institution's worker with the large libraries in memory already: each of its tasks is a fork of it.

    python -m console.region.worker edge worker --queues node-hospital-east …
    python -m console.region.worker celery worker --queues node-hospital-east …

takes the arguments of ``airflow``. A task that imports Airflow's runner, the database's driver and the ciphers itself
spends more time on that than on a block. Only libraries are loaded, none of our modules.
"""

from __future__ import annotations

import runpy
import sys
from importlib import import_module

LIBRARIES = (
    "airflow.sdk.execution_time.supervisor", "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.bundles.manager", "airflow.dag_processing.dagbag", "airflow.sdk",
    "airflow.providers.standard.operators.empty",
    "pymongo", "cryptography.hazmat.primitives.ciphers", "gmssl_pyx", "yaml", "jsonschema",
)  # fmt: skip


def main() -> None:
    """Run `airflow` with the arguments given."""
    for name in LIBRARIES:
        import_module(name)
    sys.argv[0] = "airflow"
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
