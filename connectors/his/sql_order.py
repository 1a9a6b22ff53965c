"""The order in which a table is read, and places in it that a cursor can hold."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, func, or_, select, true, types
from sqlalchemy.sql import ColumnElement

from connectors.his.sql_ranges import form_of
from connectors.his.sql_shape import Column, Shape
from connectors.his.sql_values import BadValue, plain

#: Watermarks before this are none: 0000-00-00, 0001-01-01 and the like.
_FLOOR: Final = "1000-01-01"


@dataclass(frozen=True)
class Order:
    """By the watermark, then by the key; by the key alone where there is no watermark."""

    shape: Shape

    @cached_property
    def watermark(self) -> ColumnElement[Any] | None:
        """The first watermark column of a row that is not NULL."""
        names = self.shape.settings.watermark
        if not names:
            return None
        return self.shape.ref(names[0]) if len(names) == 1 else func.coalesce(*map(self.shape.ref, names))

    @property
    def mark(self) -> Column:
        """The column that says how watermarks are read."""
        return self.shape.by_name[self.shape.settings.watermark[0]]

    @cached_property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        """What rows are ordered by."""
        keys = tuple(map(self.shape.ref, self.shape.settings.key))
        return keys if self.watermark is None else (self.watermark, *keys)

    @cached_property
    def _read(self) -> tuple[Column, ...]:
        keys = tuple(self.shape.by_name[name] for name in self.shape.settings.key)
        return keys if self.watermark is None else (self.mark, *keys)

    def timed(self, top: Any) -> bool:
        """Whether the watermark is a time, as its type or the text ``top`` tells."""
        if self.watermark is None:
            return False
        return self.mark.family in ("date", "moment", "instant") or (isinstance(top, str) and form_of(top) is not None)

    def placed(self, timed: bool) -> ColumnElement[bool]:
        """Return whether a row has a place in the order: no column NULL, and a watermark that is one."""
        known = [one.is_not(None) for one in self.columns]
        return and_(true(), *known, self.columns[0] >= as_it_is(_FLOOR)) if timed else and_(true(), *known)

    def unplaced(self, timed: bool) -> ColumnElement[bool]:
        """Return whether a row has no place in the order; such rows are read every time."""
        unknown = [one.is_(None) for one in self.columns]
        return or_(*unknown, self.columns[0] < as_it_is(_FLOOR)) if timed else or_(*unknown)

    def top(self, connection: Connection) -> Any:
        """Return the highest watermark there is, None where there is none."""
        if self.watermark is None:
            return None
        asked = self.shape.dialect.asked(func.max(self.watermark), self.mark.family)
        return self._plain(self.mark, connection.execute(select(asked)).scalar_one())

    def last(self, connection: Connection, timed: bool) -> list[Any] | None:
        """Return the last place of the table, None where it has none."""
        return self._place(connection, self.placed(timed), [one.desc() for one in self.columns], 0)

    def at(self, connection: Connection, where: ColumnElement[bool], rows: int) -> list[Any] | None:
        """Return the place of the ``rows``-th row under a condition; None where there are fewer, or it has no name."""
        return self._place(connection, where, self.columns, rows - 1)

    def _place(
        self, connection: Connection, where: ColumnElement[bool], order: Sequence[ColumnElement[Any]], skip: int
    ) -> list[Any] | None:
        asked = [
            self.shape.dialect.asked(column, one.family) for column, one in zip(self.columns, self._read, strict=True)
        ]
        statement = select(*asked).where(where).order_by(*order).offset(skip).limit(1)
        row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        try:
            return [self._plain(one, value) for one, value in zip(self._read, row, strict=True)]
        except BadValue:
            return None

    @staticmethod
    def _plain(column: Column, value: Any) -> Any:
        return plain(value, column.family, column.charset, column.scale)

    def bound(self, place: Sequence[Any]) -> list[ColumnElement[Any]]:
        """Return a place (or as much of it as is given) as its values are handed to the driver."""
        return [_bound(value, one, self.shape.dialect.name) for value, one in zip(place, self._read, strict=False)]


def _bound(value: Any, column: Column, dialect: str) -> ColumnElement[Any]:
    if isinstance(value, Decimal) and (column.family == "float" or dialect == "sqlite"):
        value = float(value)
    elif isinstance(value, dict):
        value = base64.b64decode(value["base64"])
    elif column.family == "instant" and dialect in ("mysql", "mariadb"):  # which do not all know offsets
        value = datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
    return as_it_is(value)


def as_it_is(value: Any) -> ColumnElement[Any]:
    """Return a value for a statement without a type of ours: the server takes it for what its column is."""
    return bindparam(None, value, type_=types.NullType(), unique=True)


def packed(place: Sequence[Any]) -> list[Any]:
    """Return a place as JSON values."""
    return [{"decimal": str(one)} if isinstance(one, Decimal) else one for one in place]


def unpacked(place: Sequence[Any]) -> list[Any]:
    """Return what `packed` was given."""
    return [Decimal(one["decimal"]) if isinstance(one, dict) and "decimal" in one else one for one in place]
