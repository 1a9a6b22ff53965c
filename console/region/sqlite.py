"""How Airflow's processes open the SQLite of a region on one machine; Airflow imports it by name."""

from __future__ import annotations

from typing import Any

#: They write one after another; five seconds, the driver's own patience, are few when all of them start at once.
CONNECT: dict[str, Any] = {"timeout": 20.0}
