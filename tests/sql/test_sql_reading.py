"""Tables pulled from SQLite: every row once, late ones too, wherever a read stops; nothing hides another row."""

from __future__ import annotations

import json
import re
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sql_world import ZH_TABLES, Shelf, pull
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from connectors.conformance import assert_conforms
from connectors.errors import Stop
from connectors.his.sql_tables import TablesConnector
from connectors.his.sql_tables_trial import trial
from schemas.records import RawRecord, Unreadable
from schemas.source import Source

Make = Callable[..., Source]


def table(path: Path, name: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def do(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def rows(records: list[RawRecord | Unreadable]) -> list[dict[str, Any]]:
    return [json.loads(one.content) for one in records if isinstance(one, RawRecord)]


def names(records: list[RawRecord | Unreadable]) -> list[str]:
    return [one.native_id for one in records if isinstance(one, RawRecord)]


@pytest.fixture
def notes(tmp_path: Path, sql_source: Make) -> Source:
    """One table with a watermark of text, and a row an hour."""
    hours = [(f"N{hour:02}", f"2026-05-01 {hour:02}:00:00", f"word {hour}") for hour in range(10)]
    table(tmp_path / "his.db", "NOTES", "no TEXT PRIMARY KEY, changed TEXT, word TEXT", hours)
    return sql_source("sqlite:///his.db", {"NOTES": {"key": "no", "watermark": "changed"}}, page_rows=3)


@pytest.mark.conformance
def test_every_row_of_the_chinese_his_comes_once_and_as_many_as_the_server_counts(
    zh_sqlite: Path, sql_source: Make, corpora: Path
) -> None:
    connector = TablesConnector(sql_source("sqlite:///his.db", ZH_TABLES, page_rows=100), zh_sqlite.parent)
    records, last = pull(connector)
    expected = json.loads((corpora / "his-sql/zh-his/his_26.expected.json").read_text("utf-8"))
    counts = Counter(row["table"] for row in rows(records))
    assert counts == {
        "PAT_MASTER_INDEX": expected["patients"], "PAT_VISIT": expected["visits"], "DIAGNOSIS": expected["diagnoses"],
        "ORDERS": expected["orders"], "LAB_RESULT": expected["lab"], "BILL_DETAIL": expected["bills"],
    }  # fmt: skip
    assert last.expected == len(records) == len(set(names(records)))
    whole = [json.loads(one.content, parse_float=Decimal) for one in records if isinstance(one, RawRecord)]
    charges = [row["row"]["charges"] for row in whole if row["table"] == "BILL_DETAIL"]
    assert sum(charges) == Decimal(expected["charges_sum"])


@pytest.mark.conformance
def test_the_gb18030_dump_gives_the_same_records_as_the_utf8_one(
    zh_sqlite: Path, sql_source: Make, corpora: Path, tmp_path: Path
) -> None:
    dump = (corpora / "his-sql/zh-his/his_26.gb18030.sql").read_bytes()
    stored = re.sub(rb"'([^']*)'", lambda match: b"CAST(X'%s' AS TEXT)" % match[1].hex().encode(), dump)
    with closing(sqlite3.connect(tmp_path / "gb.db")) as connection, connection:
        connection.executescript(f"BEGIN;{stored.decode('gb18030')}\nCOMMIT;")
    utf8, _ = pull(TablesConnector(sql_source("sqlite:///his.db", ZH_TABLES), tmp_path))
    gb, _ = pull(TablesConnector(sql_source("sqlite:///gb.db", ZH_TABLES, charset="gb18030"), tmp_path))
    assert [one.content for one in gb if isinstance(one, RawRecord)] == [
        one.content for one in utf8 if isinstance(one, RawRecord)
    ]


@pytest.mark.conformance
@pytest.mark.parametrize("pages", [1, 3, 8, 15])
def test_a_read_that_stops_after_any_page_goes_on_without_losing_a_row(
    zh_sqlite: Path, sql_source: Make, pages: int
) -> None:
    source = sql_source("sqlite:///his.db", ZH_TABLES, page_rows=170)
    whole, _ = pull(TablesConnector(source, zh_sqlite.parent))
    stopped = TablesConnector(source, zh_sqlite.parent)
    stopped.page_records = 130  # type: ignore[misc]  # small, so that a page of ours ends inside one of the server's
    first = list(islice(stopped.pull(), pages))
    rest, _ = pull(TablesConnector(source, zh_sqlite.parent), json.loads(json.dumps(first[-1].cursor)))
    assert set(names([one for page in first for one in page.records]) + names(rest)) == set(names(whole))


def test_the_kind_conforms(notes: Source, tmp_path: Path) -> None:
    with trial(notes, tmp_path) as shown:
        assert_conforms(shown)


def test_a_row_committed_late_within_the_overlap_is_met_by_the_next_read(notes: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(notes, tmp_path))
    do(tmp_path / "his.db", "INSERT INTO NOTES VALUES ('LATE', '2026-05-01 08:30:00', 'late')")
    records, _ = pull(TablesConnector(notes, tmp_path), last.cursor)
    assert "NOTES/LATE" in names(records)
    assert "NOTES/N07" not in names(records)


def test_a_row_dated_in_the_future_hides_none_dated_until_then(notes: Source, tmp_path: Path) -> None:
    do(tmp_path / "his.db", "INSERT INTO NOTES VALUES ('FUTURE', '2999-12-31 00:00:00', 'a clock gone wrong')")
    records, last = pull(TablesConnector(notes, tmp_path))
    assert "NOTES/FUTURE" in names(records)
    now = TablesConnector(notes, tmp_path).now()
    do(tmp_path / "his.db", "INSERT INTO NOTES VALUES ('NOW', ?, 'right')", f"{now.astimezone():%Y-%m-%d %H:%M:%S}")
    records, _ = pull(TablesConnector(notes, tmp_path), last.cursor)
    assert {"NOTES/NOW", "NOTES/FUTURE"} <= set(names(records))


def test_rows_without_a_watermark_come_with_every_read(notes: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(notes, tmp_path))
    do(tmp_path / "his.db", "INSERT INTO NOTES VALUES ('NULL', NULL, 'x'), ('ZERO', '0000-00-00 00:00:00', 'y')")
    for _ in range(2):
        records, last = pull(TablesConnector(notes, tmp_path), last.cursor)
        assert {"NOTES/NULL", "NOTES/ZERO"} <= set(names(records))
        assert last.expected == len(records)


def test_the_second_watermark_column_counts_where_the_first_is_null(tmp_path: Path, sql_source: Make) -> None:
    both = [("A", None, "2026-05-01 08:00:00"), ("B", "2026-05-03 08:00:00", "2026-05-01 08:00:00")]
    table(tmp_path / "his.db", "ROWS", "no TEXT PRIMARY KEY, updated TEXT, created TEXT", both)
    source = sql_source("sqlite:///his.db", {"ROWS": {"key": "no", "watermark": ["updated", "created"]}})
    records, last = pull(TablesConnector(source, tmp_path))
    assert names(records) == ["ROWS/A", "ROWS/B"]
    do(tmp_path / "his.db", "INSERT INTO ROWS VALUES ('C', NULL, '2026-05-03 07:30:00')")
    records, _ = pull(TablesConnector(source, tmp_path), last.cursor)
    assert names(records) == ["ROWS/C", "ROWS/B"]


def test_a_window_of_the_past_is_read_again_on_the_hospitals_own_clock(notes: Source, tmp_path: Path) -> None:
    begin = datetime(2026, 4, 30, 18, 0, tzinfo=UTC)  # two in the morning in Shanghai
    pages = list(TablesConnector(notes, tmp_path).pull_past(begin, begin + timedelta(hours=4)))
    found = [record for page in pages for record in page.records]
    assert [one["key"]["no"] for one in rows(found)] == ["N02", "N03", "N04", "N05", "N06"]


def test_tables_whose_watermarks_are_no_times_cannot_be_asked_for_a_window(tmp_path: Path, sql_source: Make) -> None:
    table(tmp_path / "his.db", "NOTES", "no INTEGER PRIMARY KEY, word TEXT", [(1, "a")])
    source = sql_source("sqlite:///his.db", {"NOTES": {"key": "no", "watermark": "no"}})
    with pytest.raises(Stop, match="window"):
        list(TablesConnector(source, tmp_path).pull_past(datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)))


def test_a_watermark_of_numbers_is_moved_back_by_numbers(tmp_path: Path, sql_source: Make) -> None:
    table(tmp_path / "his.db", "LOG", "seq INTEGER PRIMARY KEY, word TEXT", [(10 * n, "w") for n in range(1, 30)])
    settings = {"key": "seq", "watermark": "seq", "overlap_values": 20}
    source = sql_source("sqlite:///his.db", {"LOG": settings}, page_rows=7)
    _, last = pull(TablesConnector(source, tmp_path))
    do(tmp_path / "his.db", "INSERT INTO LOG VALUES (275, 'late'), (300, 'new')")
    records, _ = pull(TablesConnector(source, tmp_path), last.cursor)
    assert names(records) == ["LOG/270", "LOG/275", "LOG/280", "LOG/290", "LOG/300"]


def test_rows_of_one_watermark_and_key_all_come_though_a_page_ends_among_them(tmp_path: Path, sql_source: Make) -> None:
    same = [("X", "2026-05-01 08:00:00", str(number)) for number in range(9)]
    table(tmp_path / "his.db", "LOOSE", "no TEXT, changed TEXT, word TEXT", same)
    source = sql_source("sqlite:///his.db", {"LOOSE": {"key": "no", "watermark": "changed"}}, page_rows=2)
    records, last = pull(TablesConnector(source, tmp_path))
    assert {row["row"]["word"] for row in rows(records)} == {str(number) for number in range(9)}
    assert last.expected == len(records) == 9


def test_bytes_in_no_character_set_set_their_row_aside_by_table_and_column(notes: Source, tmp_path: Path) -> None:
    do(tmp_path / "his.db", "INSERT INTO NOTES VALUES ('BAD', '2026-05-01 05:30:00', CAST(X'c5b7d1ff' AS TEXT))")
    records, last = pull(TablesConnector(notes, tmp_path))
    (bad,) = (one for one in records if isinstance(one, Unreadable))
    assert (bad.refusal.code, bad.refusal.where) == ("charset", "NOTES.word")
    assert json.loads(bad.head)["row"] == {
        "no": "BAD",
        "changed": "2026-05-01 05:30:00",
        "word": {"base64": "xbfR/w=="},
    }
    assert len(names(records)) == 10
    assert last.expected == 11
    again, _ = pull(TablesConnector(notes, tmp_path))
    assert [(one.digest, one.position) for one in again if isinstance(one, Unreadable)] == [(bad.digest, bad.position)]


def test_a_key_that_is_null_sets_its_row_aside(tmp_path: Path, sql_source: Make) -> None:
    table(tmp_path / "his.db", "ROWS", "no TEXT, word TEXT", [("A", "a"), (None, "nameless")])
    records, last = pull(TablesConnector(sql_source("sqlite:///his.db", {"ROWS": {"key": "no"}}), tmp_path))
    (bad,) = (one for one in records if isinstance(one, Unreadable))
    assert (bad.refusal.code, bad.refusal.where) == ("required", "ROWS.no")
    assert names(records) == ["ROWS/A"]
    assert last.expected == 2


def test_a_row_that_the_view_cannot_compute_is_set_aside_and_no_other(tmp_path: Path, sql_source: Make) -> None:
    broken = [(f"R{number}", '{"v": 1}' if number != 4 else '{"v": ') for number in range(8)]
    table(tmp_path / "his.db", "RAW", "no TEXT PRIMARY KEY, body TEXT", broken)
    do(tmp_path / "his.db", "CREATE VIEW RESULTS AS SELECT no, json_extract(body, '$.v') AS value FROM RAW")
    source = sql_source("sqlite:///his.db", {"RESULTS": {"key": "no"}})
    for bulk in (None, Shelf()):
        records, last = pull(TablesConnector(source, tmp_path, bulk=bulk))
        (bad,) = (one for one in records if isinstance(one, Unreadable))
        assert (bad.refusal.code, bad.refusal.where) == ("bad_value", "RESULTS.value")
        assert set(names(records)) == {f"RESULTS/R{number}" for number in range(8) if number != 4}
        assert last.expected == 8


def test_nothing_can_be_written_through_the_connection(notes: Source, tmp_path: Path) -> None:
    before = (tmp_path / "his.db").read_bytes()
    session = TablesConnector(notes, tmp_path).session
    for statement in ("DELETE FROM NOTES", "CREATE TABLE MINE (a)"):
        with pytest.raises(OperationalError), session._opened[0].connect() as connection:
            connection.execute(text(statement))
    assert (tmp_path / "his.db").read_bytes() == before


@pytest.mark.parametrize("bulk", [None, Shelf()])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, sql_source: Make, bulk: Shelf | None) -> None:
    table(tmp_path / "his.db", "WIDE", "no INTEGER PRIMARY KEY, word TEXT", [(n, "x" * 9_000) for n in range(3_000)])
    source = sql_source("sqlite:///his.db", {"WIDE": {"key": "no"}}, page_rows=1_000_000)
    connector = TablesConnector(source, tmp_path, bulk=bulk)
    connector.page_records = 50  # type: ignore[misc]
    tracemalloc.start()
    count = sum(len(page.records) for page in connector.pull())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3_000
    assert peak < 18 * 1024 * 1024  # the table holds 27 MB; a page, a fetch and a piece that is kept hold less


def test_a_table_that_is_not_there_any_more_leaves_the_cursor_of_the_others(notes: Source, tmp_path: Path) -> None:
    _, last = pull(TablesConnector(notes, tmp_path))
    table(tmp_path / "his.db", "MORE", "no TEXT PRIMARY KEY", [("M",)])
    both = replace(notes, settings={**notes.settings, "tables": {**notes.settings["tables"], "MORE": {"key": "no"}}})
    _, more = pull(TablesConnector(both, tmp_path), last.cursor)
    assert set(more.cursor["tables"]) == {"NOTES", "MORE"}
    _, fewer = pull(TablesConnector(notes, tmp_path), more.cursor)
    assert set(fewer.cursor["tables"]) == {"NOTES"}
