"""Databases as hospitals have them: the corpora loaded into SQLite, and into servers where the test asks for one."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Page
from connectors.his.sql_tables import TablesConnector
from schemas.records import RawRecord, Unreadable
from schemas.source import Source, load_source

ZH_TABLES: dict[str, dict[str, Any]] = {
    "PAT_MASTER_INDEX": {"key": "patient_id", "watermark": "update_time"},
    "PAT_VISIT": {"key": ["patient_id", "visit_id"]},
    "DIAGNOSIS": {"key": ["patient_id", "visit_id", "diag_no"], "watermark": "diag_time"},
    "ORDERS": {"key": "order_no", "watermark": "start_time"},
    "LAB_RESULT": {"key": ["test_no", "item_no"], "watermark": "result_time"},
    "BILL_DETAIL": {"key": "bill_no", "watermark": "bill_time"},
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


@pytest.fixture
def shelf() -> Shelf:
    """An empty bulk store."""
    return Shelf()


@pytest.fixture
def sql_source(tmp_path: Path) -> Callable[..., Source]:
    """Make a source of tables; what is not settings of the source goes to the connector."""
    path = tmp_path / "east-db.yaml"
    path.write_text(
        "{id: east-db, institution: hospital-east, kind: his.sql_tables, time_zone: Asia/Shanghai}", "utf-8"
    )

    def make(url: str, tables: dict[str, Any], drift: str = "evolve", charset: str = "auto", **settings: Any) -> Source:
        given = {"url": url, "tables": tables, **settings}
        return replace(load_source(path), drift=drift, charset=charset, settings=given)

    return make


@pytest.fixture
def zh_sqlite(tmp_path: Path, corpora: Path) -> Path:
    """The Chinese HIS database as a SQLite file in the home folder."""
    path = tmp_path / "his.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((corpora / "his-sql/zh-his/his_26.sql").read_text("utf-8"))
    return path


@pytest.fixture
def synthea_sqlite(tmp_path: Path, corpora: Path) -> Path:
    """Synthea's tables as a SQLite file in the home folder, every column text."""
    path = tmp_path / "synthea.db"
    with sqlite3.connect(path) as connection:
        for file in sorted((corpora / "his-sql/synthea-csv").glob("*.csv")):
            load_csv(connection, file)
    return path


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
