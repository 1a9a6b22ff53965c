"""The same tables in PostgreSQL and MariaDB: read-only, decoded by us, whole through restarts and refused rights.

`make test-services` starts the servers; without their addresses these tests fail.
"""

from __future__ import annotations

import csv
import os
import re
import secrets
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sql_world import SYNTHEA_TABLES, ZH_TABLES, Shelf, pull
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from connectors.conformance import assert_conforms
from connectors.errors import ConnectorError, Retry, Stop
from connectors.his.sql_tables import TablesConnector
from connectors.his.sql_tables_trial import trial
from connectors.registry import open_connector
from schemas.records import RawRecord, Unreadable
from schemas.source import Source

pytestmark = pytest.mark.services

Make = Callable[..., Source]
SERVERS = {"postgres": "XINGLIN_TEST_POSTGRES_URL", "mariadb": "XINGLIN_TEST_MARIADB_URL"}
PASSWORD = "p'ä$s word"


def bare(url: URL) -> str:
    """Return a URL without its password, as it stands in a source's file."""
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


class Hospital:
    """A database of its own on a server, and an account that may only read it."""

    def __init__(self, admin: URL) -> None:
        self.kind = admin.get_backend_name()
        self.name = f"his_{secrets.token_hex(4)}"
        self._root = create_engine(admin, isolation_level="AUTOCOMMIT")
        encoding = "" if self.kind == "postgresql" else " CHARACTER SET utf8mb4"
        self._admin(f"CREATE DATABASE {self.name}{encoding}")
        self.engine: Engine = create_engine(admin.set(database=self.name), isolation_level="AUTOCOMMIT")
        self.reader = f"reader_{secrets.token_hex(4)}"
        self._account()
        self.url = bare(admin.set(database=self.name, username=self.reader))

    def _account(self) -> None:
        quoted = PASSWORD.replace("'", "''")
        if self.kind == "postgresql":
            self._admin(f"CREATE ROLE {self.reader} LOGIN PASSWORD '{quoted}'")
            self.do(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {self.reader}")
        else:
            self._admin(f"CREATE USER {self.reader}@'%' IDENTIFIED BY '{quoted}'")
            self._admin(f"GRANT SELECT ON {self.name}.* TO {self.reader}@'%'")

    def _admin(self, statement: str) -> None:
        with self._root.connect() as connection:
            connection.exec_driver_sql(statement.replace("%", "%%"))

    def do(self, statement: str, *values: Any) -> None:
        with self.engine.connect() as connection:
            connection.execute(text(statement), *values)

    def load(self, script: bytes, codec: str) -> None:
        """Run a dump as it is, a connection in its character set."""
        arguments = {"client_encoding": "UTF8"} if self.kind == "postgresql" else {"charset": "utf8mb4"}
        engine = create_engine(self.engine.url, connect_args=arguments)
        with engine.begin() as connection:
            for statement in script.decode(codec).split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement.replace("%", "%%"))
        engine.dispose()

    def load_csv(self, file: Path) -> None:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        quote = self.engine.dialect.identifier_preparer.quote_identifier
        # A key column of MySQL cannot be TEXT without a length.
        self.do(f"CREATE TABLE {quote(file.stem)} ({', '.join(f'{quote(name)} VARCHAR(400)' for name in rows[0])})")
        marks = ", ".join(f":c{at}" for at in range(len(rows[0])))
        values = [{f"c{at}": cell or None for at, cell in enumerate(row)} for row in rows[1:]]
        if values:
            self.do(f"INSERT INTO {quote(file.stem)} VALUES ({marks})", values)

    def hang_up(self) -> None:
        """Every connection of the reader is cut."""
        with self._root.connect() as connection:
            if self.kind == "postgresql":
                where = f"usename = '{self.reader}'"
                connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
                return
            where = f"user = '{self.reader}'"
            for (number,) in connection.exec_driver_sql(f"SELECT id FROM information_schema.processlist WHERE {where}"):
                connection.exec_driver_sql(f"KILL CONNECTION {number}")

    def close(self) -> None:
        self.engine.dispose()
        self.hang_up()
        self._admin(f"DROP DATABASE {self.name}")
        self._admin(f"DROP {'ROLE' if self.kind == 'postgresql' else 'USER'} {self.reader}")
        self._root.dispose()


@pytest.fixture(params=sorted(SERVERS))
def hospital(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    """A fresh database on each server in turn."""
    variable = SERVERS[request.param]
    if not (url := os.environ.get(variable)):
        pytest.fail(f"{variable} is not set; run `make test-services`, which starts the servers")
    monkeypatch.setenv("XINGLIN_SECRET_HIS", PASSWORD)
    made = Hospital(make_url(url))
    yield made
    made.close()


@pytest.fixture
def mariadb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    if not (url := os.environ.get(SERVERS["mariadb"])):
        pytest.fail(f"{SERVERS['mariadb']} is not set; run `make test-services`, which starts the servers")
    monkeypatch.setenv("XINGLIN_SECRET_HIS", PASSWORD)
    made = Hospital(make_url(url))
    yield made
    made.close()


def lowered(tables: dict[str, Any], hospital: Hospital) -> dict[str, Any]:
    """PostgreSQL writes names without quotes in small letters."""
    return {name.lower(): one for name, one in tables.items()} if hospital.kind == "postgresql" else tables


def contents(records: list[RawRecord | Unreadable]) -> list[str]:
    return [
        one.content.decode().replace('"table":"', '"table":').lower() for one in records if isinstance(one, RawRecord)
    ]


@pytest.mark.conformance
@pytest.mark.parametrize("dump", ["his_26.sql", "his_26.gb18030.sql"])
def test_the_chinese_his_gives_the_same_bytes_as_from_sqlite(
    hospital: Hospital, sql_source: Make, zh_sqlite: Path, corpora: Path, dump: str
) -> None:
    script = (corpora / "his-sql/zh-his" / dump).read_bytes()
    hospital.load(script, "gb18030" if "gb18030" in dump else "utf-8")
    source = sql_source(hospital.url, lowered(ZH_TABLES, hospital), password_secret="HIS", page_rows=300)
    records, last = pull(TablesConnector(source, zh_sqlite.parent))
    lite, _ = pull(TablesConnector(sql_source("sqlite:///his.db", ZH_TABLES), zh_sqlite.parent))
    assert last.expected == len(records) == 2371
    assert sorted(contents(records)) == sorted(contents(lite))


@pytest.mark.conformance
def test_synthea_tables_come_whole(hospital: Hospital, sql_source: Make, corpora: Path, tmp_path: Path) -> None:
    for file in sorted((corpora / "his-sql/synthea-csv").glob("*.csv")):
        hospital.load_csv(file)
    source = sql_source(hospital.url, SYNTHEA_TABLES, password_secret="HIS")
    records, last = pull(TablesConnector(source, tmp_path))
    assert last.expected == len(records) == 4780
    assert not [one for one in records if isinstance(one, Unreadable)]


def small(hospital: Hospital, rows: int = 20) -> dict[str, Any]:
    """A table with a key, a watermark of the server's own type, a decimal, and as many rows."""
    moment = "TIMESTAMP" if hospital.kind == "postgresql" else "DATETIME"
    hospital.do(f"CREATE TABLE bills (no VARCHAR(20) PRIMARY KEY, word VARCHAR(40), charge DECIMAL(12,2), at {moment})")
    hospital.do(
        "INSERT INTO bills VALUES (:no, :word, :charge, :at)",
        [
            {
                "no": f"B{n:05}",
                "word": "䶮𠮷",
                "charge": f"{n}.50",
                "at": f"2026-05-01 {n // 60 % 24:02}:{n % 60:02}:00",
            }
            for n in range(rows)
        ],
    )
    return {"bills": {"key": "no", "watermark": "at"}}


def test_the_kind_conforms(hospital: Hospital, sql_source: Make, tmp_path: Path) -> None:
    source = sql_source(hospital.url, small(hospital), password_secret="HIS", page_rows=7)
    with trial(source, tmp_path) as shown:
        assert_conforms(shown)


def test_values_are_exact_and_times_iso(hospital: Hospital, sql_source: Make, tmp_path: Path) -> None:
    source = sql_source(hospital.url, small(hospital, 2), password_secret="HIS")
    records, _ = pull(TablesConnector(source, tmp_path))
    assert isinstance(records[1], RawRecord)
    assert records[1].content.decode() == (
        '{"key":{"no":"B00001"},"row":{"at":"2026-05-01T00:01:00","charge":1.50,"no":"B00001","word":"䶮𠮷"},'
        '"table":"bills"}'
    )


def test_a_wrong_password_stops_and_stands_in_no_message(
    hospital: Hospital, sql_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_HIS", "wrong-one")
    connector = open_connector(sql_source(hospital.url, small(hospital), password_secret="HIS"), tmp_path)
    (finding,) = connector.check()
    assert (finding.aspect, finding.ok) == ("connection", False)
    with pytest.raises(Stop) as refused:
        list(connector.pull())
    for told in (finding.message, str(refused.value)):
        assert "password" in told
        assert "wrong-one" not in told
        assert hospital.reader not in told


def test_check_tells_rights_clock_and_character_set(hospital: Hospital, sql_source: Make, tmp_path: Path) -> None:
    source = sql_source(hospital.url, small(hospital), password_secret="HIS")
    found = TablesConnector(source, tmp_path).check()
    assert all(one.ok for one in found), found
    assert {one.aspect for one in found} == {"connection", "clock", "rights", "charset", "content"}


def test_a_table_that_may_not_be_read_stops(hospital: Hospital, sql_source: Make, tmp_path: Path) -> None:
    tables = small(hospital)
    if hospital.kind == "postgresql":
        hospital.do(f"REVOKE SELECT ON bills FROM {hospital.reader}")
    else:
        hospital._admin(f"REVOKE SELECT ON {hospital.name}.* FROM {hospital.reader}@'%'")
        hospital._admin(f"CREATE TABLE {hospital.name}.other (a INT)")
        hospital._admin(f"GRANT SELECT ON {hospital.name}.other TO {hospital.reader}@'%'")
    connector = TablesConnector(sql_source(hospital.url, tables, password_secret="HIS"), tmp_path)
    assert not all(one.ok for one in connector.check())
    with pytest.raises(Stop):
        pull(connector)


def test_an_account_that_could_write_is_told_and_writes_nothing(
    hospital: Hospital, sql_source: Make, tmp_path: Path
) -> None:
    tables = small(hospital)
    if hospital.kind == "postgresql":
        hospital.do(f"GRANT INSERT, DELETE ON bills TO {hospital.reader}")
    else:
        hospital._admin(f"GRANT INSERT, DELETE ON {hospital.name}.* TO {hospital.reader}@'%'")
    connector = TablesConnector(sql_source(hospital.url, tables, password_secret="HIS"), tmp_path)
    (told,) = (one for one in connector.check() if not one.ok)
    assert told.aspect == "rights"
    with pytest.raises(ConnectorError), connector.session.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM bills")
    records, _ = pull(connector)
    assert len(records) == 20


def test_a_connection_cut_in_mid_read_is_tried_again_and_nothing_is_lost(
    hospital: Hospital, sql_source: Make, tmp_path: Path
) -> None:
    source = sql_source(hospital.url, small(hospital, 4_000), password_secret="HIS", page_rows=1_500)
    connector = TablesConnector(source, tmp_path)
    connector.page_records = 400  # type: ignore[misc]  # so that a page of ours ends in the middle of the server's
    pages = connector.pull()
    before = list(islice(pages, 5))
    hospital.hang_up()
    with pytest.raises(Retry):
        before += list(pages)
    rest, _ = pull(TablesConnector(source, tmp_path), before[-1].cursor)
    came = [one.native_id for page in before for one in page.records if isinstance(one, RawRecord)]
    came += [one.native_id for one in rest if isinstance(one, RawRecord)]
    assert set(came) == {f"bills/B{n:05}" for n in range(4_000)}


def test_rows_written_while_a_page_is_read_do_not_disturb_its_count(
    hospital: Hospital, sql_source: Make, tmp_path: Path
) -> None:
    source = sql_source(hospital.url, small(hospital, 2_500), password_secret="HIS")
    connector = TablesConnector(source, tmp_path)
    connector.page_records = 100  # type: ignore[misc]
    pages = connector.pull()
    first = next(pages)
    hospital.do("DELETE FROM bills WHERE no > 'B02000'")
    hospital.do("INSERT INTO bills VALUES ('B00000A', 'late', 1, '2026-05-01 00:00:30')")
    rest = list(pages)
    assert len(first.records) + sum(len(page.records) for page in rest) == 2_500 == rest[-1].expected
    records, _ = pull(TablesConnector(source, tmp_path), {**rest[-1].cursor})
    assert "bills/B00000A" not in {getattr(one, "native_id", "") for one in records}  # it lies before the overlap …


def test_deletions_are_found_by_comparison(hospital: Hospital, sql_source: Make, tmp_path: Path, shelf: Shelf) -> None:
    small(hospital)
    source = sql_source(hospital.url, {"bills": {"key": "no"}}, password_secret="HIS")
    _, last = pull(TablesConnector(source, tmp_path, bulk=shelf))
    hospital.do("DELETE FROM bills WHERE no = 'B00007'")
    records, last = pull(TablesConnector(source, tmp_path, bulk=shelf), last.cursor)
    (gone,) = records
    assert isinstance(gone, RawRecord)
    assert b'"deleted":true' in gone.content
    assert last.expected == 1


def test_a_view_that_cannot_cast_one_row_sets_that_row_aside(
    hospital: Hospital, sql_source: Make, tmp_path: Path
) -> None:
    if hospital.kind != "postgresql":
        # MariaDB casts what it can and warns; nothing fails, so there is nothing to set aside.
        small(hospital, 3)
        hospital.do("CREATE VIEW results AS SELECT no, CAST(word AS DECIMAL(9,2)) AS value FROM bills")
        records, _ = pull(
            TablesConnector(sql_source(hospital.url, {"results": {"key": "no"}}, password_secret="HIS"), tmp_path)
        )
        assert len(records) == 3
        return
    hospital.do("CREATE TABLE raw (no INT PRIMARY KEY, sent VARCHAR(20))")
    hospital.do("INSERT INTO raw SELECT n, n FROM generate_series(1, 30) n")
    hospital.do("UPDATE raw SET sent = '<0.01' WHERE no = 17")
    hospital.do("CREATE VIEW results AS SELECT no, CAST(sent AS NUMERIC) AS value FROM raw")
    source = sql_source(hospital.url, {"results": {"key": "no"}}, password_secret="HIS")
    records, last = pull(TablesConnector(source, tmp_path))
    (bad,) = (one for one in records if isinstance(one, Unreadable))
    assert (bad.refusal.code, bad.refusal.where) == ("bad_value", "results.value")
    assert len({one.native_id for one in records if isinstance(one, RawRecord)}) == 29
    assert last.expected == 30


def test_dates_of_zeros_and_gbk_in_latin1_columns_are_read(mariadb: Hospital, sql_source: Make, tmp_path: Path) -> None:
    mariadb.do(
        "CREATE TABLE p (no INT PRIMARY KEY, born DATE, name VARCHAR(20) CHARACTER SET latin1,"
        " ward VARCHAR(20) CHARACTER SET gbk, seen TIMESTAMP NULL)"
    )
    name, broken = "欧阳䶮".encode("gb18030").hex(), "欧阳".encode("gb18030")[:3].hex()
    with mariadb.engine.connect() as connection:
        connection.exec_driver_sql("SET time_zone = '+08:00'")
        for number, stored in ((1, name), (2, broken)):
            connection.exec_driver_sql(
                f"INSERT INTO p VALUES ({number}, '0000-00-00', CONVERT(X'{stored}' USING latin1), '内科',"
                " '2026-05-01 08:00:00')"
            )
    source = sql_source(mariadb.url, {"p": {"key": "no"}}, password_secret="HIS", charset="gb18030")
    records, _ = pull(TablesConnector(source, tmp_path))
    good, bad = records
    assert isinstance(good, RawRecord)
    assert good.content.decode() == (
        '{"key":{"no":1},"row":{"born":"0000-00-00","name":"欧阳䶮","no":1,"seen":"2026-05-01T00:00:00+00:00",'
        '"ward":"内科"},"table":"p"}'
    )
    assert isinstance(bad, Unreadable)
    assert (bad.refusal.code, bad.refusal.where) == ("charset", "p.name")


def test_times_that_no_calendar_holds_stop_nothing(sql_source: Make, tmp_path: Path, hospital: Hospital) -> None:
    if hospital.kind != "postgresql":
        return
    hospital.do("CREATE TABLE t (no INT PRIMARY KEY, at TIMESTAMPTZ, day DATE, big NUMERIC, id UUID, doc JSONB)")
    with hospital.engine.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO t VALUES (1, 'infinity', '0044-03-15 BC', 'NaN', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', "
            "'{\"a\": 1}'), (2, '2026-05-01 08:00:00+08', '2026-05-01', 0.10, NULL, NULL)"
        )
    source = sql_source(hospital.url, {"t": {"key": "no", "watermark": "at"}}, password_secret="HIS")
    records, last = pull(TablesConnector(source, tmp_path))
    first, second = sorted(one.content.decode() for one in records if isinstance(one, RawRecord))
    assert '"at":"infinity"' in first
    assert '"day":"0044-03-15 BC"' in first
    assert '"big":"NaN"' in first
    assert '"at":"2026-05-01T00:00:00+00:00","big":0.10' in second
    assert last.expected == 2


def test_text_that_is_in_no_character_set_of_the_server_is_tried(
    sql_source: Make, tmp_path: Path, hospital: Hospital
) -> None:
    if hospital.kind != "postgresql":
        return
    name = f"ascii_{secrets.token_hex(4)}"
    hospital._admin(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    engine = create_engine(
        hospital.engine.url.set(database=name), isolation_level="AUTOCOMMIT", connect_args={"client_encoding": "UTF8"}
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE p (no INT PRIMARY KEY, 姓名 TEXT)")
        connection.exec_driver_sql(f"GRANT SELECT ON p TO {hospital.reader}")
        gbk = "张三".encode("gb18030").hex()
        connection.exec_driver_sql(
            f"INSERT INTO p VALUES (1, convert_from(decode('{gbk}', 'hex'), 'SQL_ASCII')),"
            " (2, convert_from('\\xff'::bytea, 'SQL_ASCII')), (3, '李四')"
        )
    engine.dispose()
    source = sql_source(hospital.url.replace(hospital.name, name), {"p": {"key": "no"}}, password_secret="HIS")
    records, _ = pull(TablesConnector(source, tmp_path))
    hospital._admin(f"DROP DATABASE {name}")
    assert [re.findall("[张李][三四]", one.content.decode()) for one in records if isinstance(one, RawRecord)] == [
        ["张三"], ["李四"],
    ]  # fmt: skip
    (bad,) = (one for one in records if isinstance(one, Unreadable))
    assert (bad.refusal.code, bad.refusal.where) == ("charset", "p.姓名")


def test_a_server_that_is_killed_and_started_again_gives_the_rest(sql_source: Make, tmp_path: Path) -> None:
    from deploy.services import MariaDb, Postgres, running

    for kind in (Postgres, MariaDb):
        with running(kind) as server:
            (url,) = server.environment().values()
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql("CREATE TABLE t (no INT PRIMARY KEY, word VARCHAR(300))")
                connection.execute(
                    text("INSERT INTO t VALUES (:no, :word)"), [{"no": n, "word": "x" * 300} for n in range(3_000)]
                )
            engine.dispose()
            os.environ["XINGLIN_SECRET_ADMIN"] = make_url(url).password or ""
            settings: dict[str, Any] = {"accept_writer": True, "page_rows": 1_000}
            if make_url(url).password:
                settings["password_secret"] = "ADMIN"
            source = sql_source(bare(make_url(url)), {"t": {"key": "no"}}, **settings)
            connector = TablesConnector(source, tmp_path)
            connector.page_records = 300  # type: ignore[misc]
            pages = connector.pull()
            before = list(islice(pages, 4))
            server.stop(kill=True)
            with pytest.raises(Retry):
                before += list(pages)
            server.start()
            rest, _ = pull(TablesConnector(source, tmp_path), before[-1].cursor)
            came = {getattr(one, "native_id", "") for page in before for one in page.records}
            assert came | {getattr(one, "native_id", "") for one in rest} == {f"t/{n}" for n in range(3_000)}
            os.environ.pop("XINGLIN_SECRET_ADMIN")


def test_no_error_repeats_a_value(hospital: Hospital, sql_source: Make, tmp_path: Path) -> None:
    source = sql_source(hospital.url, {"nothing": {"key": "no"}}, password_secret="HIS")
    with pytest.raises(ConnectorError) as refused:
        pull(TablesConnector(source, tmp_path))
    assert "SELECT" not in str(refused.value).upper().replace("GRANT SELECT", "")
    with (
        pytest.raises(ConnectorError) as refused,
        TablesConnector(source, tmp_path).session.transaction() as connection,
    ):
        connection.execute(text("SELECT CAST('secret-name' AS nothing)"))
    assert "secret-name" not in str(refused.value)
    assert not isinstance(refused.value.__cause__, DBAPIError)


def test_a_watermark_with_a_zone_is_moved_back_and_compared_in_utc(
    hospital: Hospital, sql_source: Make, tmp_path: Path
) -> None:
    kind = "TIMESTAMPTZ" if hospital.kind == "postgresql" else "TIMESTAMP"
    hospital.do(f"CREATE TABLE t (no INT PRIMARY KEY, at {kind} NULL)")
    with hospital.engine.connect() as connection:
        connection.exec_driver_sql(
            "SET TIME ZONE '+08:00'" if hospital.kind == "postgresql" else "SET time_zone = '+08:00'"
        )
        for number in range(10):
            connection.exec_driver_sql(f"INSERT INTO t VALUES ({number}, '2026-05-01 {number + 10}:00:00')")
    settings = {"t": {"key": "no", "watermark": "at", "overlap_seconds": 7200}}
    source = sql_source(hospital.url, settings, password_secret="HIS", page_rows=3)
    records, last = pull(TablesConnector(source, tmp_path))
    assert len(records) == last.expected == 10
    records, last = pull(TablesConnector(source, tmp_path), last.cursor)
    assert [getattr(one, "native_id", "") for one in records] == ["t/7", "t/8", "t/9"]
