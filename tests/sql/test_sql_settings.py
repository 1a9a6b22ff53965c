"""What a source of tables may be told, what is told of it and proposed for it; never a secret, never a value."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_world import ZH_TABLES, pull
from test_sql_reading import do, table

from connectors.description import describe
from connectors.errors import ConnectorError, Retry, Stop
from connectors.his.sql_check import check
from connectors.his.sql_profile import profile
from connectors.his.sql_proposal import propose, propose_tables, roles_of
from connectors.his.sql_ranges import at_most, earlier, form_of
from connectors.his.sql_tables import TablesConnector
from normalise.rows import convert
from quality.structure import check_structure
from schemas.documents import check_document
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, SourceContext
from schemas.source import Source

Make = Callable[..., Source]
T = {"T": {"key": "no"}}


@pytest.mark.parametrize(
    ("url", "tables", "more", "told"),
    [
        ("sqlite:///his.db", {}, {}, "tables is empty"),
        ("sqlite:///his.db", {"T": "no"}, {}, "tables: T"),
        ("sqlite:///his.db", {"T": {}}, {}, "T: key is missing"),
        ("sqlite:///his.db", {"T": {"key": []}}, {}, "T: key is empty"),
        ("sqlite:///his.db", {"T": {"key": "no", "wattermark": "at"}}, {}, "wattermark is not known"),
        ("sqlite:///his.db", {"T": {"key": "no", "charset": "klingon"}}, {}, "charset"),
        ("sqlite:///his.db", {"T": {"key": "no", "without": "no"}}, {}, "without"),
        ("sqlite:///his.db", T, {"page_rows": 0}, "page_rows"),
        ("sqlite:///his.db", T, {"overlap_seconds": -1}, "overlap_seconds"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(
    sql_source: Make, tmp_path: Path, url: str, tables: dict[str, Any], more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        TablesConnector(sql_source(url, tables, **more), tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "no url",
        "sqlite://",
        "postgresql+psycopg://u:hunter2@h/d",
        "mysql+pymysql://u@h/d?password=hunter2",
        "nodb://u@h/d",
    ],
)
def test_a_url_without_a_database_or_with_a_password_is_refused_and_not_repeated(
    sql_source: Make, tmp_path: Path, url: str
) -> None:
    connector = TablesConnector(sql_source(url, T), tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        list(connector.pull())
    assert "hunter2" not in str(refused.value)
    assert not all(one.ok for one in connector.check())


def test_a_secret_that_is_not_there_is_refused(sql_source: Make, tmp_path: Path) -> None:
    source = sql_source("postgresql+psycopg://u@127.0.0.1:1/d", T, password_secret="NONE")
    with pytest.raises(ConfigurationError, match="no secret"):
        list(TablesConnector(source, tmp_path).pull())


def test_a_server_that_is_not_there_is_tried_again(sql_source: Make, tmp_path: Path) -> None:
    for scheme in ("postgresql+psycopg", "mysql+pymysql"):
        connector = TablesConnector(sql_source(f"{scheme}://u@127.0.0.1:1/d", T, connect_seconds=2), tmp_path)
        with pytest.raises(Retry):
            list(connector.pull())
        (finding,) = connector.check()
        assert (finding.aspect, finding.ok) == ("connection", False)


def test_a_file_that_is_no_database_stops_and_one_that_is_not_there_is_tried_again(
    sql_source: Make, tmp_path: Path
) -> None:
    connector = TablesConnector(sql_source("sqlite:///his.db", T), tmp_path)
    with pytest.raises(Retry):
        list(connector.pull())
    assert not (tmp_path / "his.db").exists()
    (tmp_path / "his.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Stop):
        list(connector.pull())


def test_a_table_that_is_not_there_stops_and_is_named(sql_source: Make, tmp_path: Path) -> None:
    table(tmp_path / "his.db", "OTHER", "no TEXT", [("1",)])
    connector = TablesConnector(sql_source("sqlite:///his.db", T), tmp_path)
    with pytest.raises(ConnectorError, match="table T"):
        list(connector.pull())
    assert [one.aspect for one in connector.check() if not one.ok] == ["content"]


def test_a_clock_that_is_wrong_is_told(sql_source: Make, tmp_path: Path) -> None:
    table(tmp_path / "his.db", "T", "no TEXT PRIMARY KEY", [("1",)])
    connector = TablesConnector(sql_source("sqlite:///his.db", T), tmp_path)
    behind = check(connector.session, connector.settings, lambda: datetime.now(UTC) + timedelta(hours=1))
    (clock,) = (one for one in behind if one.aspect == "clock")
    assert not clock.ok
    assert "behind" in clock.message


def test_the_settings_describe_themselves() -> None:
    described = {one.name: one for one in describe("his.sql_tables")}
    assert described["url"].required
    assert described["tables"].required
    assert described["password_secret"].secret
    assert described["page_rows"].default == 5_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-05-01 08:00:00", "2026-05-01 07:00:00"),
        ("2026-05-01T08:00:00.5", "2026-05-01T07:00:00.500000"),
        ("2026-05-01T00:30:00+00:00", "2026-04-30T23:30:00+00:00"),
        ("20260501080000", "20260501070000"),
        ("2026-05-01", "2026-04-30"),
        (1_000, 900),
        (Decimal("1000.5"), Decimal("900.5")),
        ("B00017", "B00017"),
        ("0001-01-01", "0001-01-01"),
    ],
)
def test_a_watermark_is_moved_back_in_the_form_it_has(value: Any, expected: Any) -> None:
    assert earlier(value, 3_600, 100) == expected


@given(st.datetimes().filter(lambda one: 1000 < one.year < 9998), st.integers(0, 10**6))
def test_moving_a_watermark_back_never_moves_it_on(moment: datetime, seconds: int) -> None:
    value = f"{moment:%Y-%m-%d %H:%M:%S}".zfill(19)
    assert earlier(value, seconds, 0) <= value


def test_a_watermark_in_the_future_is_held_at_the_servers_time() -> None:
    now = datetime(2026, 5, 1, 0, 0, tzinfo=UTC)
    assert at_most("2999-01-01 00:00:00", now, "Asia/Shanghai", universal=False) == "2026-05-01 08:00:00"
    assert at_most("2026-04-01 00:00:00", now, "Asia/Shanghai", universal=False) == "2026-04-01 00:00:00"
    assert at_most("2999-01-01T00:00:00+00:00", now, "Asia/Shanghai", universal=True) == "2026-05-01T00:00:00+00:00"
    assert form_of("not a time") is None


@pytest.mark.conformance
def test_what_is_proposed_for_the_chinese_his_maps_every_row_to_valid_fhir(zh_sqlite: Path, sql_source: Make) -> None:
    source = sql_source("sqlite:///his.db", ZH_TABLES)
    profiled = profile(source, zh_sqlite.parent)
    document = propose(profiled)
    check_document(document, "mapping", "proposed")
    context = SourceContext("east-db", "hospital-east", "Asia/Shanghai", "auto", document)
    records, _ = pull(TablesConnector(source, zh_sqlite.parent))
    made = [convert(one.content, context) for one in records if isinstance(one, RawRecord)]
    assert len(made) == 2371
    assert all(each.resources for each in made)
    assert not [one for each in made for one in each.resources if check_structure(one.body)]
    assert propose_tables(profiled)["DIAGNOSIS"]["key"] == ["patient_id", "visit_id"]


def test_columns_are_known_by_pinyin_chinese_or_what_they_hold(tmp_path: Path, sql_source: Make) -> None:
    people = [
        ("1", "吴洋军", "男", "1960-01-01", "11010119600101001X", "13800000000"),
        ("2", "欧阳静", "女", "1961-02-02", "110101196102020028", "13900000000"),
    ]
    table(tmp_path / "his.db", "brxx", "brid TEXT PRIMARY KEY, xm TEXT, 性别 TEXT, csrq TEXT, f1 TEXT, f2 TEXT", people)
    profiled = profile(sql_source("sqlite:///his.db", {"brxx": {"key": "brid"}}), tmp_path)
    (known,) = profiled.tables
    assert roles_of(known) == {
        "patient": "brid", "name": "xm", "sex": "性别", "birth": "csrq", "identity": "f1", "phone": "f2",
    }  # fmt: skip
    rows = propose(profiled)["rows"]
    assert rows["codes"]["sex"] == {"女": "female", "男": "male"}
    sexes = next(one for one in known.columns if one.name == "性别")
    assert (sexes.nulls, sexes.distinct, sexes.shortest, sexes.longest, sexes.codes) == (0, 2, 1, 1, {"男": 1, "女": 1})


def test_a_profile_looks_at_no_more_rows_than_it_may_and_tells_repeated_keys(tmp_path: Path, sql_source: Make) -> None:
    table(tmp_path / "his.db", "T", "no TEXT, word TEXT", [(str(n // 2), f"w{n}") for n in range(50)])
    (one,) = profile(sql_source("sqlite:///his.db", T), tmp_path, sample=20).tables
    assert (one.rows, one.sampled, one.repeated, one.telling) == (50, 20, 20, ("word",))


def test_nothing_is_proposed_for_what_nobody_recognises(tmp_path: Path, sql_source: Make) -> None:
    with closing(sqlite3.connect(tmp_path / "his.db")) as connection:
        connection.execute("CREATE TABLE T (no TEXT PRIMARY KEY, x BLOB)")
    assert propose(profile(sql_source("sqlite:///his.db", T), tmp_path)) == {}
    do(tmp_path / "his.db", "INSERT INTO T VALUES ('1', X'00')")
