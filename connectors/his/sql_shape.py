"""What a table looks like: its columns, how each is read, and how that differs from the last time (schema drift)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, Select, TableClause, column, select, table, types
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.sql import ColumnElement

from connectors.errors import Stop
from connectors.his.sql_dialects import Dialect, codec_of
from connectors.his.sql_settings import Table
from connectors.his.sql_values import Family

_FAMILIES: Final[tuple[tuple[type[types.TypeEngine[Any]], Family], ...]] = (
    (types.Boolean, "boolean"),
    (types.Integer, "integer"),
    (types.Float, "float"),
    (types.Numeric, "decimal"),
    (types.DateTime, "moment"),
    (types.Date, "date"),
    (types.Time, "time"),
    (types.CHAR, "char"),
    (types.Enum, "text"),
    (types.String, "text"),
    (types.LargeBinary, "bytes"),
    (types.BINARY, "bytes"),
    (types.VARBINARY, "bytes"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: As the database calls it.
        family: What its values are.
        scale: Decimal places that it declares, or None.
        charset: Codec of its texts; None to try.
        declared: Its type in the database's words, to tell whether it changed.
    """

    name: str
    family: Family
    scale: int | None
    charset: str | None
    declared: str


@dataclass(frozen=True)
class Shape:
    """A table as it stands now.

    Attributes:
        name: As the settings call it.
        schema: Its schema, or None.
        bare: Its name without the schema.
        settings: How it is read.
        columns: Those that are read, in the database's order.
        dialect: How the database is treated.
    """

    name: str
    schema: str | None
    bare: str
    settings: Table
    columns: tuple[Column, ...]
    dialect: Dialect

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {one.name: one for one in self.columns}

    @cached_property
    def clause(self) -> TableClause:
        """The table in a statement."""
        return table(self.bare, *(column(one.name) for one in self.columns), schema=self.schema)

    def ref(self, name: str) -> ColumnElement[Any]:
        """Return a column in a statement."""
        return self.clause.c[name]

    def select(self, names: tuple[str, ...] = ()) -> Select[Any]:
        """Return the statement that reads these columns (all where none are named) so that no value stops it."""
        wanted = [self.by_name[name] for name in names] if names else self.columns
        asked = (self.dialect.asked(self.ref(one.name), one.family).label(f"c{at}") for at, one in enumerate(wanted))
        return select(*asked).select_from(self.clause)

    def types(self) -> dict[str, str]:
        """Return each column's type in the database's words; what drift is measured by."""
        return {one.name: one.declared for one in self.columns}


def look(
    connection: Connection, dialect: Dialect, name: str, settings: Table, schema: str | None, charset: str
) -> Shape:
    """Return the shape of a table or view.

    Raises:
        Stop: It is not there, or lacks a column that the settings name.
    """
    own, _, bare = name.rpartition(".")
    schema = own or schema
    try:
        found = dialect.columns(connection, schema, bare)
    except NoSuchTableError:
        raise Stop(f"table {name} is not there, or the account may not see it; correct settings.tables") from None
    named = dialect.charsets(connection, schema, bare)
    columns = [_column(one, codec_of(named, one["name"], settings.charset, charset)) for one in found]
    wanted = {*settings.columns, *settings.key, *settings.watermark, *filter(None, [settings.deleted_column])}
    if missing := sorted(wanted - {one.name for one in columns}):
        raise Stop(f"table {name} has no column {missing[0]}; correct settings.tables")
    read = tuple(
        one for one in columns if (not settings.columns or one.name in wanted) and one.name not in settings.without
    )
    return Shape(name, schema, bare, settings, read, dialect)


def _column(found: Mapping[str, Any], charset: str | None) -> Column:
    kind = found["type"]
    family = family_of(kind)
    scale = getattr(kind, "scale", None) if family == "decimal" else None
    return Column(found["name"], family, scale if isinstance(scale, int) else None, charset, _declared(kind))


def family_of(kind: types.TypeEngine[Any]) -> Family:
    """Return what the values of a column of this type are."""
    if isinstance(kind, types.DateTime) and (
        getattr(kind, "timezone", False) or (type(kind).__name__ == "TIMESTAMP" and "mysql" in type(kind).__module__)
    ):
        return "instant"
    for type_, family in _FAMILIES:
        if isinstance(kind, type_):
            return family
    return "other"


def _declared(kind: types.TypeEngine[Any]) -> str:
    """The type without what may differ between two looks at the same column (a collation)."""
    parts = [type(kind).__name__.upper()]
    for name in ("length", "precision", "scale"):
        value = getattr(kind, name, None)
        if isinstance(value, int):
            parts.append(str(value))
    return parts[0] + (f"({','.join(parts[1:])})" if parts[1:] else "")


@dataclass(frozen=True, slots=True)
class Drift:
    """One way in which a table differs from what it was.

    Attributes:
        table: Its name in the settings.
        column: The column.
        change: ``appeared``, ``vanished`` or ``changed``.
        was: Its type before, or ``""``.
        now: Its type now, or ``""``.
    """

    table: str
    column: str
    change: str
    was: str
    now: str

    def __str__(self) -> str:
        """Return it in a sentence's part."""
        types_ = {"appeared": f" as {self.now}", "vanished": f", was {self.was}"}
        return f"{self.table}.{self.column} {self.change}{types_.get(self.change, f' from {self.was} to {self.now}')}"


def drifts(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Drift]:
    """Yield how the columns of a table differ, in order of name; nothing where there was no before."""
    for one in sorted({*before, *now}) if before else ():
        was, is_ = before.get(one, ""), now.get(one, "")
        if was != is_:
            yield Drift(name, one, "changed" if was and is_ else "vanished" if was else "appeared", was, is_)
