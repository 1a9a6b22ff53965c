"""Airflow's scheduler with large libraries in memory already: LocalExecutor forks its workers from it.

A task that imports great-expectations itself spends more time on that than on a batch of records. Only libraries are
loaded, none of our modules: whoever changes a mapping or a step finds it in the next task, without a restart.
"""

from __future__ import annotations

import logging
import runpy
import sys
from importlib import import_module

LIBRARIES = (
    "pandas", "great_expectations", "great_expectations.expectations.core", "pymongo", "orjson", "zstandard",
    "jsonschema", "httpx", "sqlalchemy", "pydicom", "pynetdicom",
)  # fmt: skip


def main() -> None:
    """Run the scheduler with the arguments of `airflow scheduler`."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for name in LIBRARIES:
        import_module(name)
    sys.argv[:1] = ["airflow", "scheduler"]
    runpy.run_module("airflow", run_name="__main__")


if __name__ == "__main__":
    main()
