"""What a watermark cannot tell: deletions, changes without a stamp, columns that come, go, or change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sql_world import Shelf, pull
from test_sql_reading import do, names, rows, table

from connectors.errors import Stop
from connectors.his.sql_tables import TablesConnector
from schemas.records import RawRecord, Unreadable
from schemas.source import Source

Make = Callable[..., Source]


@pytest.fixture
def bills(tmp_path: Path, sql_source: Make) -> Source:
    """A table without a watermark, so it is compared with every read where something can be kept."""
    table(
        tmp_path / "his.db", "BILLS", "no TEXT PRIMARY KEY, patient TEXT, charge DECIMAL(10,2)",
        [(f"B{number}", "P1", number) for number in range(5)],
    )  # fmt: skip
    return sql_source("sqlite:///his.db", {"BILLS": {"key": "no"}})


def test_a_tombstone_column_makes_a_record_that_says_so(tmp_path: Path, sql_source: Make) -> None:
    stored = [("A", "0", "2026-05-01 08:00:00"), ("B", "1", "2026-05-01 09:00:00"), ("C", None, "2026-05-01 09:00:00")]
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY, gone CHAR(1), changed TEXT", stored)
    settings = {"key": "no", "watermark": "changed", "deleted_column": "gone"}
    records, _ = pull(TablesConnector(sql_source("sqlite:///his.db", {"T": settings}), tmp_path))
    assert [(row["key"]["no"], row.get("deleted")) for row in rows(records)] == [("A", None), ("B", True), ("C", None)]


def test_a_row_that_vanished_becomes_one_record_with_what_was_known_of_it(
    bills: Source, tmp_path: Path, shelf: Shelf
) -> None:
    _, last = pull(TablesConnector(bills, tmp_path, bulk=shelf))
    do(tmp_path / "his.db", "DELETE FROM BILLS WHERE no = 'B2'")
    records, last = pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)
    (gone,) = rows(records)
    assert gone == {
        "change": 2, "deleted": True, "key": {"no": "B2"}, "row": {"no": "B2", "patient": "P1", "charge": 2.0},
        "table": "BILLS",
    }  # fmt: skip
    assert last.expected == 1
    again, _ = pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)
    assert again == []


def test_of_a_row_that_vanished_only_its_key_is_kept(bills: Source, tmp_path: Path, shelf: Shelf) -> None:
    import zlib

    _, last = pull(TablesConnector(bills, tmp_path, bulk=shelf))
    do(tmp_path / "his.db", "DELETE FROM BILLS")
    _, last = pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)
    pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)
    assert shelf.held
    assert all(b"P1" not in zlib.decompress(one) for one in shelf.held.values())


def test_reading_again_from_an_older_cursor_gives_the_same_deletion_again(
    bills: Source, tmp_path: Path, shelf: Shelf
) -> None:
    _, last = pull(TablesConnector(bills, tmp_path, bulk=shelf))
    do(tmp_path / "his.db", "DELETE FROM BILLS WHERE no = 'B2'")
    first, _ = pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)  # killed before its cursor was stored
    second, _ = pull(TablesConnector(bills, tmp_path, bulk=shelf), last.cursor)
    assert [one.content for one in first if isinstance(one, RawRecord)] == [
        one.content for one in second if isinstance(one, RawRecord)
    ]


def test_a_row_that_comes_back_or_goes_back_is_news_each_time(bills: Source, tmp_path: Path, shelf: Shelf) -> None:
    landed: set[bytes] = set()
    cursor: dict[str, Any] | None = None
    steps = (
        "SELECT 1", "UPDATE BILLS SET charge = 9 WHERE no = 'B1'", "UPDATE BILLS SET charge = 1 WHERE no = 'B1'",
        "DELETE FROM BILLS WHERE no = 'B1'", "INSERT INTO BILLS VALUES ('B1', 'P1', 1)",
    )  # fmt: skip
    for statement in steps:
        do(tmp_path / "his.db", statement)
        records, last = pull(TablesConnector(bills, tmp_path, bulk=shelf), cursor)
        contents = {one.content for one in records if isinstance(one, RawRecord)}
        assert contents
        assert not contents & landed  # what landed once would be taken for a repeat, and the change be lost
        landed |= contents
        cursor = last.cursor
    assert [row["charge"] for row in (json.loads(one)["row"] for one in contents)] == [1.0]


def test_a_row_committed_later_than_the_overlap_is_found_by_comparison(
    tmp_path: Path, sql_source: Make, shelf: Shelf
) -> None:
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY, changed TEXT", [("A", "2026-05-01 08:00:00")])
    source = sql_source("sqlite:///his.db", {"T": {"key": "no", "watermark": "changed", "compare_hours": 0}})
    _, last = pull(TablesConnector(source, tmp_path, bulk=shelf))
    do(tmp_path / "his.db", "INSERT INTO T VALUES ('LATE', '2025-01-01 08:00:00')")
    records, _ = pull(TablesConnector(source, tmp_path, bulk=shelf), last.cursor)
    assert names(records) == ["T/LATE"]


def test_between_comparisons_the_watermark_is_read(tmp_path: Path, sql_source: Make, shelf: Shelf) -> None:
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY, changed TEXT", [("A", "2026-05-01 08:00:00")])
    source = sql_source("sqlite:///his.db", {"T": {"key": "no", "watermark": "changed", "compare_hours": 24}})
    _, last = pull(TablesConnector(source, tmp_path, bulk=shelf))
    do(tmp_path / "his.db", "INSERT INTO T VALUES ('B', '2026-05-02 08:00:00')")
    records, last = pull(TablesConnector(source, tmp_path, bulk=shelf), last.cursor)
    assert names(records) == ["T/A", "T/B"]  # the overlap meets the last one again
    assert "kept" in last.cursor["tables"]["T"]


def test_pieces_that_nobody_reads_any_more_are_dropped(bills: Source, tmp_path: Path, shelf: Shelf) -> None:
    cursor: dict[str, Any] | None = None
    for number in range(6):
        do(tmp_path / "his.db", "UPDATE BILLS SET charge = ? WHERE no = 'B1'", number + 100)
        _, last = pull(TablesConnector(bills, tmp_path, bulk=shelf), cursor)
        cursor = last.cursor
    assert len(shelf.held) <= 2


def add_column(tmp_path: Path) -> None:
    do(tmp_path / "his.db", "ALTER TABLE BILLS ADD COLUMN remark TEXT")


def test_evolve_reads_a_new_column_and_tells_it(bills: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(bills, tmp_path))
    add_column(tmp_path)
    connector = TablesConnector(bills, tmp_path)
    records, last = pull(connector, last.cursor)
    assert [str(one) for one in connector.drifted] == ["BILLS.remark appeared as TEXT"]
    assert all("remark" in row["row"] for row in rows(records))
    pull(connector, last.cursor)
    assert connector.drifted == ()


def test_freeze_stops_before_a_row_is_read(bills: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(bills, tmp_path))
    add_column(tmp_path)
    frozen = replace(bills, drift="freeze")
    with pytest.raises(Stop, match=r"BILLS\.remark appeared"):
        pull(TablesConnector(frozen, tmp_path), last.cursor)


def test_set_aside_refuses_a_drifted_tables_rows_and_evolve_reads_them_again(bills: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(bills, tmp_path))
    do(tmp_path / "his.db", "ALTER TABLE BILLS DROP COLUMN patient")
    do(tmp_path / "his.db", "INSERT INTO BILLS VALUES ('NEW', 7)")
    records, last = pull(TablesConnector(replace(bills, drift="set_aside"), tmp_path), last.cursor)
    assert {(one.refusal.code, one.refusal.where) for one in records if isinstance(one, Unreadable)} == {
        ("drift", "BILLS.patient")
    }
    assert names(records) == []
    assert last.expected == len(records)
    records, _ = pull(TablesConnector(bills, tmp_path), last.cursor)
    assert "BILLS/NEW" in names(records)


def test_a_column_that_changes_its_type_is_told(tmp_path: Path, sql_source: Make) -> None:
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY, n INTEGER", [("A", 1)])
    source = sql_source("sqlite:///his.db", {"T": {"key": "no"}})
    _, last = pull(TablesConnector(source, tmp_path))
    do(tmp_path / "his.db", "DROP TABLE T")
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY, n VARCHAR(9)", [("A", "1")])
    connector = TablesConnector(source, tmp_path)
    pull(connector, last.cursor)
    assert [str(one) for one in connector.drifted] == ["T.n changed from INTEGER to VARCHAR(9)"]


def test_a_key_column_that_vanished_stops_whatever_the_mode(bills: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(bills, tmp_path))
    do(tmp_path / "his.db", "ALTER TABLE BILLS RENAME COLUMN no TO number")
    with pytest.raises(Stop, match="no column no"):
        pull(TablesConnector(bills, tmp_path), last.cursor)
