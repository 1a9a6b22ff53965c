"""How each kind of database is opened so that nothing can be written, one snapshot is read, and bytes come undecoded.

Texts are asked for as the bytes that the database holds, because what decodes them on the way (server or driver) stops
the whole statement at the first byte that is wrong. Here they are decoded value by value.
"""

# ruff: noqa: ARG002  (each kind of database needs other arguments of the same methods)

from __future__ import annotations

import codecs
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, cast, create_engine, event, func, inspect, types
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import ColumnElement

from connectors.his.sql_values import Family

#: Names that databases give character sets, as codecs of Python. GB 18030 holds GBK and GB 2312.
CODECS: Final = {
    "utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "ascii": "utf-8", "us-ascii": "utf-8",
    "gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "euc_cn": "gb18030", "big5": "big5",
    "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be",
    "utf-8": "utf-8", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a database may take, in seconds."""

    connect: int
    statement: int


class Dialect:
    """Any database that SQLAlchemy speaks: opened, read in transactions that are rolled back."""

    name: ClassVar[str] = ""
    #: Whether this class knows how to make and show a session that cannot write.
    read_only: ClassVar[bool] = False
    #: Whether all statements of a transaction see the same rows.
    snapshot: ClassVar[bool] = False

    def open(self, url: URL, limits: Limits) -> Engine:
        """Return an engine whose connections live as long as one use; nothing is connected yet."""
        return create_engine(url, poolclass=NullPool)

    def options(self) -> Mapping[str, Any]:
        """What a connection that reads is told."""
        return {}

    def begin(self, connection: Connection) -> None:
        """The transaction that began reads one snapshot and writes nothing."""

    def asked(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Return the expression that a column is read by."""
        return column

    def ordered(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Return what a key column is ordered by so that texts come in the order of their bytes."""
        return column

    def columns(self, connection: Connection, schema: str | None, table: str) -> list[Mapping[str, Any]]:
        """Return ``name`` and ``type`` of each column of a table or view.

        Raises:
            NoSuchTableError: It is not there, or may not be seen.
        """
        return list(inspect(connection).get_columns(table, schema=schema))

    def key(self, connection: Connection, schema: str | None, table: str) -> list[str]:
        """Return the columns of the primary key, none where there is none or it may not be seen."""
        try:
            return list(inspect(connection).get_pk_constraint(table, schema=schema).get("constrained_columns") or [])
        except SQLAlchemyError:
            return []

    def indexed(self, connection: Connection, schema: str | None, table: str) -> set[str | None] | None:
        """Return the columns that an index begins with; None where nobody may see that, or it is a view."""
        try:
            inspector = inspect(connection)
            if not inspector.has_table(table, schema=schema) or table in inspector.get_view_names(schema=schema):
                return None
            first = {one["column_names"][0] for one in inspector.get_indexes(table, schema=schema)}
        except SQLAlchemyError:
            return None
        return first | set(self.key(connection, schema, table)[:1])

    def now(self, connection: Connection) -> datetime:
        """Return the server's time, with an offset."""
        value = connection.execute(func.now().select()).scalar_one()
        if not isinstance(value, datetime):
            value = datetime.fromisoformat(str(value))
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def charsets(self, connection: Connection, schema: str | None, table: str) -> Mapping[str, str]:
        """Return the character set of each text column that says it, under ``""`` that of the others."""
        return {}

    def writable(self, connection: Connection, schema: str | None, table: str) -> bool | None:
        """Return whether the account could write the table if its session let it; None where nobody can tell."""
        return None


class Sqlite(Dialect):
    """A file that another program writes; opened so that it cannot be changed."""

    name = "sqlite"
    read_only = snapshot = True

    def open(self, url: URL, limits: Limits) -> Engine:
        """Open the file itself read-only (https://www.sqlite.org/uri.html)."""
        target = f"file:{quote(url.database or '')}?mode=ro"
        engine = create_engine(
            "sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(target, timeout=limits.connect, uri=True)
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _: object) -> None:
            connection.isolation_level = None  # else Python begins no transaction before a SELECT
            connection.execute("PRAGMA query_only = ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def asked(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Texts as the bytes of the file."""
        return cast(column, types.LargeBinary) if family in ("text", "char") else column

    def now(self, connection: Connection) -> datetime:
        """The clock of this machine: the file has none."""
        return datetime.now(UTC)

    def charsets(self, connection: Connection, schema: str | None, table: str) -> Mapping[str, str]:
        """What the file is encoded in; UTF-8 proves nothing, as programs write any bytes into it."""
        encoding = str(connection.exec_driver_sql("PRAGMA encoding").scalar_one()).lower()
        return {} if encoding == "utf-8" else {"": encoding}

    def writable(self, connection: Connection, schema: str | None, table: str) -> bool | None:
        """Never: the file is opened read-only."""
        return False


class Postgres(Dialect):
    """PostgreSQL 12 and later."""

    name = "postgresql"
    read_only = snapshot = True

    def open(self, url: URL, limits: Limits) -> Engine:
        """Every transaction of the session is read-only, and no statement runs for ever."""
        options = f"-c default_transaction_read_only=on -c statement_timeout={limits.statement * 1000}"
        arguments = {
            "options": options,
            "connect_timeout": limits.connect,
            "application_name": "xinglin",
            "client_encoding": "UTF8",
        }
        return create_engine(url, poolclass=NullPool, connect_args=arguments)

    def options(self) -> Mapping[str, Any]:
        """Repeatable read is a snapshot here (manual, 13.2.2)."""
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def begin(self, connection: Connection) -> None:
        """Times with a zone are written in UTC, dates as ISO 8601."""
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
        connection.exec_driver_sql("SET LOCAL datestyle = 'ISO, YMD'")

    def asked(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Texts as bytes; times as text, because a driver stops at ``infinity`` and years BC."""
        if family in ("text", "char"):
            return func.convert_to(cast(column, types.Text), func.current_setting("server_encoding"))
        if family in ("date", "time", "moment", "instant", "other"):
            return cast(column, types.Text)
        return column

    def ordered(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """The collation "C" orders by bytes."""
        return cast(column, types.Text).collate("C") if family in ("text", "char", "other") else column

    def now(self, connection: Connection) -> datetime:
        """The server's clock, not the transaction's beginning."""
        value = connection.execute(func.clock_timestamp().select()).scalar_one()
        assert isinstance(value, datetime)
        return value

    def charsets(self, connection: Connection, schema: str | None, table: str) -> Mapping[str, str]:
        """One for the database; SQL_ASCII says nothing."""
        name = str(connection.exec_driver_sql("SHOW server_encoding").scalar_one()).lower()
        return {} if name == "sql_ascii" else {"": name}

    def writable(self, connection: Connection, schema: str | None, table: str) -> bool | None:
        """Whether the account holds INSERT, UPDATE, DELETE or TRUNCATE."""
        name = connection.dialect.identifier_preparer.quote(table)
        if schema:
            name = f"{connection.dialect.identifier_preparer.quote(schema)}.{name}"
        question = func.has_table_privilege(name, "INSERT, UPDATE, DELETE, TRUNCATE")
        return bool(connection.execute(question.select()).scalar_one())


class MySql(Dialect):
    """MySQL 5.7 and later, MariaDB 10.4 and later; tables of InnoDB, for MyISAM knows no snapshot."""

    name = "mysql"
    read_only = snapshot = True

    def open(self, url: URL, limits: Limits) -> Engine:
        """The session is read-only, in UTC, and takes the server's characters as they are."""
        arguments: dict[str, Any] = {
            "connect_timeout": limits.connect,
            "read_timeout": limits.statement,
            "charset": "utf8mb4",
            "init_command": "SET time_zone = '+00:00'",
            "program_name": "xinglin",
        }
        if url.password:  # the driver would write it in latin1
            arguments["password"] = str(url.password).encode()
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

        return engine

    def asked(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Texts as the bytes of their column."""
        return cast(column, types.LargeBinary) if family in ("text", "char") else column

    def columns(self, connection: Connection, schema: str | None, table: str) -> list[Mapping[str, Any]]:
        """From what SELECT lets see; SHOW CREATE, which SQLAlchemy asks, takes a right more for a view."""
        found = connection.exec_driver_sql(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
            "FROM information_schema.columns WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s "
            "ORDER BY ordinal_position",
            (schema, table),
        ).all()
        if not found:
            raise NoSuchTableError(table)
        return [{"name": str(name), "type": _mysql_type(str(kind).lower(), *sizes)} for name, kind, *sizes in found]

    def ordered(self, column: ColumnElement[Any], family: Family) -> ColumnElement[Any]:
        """Bytes are ordered by bytes."""
        return cast(column, types.LargeBinary) if family in ("text", "char") else column

    def now(self, connection: Connection) -> datetime:
        """The server's clock."""
        value = connection.exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one()
        assert isinstance(value, datetime)
        return value.replace(tzinfo=UTC)

    def charsets(self, connection: Connection, schema: str | None, table: str) -> Mapping[str, str]:
        """One for each column; latin1 is the default that people forgot to change, and proves nothing."""
        found = connection.exec_driver_sql(
            "SELECT column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s AND character_set_name IS NOT NULL",
            (schema, table),
        )
        return {str(name): str(charset).lower() for name, charset in found if charset not in ("latin1", "binary")}

    def writable(self, connection: Connection, schema: str | None, table: str) -> bool | None:
        """Whether SHOW GRANTS tells more than reading."""
        harmless = ("GRANT USAGE ", "GRANT SELECT ", "GRANT SELECT,", "GRANT SHOW ")
        grants = [str(row[0]).upper() for row in connection.exec_driver_sql("SHOW GRANTS")]
        return any(not one.startswith(harmless) or _MORE & set(_rights(one)) for one in grants)


_WHOLE: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year"})
_BYTES: Final = frozenset({"bit", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_PLAIN: Final[Mapping[str, type[types.TypeEngine[Any]]]] = {
    "float": types.Float, "double": types.Float, "datetime": types.DateTime, "timestamp": mysql.TIMESTAMP,
    "date": types.Date, "time": types.Time,
}  # fmt: skip


def _mysql_type(name: str, length: int | None, precision: int | None, scale: int | None) -> types.TypeEngine[Any]:
    if name == "decimal":
        return types.Numeric(precision, scale)
    if name == "char":
        return types.CHAR(length)
    if name in _WHOLE:
        return types.Integer()
    if name in _BYTES:
        return types.LargeBinary()
    return _PLAIN[name]() if name in _PLAIN else types.String(length)


_MORE: Final = frozenset({"INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "CREATE", "ALL PRIVILEGES", "SUPER", "FILE"})


def _rights(grant: str) -> list[str]:
    return [one.strip() for one in grant.removeprefix("GRANT ").partition(" ON ")[0].split(",")]


class MariaDb(MySql):
    """MariaDB, under the name that SQLAlchemy gives it."""

    name = "mariadb"


_DIALECTS: Final[Mapping[str, type[Dialect]]] = {one.name: one for one in (Sqlite, Postgres, MySql, MariaDb)}


def dialect_of(url: URL) -> Dialect:
    """Return how the database of a URL is treated."""
    return _DIALECTS.get(url.get_backend_name(), Dialect)()


def codec_of(named: Mapping[str, str], column: str, table: str | None, source: str) -> str | None:
    """Return the codec of a column: the table's own setting, what the database says, the source's, or None for auto."""
    if table:
        return table
    said = named.get(column) or named.get("")
    if said:
        return CODECS.get(said) or _known(said)
    return None if source == "auto" else source


def _known(name: str) -> str | None:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None
