"""The databases of these tests: their tables, a bulk store, how a source is pulled."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from connectors.contract import Page
from connectors.his.sql_tables import TablesConnector
from schemas.records import RawRecord, Unreadable

ZH_TABLES: dict[str, dict[str, Any]] = {
    "PAT_MASTER_INDEX": {"key": "patient_id", "watermark": "update_time"},
    "PAT_VISIT": {"key": ["patient_id", "visit_id"]},
    "DIAGNOSIS": {"key": ["patient_id", "visit_id", "diag_no"], "watermark": "diag_time"},
    "ORDERS": {"key": "order_no", "watermark": "start_time"},
    "LAB_RESULT": {"key": ["test_no", "item_no"], "watermark": "result_time"},
    "BILL_DETAIL": {"key": "bill_no", "watermark": "bill_time"},
}


SYNTHEA_TABLES: dict[str, dict[str, Any]] = {
    "organizations": {"key": "Id"},
    "providers": {"key": "Id"},
    "payers": {"key": "Id"},
    "patients": {"key": "Id"},
    "payer_transitions": {"key": ["PATIENT", "START_YEAR", "PAYER"]},
    "encounters": {"key": "Id", "watermark": "START"},
    "conditions": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START"]},
    "allergies": {"key": ["PATIENT", "CODE", "START"]},
    "observations": {"key": ["PATIENT", "DATE", "CODE", "VALUE"], "watermark": "DATE"},
    "medications": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START", "DISPENSES"]},
    "procedures": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START"]},
    "immunizations": {"key": ["PATIENT", "DATE", "CODE"]},
    "careplans": {"key": "Id"},
    "devices": {"key": ["PATIENT", "CODE", "START"]},
    "imaging_studies": {"key": ["Id", "INSTANCE_UID"]},
    "claims": {"key": "Id"},
    "claims_transactions": {"key": "ID"},
}


class Shelf:
    """A bulk store in memory, with what the vault's offers."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, name: str, chunks: Iterable[bytes], /) -> None:
        self.held[name] = b"".join(chunks)

    def open(self, name: str, /) -> Iterable[bytes]:
        yield self.held[name]

    def delete(self, name: str, /) -> None:
        self.held.pop(name, None)


def load_csv(connection: sqlite3.Connection, file: Path) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    names = ", ".join(f'"{name}" TEXT' for name in rows[0])
    connection.execute(f'CREATE TABLE "{file.stem}" ({names})')
    marks = ", ".join("?" * len(rows[0]))
    connection.executemany(f'INSERT INTO "{file.stem}" VALUES ({marks})', [[c or None for c in r] for r in rows[1:]])


def pull(connector: TablesConnector, cursor: dict[str, Any] | None = None) -> tuple[list[RawRecord | Unreadable], Page]:
    """Return all records of a pull and its last page."""
    pages = list(connector.pull(cursor))
    return [record for page in pages for record in page.records], pages[-1]
