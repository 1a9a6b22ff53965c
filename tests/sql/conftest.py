"""Databases as hospitals have them: the corpora loaded into SQLite, and into servers where the test asks for one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sql_world import Shelf, load_csv

from schemas.source import Source, load_source


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
        connection.executescript(f"BEGIN;{(corpora / 'his-sql/zh-his/his_26.sql').read_text('utf-8')}\nCOMMIT;")
    return path


@pytest.fixture
def synthea_sqlite(tmp_path: Path, corpora: Path) -> Path:
    """Synthea's tables as a SQLite file in the home folder, every column text."""
    path = tmp_path / "synthea.db"
    with sqlite3.connect(path) as connection:
        for file in sorted((corpora / "his-sql/synthea-csv").glob("*.csv")):
            load_csv(connection, file)
    return path
