"""What a SQL source may be told: where the database is, which tables are read, and how what is new in them is found."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connectors.settings import read_settings, secret
from schemas.errors import ConfigurationError
from schemas.source import Source

#: Parts of a URL's query in which drivers take a password.
_SECRETS: Final = frozenset({"password", "passwd", "pwd", "sslpassword"})


@dataclass(frozen=True, slots=True)
class Table:
    """How one table or view is read.

    Attributes:
        key: Columns that together name a row.
        watermark: Columns that say when a row last changed; of several the first that is not NULL counts. Times
            (also as text), or numbers that only grow. None: the whole table is read each time.
        overlap_seconds: How far behind the watermark of times each reading begins; None for the source's.
        overlap_values: The same for a watermark of numbers.
        deleted_column: Column that marks a row as deleted.
        deleted_values: What it holds then.
        compare_hours: Hours after which the whole table is compared with what was there before, to find rows that
            vanished or were committed later than the overlap; None for never, unless there is no watermark.
        columns: Only these are read, beside key and watermark; empty for all.
        without: These are not read.
        charset: Codec of the table's texts, where the database does not say it or says it wrong.
    """

    key: tuple[str, ...]
    watermark: tuple[str, ...] = ()
    overlap_seconds: int | None = None
    overlap_values: int | None = None
    deleted_column: str | None = None
    deleted_values: tuple[str, ...] = ("1", "Y", "T", "true")
    compare_hours: float | None = None
    columns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    charset: str | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("key is empty; name the columns that tell one row from another")
        if set(self.without) & {*self.key, *self.watermark}:
            raise ValueError("without names a column of key or watermark, which must be read")
        if self.compare_hours is not None and not 0 <= self.compare_hours <= 10_000:
            raise ValueError("compare_hours must be from 0 to 10000")
        if min(self.overlap_seconds or 0, self.overlap_values or 0) < 0:
            raise ValueError("overlap_seconds and overlap_values must not be negative")
        if self.charset is not None:
            _codec(self.charset)


@dataclass(frozen=True, slots=True)
class _Flat:
    """The settings that are no structure."""

    url: str
    password_secret: str | None = None
    schema: str | None = None
    overlap_seconds: int = 3_600
    overlap_values: int = 1_000
    page_rows: int = 5_000
    statement_seconds: int = 600
    connect_seconds: int = 10
    accept_writer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSettings(_Flat):
    """Settings of a database that is read by tables.

    Attributes:
        url: SQLAlchemy URL without a password, such as postgresql+psycopg://reader@his-db/his,
            mysql+pymysql://reader@his-db/his or sqlite:///his.db (a file in the home folder).
        tables: For each table or view, in the order in which they are read, its key and watermark columns.
        password_secret: Name of the secret that holds the password; None where none is asked for.
        schema: Schema of tables that are named without one.
        overlap_seconds: How far behind the watermark each reading begins, so that rows committed late are met.
        overlap_values: The same for watermarks that are numbers.
        page_rows: Rows of one transaction at the source.
        statement_seconds: Longest time for one statement.
        connect_seconds: Longest time to connect.
        accept_writer: Whether an account that could write is accepted; nothing is ever written.
    """

    tables: Mapping[str, Table]

    def __post_init__(self) -> None:
        if not self.tables:
            raise ValueError("tables is empty; name at least one table with its key")
        if not 1 <= self.page_rows <= 1_000_000:
            raise ValueError("page_rows must be from 1 to 1000000")
        if min(self.overlap_seconds, self.overlap_values) < 0:
            raise ValueError("overlap_seconds and overlap_values must not be negative")
        if not (1 <= self.statement_seconds <= 86_400 and 1 <= self.connect_seconds <= 600):
            raise ValueError("statement_seconds must be from 1 to 86400 and connect_seconds from 1 to 600")


def read_sql_settings(source: Source) -> SqlSettings:
    """Return the source's settings, checked.

    Raises:
        ConfigurationError: A key is unknown, missing, of another type or out of range.
    """
    given = dict(source.settings)
    tables = given.pop("tables", None)
    if not isinstance(tables, Mapping) or not all(isinstance(name, str) and name for name in tables):
        raise ConfigurationError(
            f"sources/{source.id}.yaml: settings: tables: expected names of tables with their keys"
        )
    flat = read_settings(replace(source, settings=given), _Flat)
    read = {name: _table(source, name, one) for name, one in tables.items()}
    try:
        return SqlSettings(tables=read, **{name: getattr(flat, name) for name in _Flat.__slots__})
    except ValueError as error:
        raise ConfigurationError(f"sources/{source.id}.yaml: settings: {error}") from None


def _table(source: Source, name: str, given: Any) -> Table:
    where = f"sources/{source.id}.yaml: settings: tables: {name}"
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: expected key, watermark and so on, got {type(given).__name__}")
    try:
        return read_settings(replace(source, settings=given), Table)
    except ConfigurationError as error:
        told = str(error).partition(": settings: ")[2]
        raise ConfigurationError(f"{where}: {told}") from None


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("charset is no codec of Python; write one such as gb18030") from None


def url_of(source: Source, settings: SqlSettings, home: Path) -> URL:
    """Return the URL with its password, paths of SQLite from the home folder.

    Raises:
        ConfigurationError: It is none, holds a password, or the secret is not there.
    """
    where = f"sources/{source.id}.yaml: settings: url"
    try:
        url = make_url(settings.url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"{where}: expected a SQLAlchemy URL such as postgresql+psycopg://…") from None
    if url.password is not None or _SECRETS & {name.lower() for name in url.query}:
        raise ConfigurationError(f"{where}: holds a password; name the secret that holds it in password_secret")
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigurationError(f"{where}: expected the file of the SQLite database")
        return url.set(database=str((home / url.database).absolute()))
    if settings.password_secret is not None:
        url = url.set(password=secret(home, source, settings.password_secret))
    return url
