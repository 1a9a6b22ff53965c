"""One database, opened for reading: transactions that see one snapshot, and statements that stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, func, select
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from connectors.his.sql_dialects import Dialect, Limits, dialect_of
from connectors.his.sql_errors import RowFault, is_row_fault, told, translated
from connectors.his.sql_settings import SqlSettings, url_of
from connectors.his.sql_shape import Shape, look
from schemas.errors import ConfigurationError
from schemas.source import Source

#: Rows that a server hands over at a time.
FETCH: Final = 500


class Session:
    """A source's database.

    Args:
        source: The source.
        settings: Its settings.
        home: The home folder.
    """

    def __init__(self, source: Source, settings: SqlSettings, home: Path) -> None:
        self.source = source
        self.settings = settings
        self._home = home

    @cached_property
    def _opened(self) -> tuple[Engine, Dialect]:
        url = url_of(self.source, self.settings, self._home)
        dialect = dialect_of(url)
        try:
            engine = dialect.open(url, Limits(self.settings.connect_seconds, self.settings.statement_seconds))
        except (NoSuchModuleError, ImportError, SQLAlchemyError) as error:
            raise ConfigurationError(
                f"sources/{self.source.id}.yaml: settings: url: its driver cannot be used here "
                f"({type(error).__name__}); install xinglin[region], or name another driver"
            ) from None
        return engine, dialect

    @property
    def dialect(self) -> Dialect:
        """How this kind of database is treated."""
        return self._opened[1]

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """What is read inside is one snapshot, where the server can; it ends in a rollback.

        Raises:
            Retry: The server is not there or hung up.
            Stop: A person must act first.
        """
        engine, dialect = self._opened
        with translated(self.source.id), engine.connect() as connection:
            connection = connection.execution_options(**dialect.options())
            with connection.begin() as transaction:
                dialect.begin(connection)
                yield connection
                transaction.rollback()

    def look(self, connection: Connection, name: str) -> Shape:
        """Return the shape of one of the source's tables as it is now."""
        settings = self.settings
        return look(connection, self.dialect, name, settings.tables[name], settings.schema, self.source.charset)

    def count(self, connection: Connection, shape: Shape, where: Any) -> int:
        """Return how many rows of the table the server counts under a condition."""
        return int(connection.execute(select(func.count()).select_from(shape.clause).where(where)).scalar_one())

    def stream(self, connection: Connection, statement: Select[Any]) -> Generator[Row[Any], None, None]:
        """Yield a statement's rows, few in memory at a time.

        Raises:
            RowFault: What one row holds stops the statement.
        """
        options = {"stream_results": True, "yield_per": FETCH}
        try:
            with closing(connection.execute(statement, execution_options=options)) as result:
                yield from result
        except (SQLAlchemyError, ValueError, ArithmeticError) as error:
            if is_row_fault(error):
                raise RowFault from None
            raise

    def one_by_one(self, connection: Connection, statement: Select[Any]) -> Sequence[Row[Any]] | None:
        """Return a small statement's rows, or None where what they hold stops it; the transaction goes on."""
        try:
            with connection.begin_nested():
                return connection.execute(statement).all()
        except (SQLAlchemyError, ValueError, ArithmeticError) as error:
            if is_row_fault(error):
                return None
            raise told(self.source.id, error) from None
