"""Rows as records: one canonical JSON each; what a row holds that cannot be read sets that row aside and no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.sql import ColumnElement

from connectors.contract import Found
from connectors.errors import Stop
from connectors.his.sql_order import as_it_is
from connectors.his.sql_ranges import Bound
from connectors.his.sql_session import Session
from connectors.his.sql_shape import Column, Shape
from connectors.his.sql_values import BadValue, dumps, native_id, plain, record
from schemas.records import Refusal


@dataclass(frozen=True, slots=True)
class Taken:
    """A row as it was read.

    Attributes:
        key: Its key columns.
        row: All its columns.
        refusal: Why it cannot become a record, or None.
    """

    key: dict[str, Any]
    row: dict[str, Any]
    refusal: Refusal | None = None


def take(shape: Shape, values: Row[Any] | Sequence[Any]) -> Taken:
    """Return a row's values as JSON; one that cannot be is refused under ``table.column``, the first of them."""
    row: dict[str, Any] = {}
    refusal = None
    for one, value in zip(shape.columns, values, strict=True):
        try:
            row[one.name] = plain(value, one.family, one.charset, one.scale)
        except BadValue as bad:
            row[one.name] = plain(value, "bytes", None, None)
            refusal = refusal or Refusal(bad.code, f"{shape.name}.{one.name}", bad.message)
    key = {name: row[name] for name in shape.settings.key}
    for name, value in key.items():
        if value is None and refusal is None:
            refusal = Refusal(
                "required",
                f"{shape.name}.{name}",
                "a key column is NULL, so nothing tells this row from others; fill it",
            )
    return Taken(key, row, refusal)


def found(shape: Shape, taken: Taken, *, change: int = 0, gone: bool = False) -> Found:
    """Return a row as what the connector hands over.

    Args:
        shape: Its table.
        taken: The row.
        change: Which comparison met it anew; 0 for none.
        gone: Whether the table no longer has it.
    """
    content = record(shape.name, taken.key, taken.row, deleted=gone or _marked(shape, taken.row), change=change)
    name = native_id(shape.name, taken.key)
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    # Neither key nor value stands in the position: either may be a patient's.
    return Found(content, f"row {digest} of {shape.name}", name, taken.refusal)


def _marked(shape: Shape, row: Mapping[str, Any]) -> bool:
    """Whether the tombstone column says that the row is deleted."""
    name = shape.settings.deleted_column
    if name is None or (value := row[name]) is None:
        return False
    text = value if isinstance(value, str) else dumps(value)
    return text.strip() in shape.settings.deleted_values


def singly(session: Session, connection: Connection, shape: Shape, keys: Sequence[Bound]) -> Iterator[Taken]:
    """Yield the rows of these keys, each read by itself; of one that stops its statement, what can be read of it."""
    for key in dict.fromkeys(map(tuple, keys)):
        where = [
            column.is_(None) if value is None else column == as_it_is(value)
            for column, value in zip(map(shape.ref, shape.settings.key), key, strict=True)
        ]
        rows = session.one_by_one(connection, shape.select().where(*where))
        if rows is not None:
            yield from (take(shape, row) for row in rows)
        else:
            yield _piecewise(session, connection, shape, where)


def _piecewise(session: Session, connection: Connection, shape: Shape, where: list[ColumnElement[bool]]) -> Taken:
    """A row column by column; the first column that cannot be read is the reason, and stands as null."""
    row: dict[str, Any] = {}
    refusal = None
    for one in shape.columns:
        values = session.one_by_one(connection, shape.select((one.name,)).where(*where))
        row[one.name] = None
        if values:
            row[one.name] = _part(one, values[0][0])
        elif values is None and refusal is None:
            message = "the database cannot compute or cast this row's value; correct the row or the view"
            refusal = Refusal("bad_value", f"{shape.name}.{one.name}", message)
    message = "the row cannot be read whole though each column can; report this"
    refusal = refusal or Refusal("bad_value", shape.name, message)
    return Taken({name: row[name] for name in shape.settings.key}, row, refusal)


def _part(column: Column, value: Any) -> Any:
    try:
        return plain(value, column.family, column.charset, column.scale)
    except BadValue:
        return plain(value, "bytes", None, None)


def keys_of(
    session: Session, connection: Connection, shape: Shape, where: Any, order: Sequence[ColumnElement[Any]]
) -> list[tuple[Any, ...]]:
    """Return the keys of the rows under a condition, in an order, as they can be asked for again.

    Raises:
        Stop: Not even they can be read.
    """
    columns = [shape.ref(name) for name in shape.settings.key]
    rows = session.one_by_one(connection, select(*columns).where(where).order_by(*order))
    if rows is None:
        raise Stop(
            f"{session.source.id}: the key columns of {shape.name} cannot be read; choose others, or mend the view"
        )
    return [tuple(row) for row in rows]
