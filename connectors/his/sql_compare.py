"""A whole table compared with what it held the last time: what is new, what changed, what vanished.

It finds what a watermark cannot: rows deleted without a trace, changed without a new watermark, or committed later than
the overlap. Both sides come in the order of their keys' bytes and are walked once, so memory does not grow with the
table. A row that vanished becomes a record that says so, with what was known of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, or_
from sqlalchemy.sql import ColumnElement

from connectors.contract import BulkStore, Found, Mark
from connectors.errors import Retry, Stop
from connectors.his.sql_errors import RowFault
from connectors.his.sql_kept import Kept, drop, kept_lines
from connectors.his.sql_order import Order
from connectors.his.sql_reading import Progress, next_watermark
from connectors.his.sql_rows import Taken, found, keys_of, singly, take
from connectors.his.sql_session import Session
from connectors.his.sql_shape import Shape
from connectors.his.sql_values import record

#: A kept line: values of the key, digest of the rows, whether it is gone, the rows' columns.
_Line = list[Any]


class Comparison:
    """One table's comparison; ``entry`` gains ``kept`` (pieces and number of the comparison) and ``compared``."""

    def __init__(
        self, session: Session, shape: Shape, entry: Mapping[str, Any], progress: Progress, bulk: BulkStore
    ) -> None:
        self._session = session
        self._shape = shape
        self._entry = entry
        self._progress = progress
        self._bulk = bulk
        held = entry.get("kept") or {"pieces": [], "old": [], "number": 0}
        self._pieces: list[str] = held["pieces"]
        self._old: list[str] = held["old"]
        self._number = int(held["number"]) + 1
        self._kept = Kept(bulk, session.source.id, shape.name)
        # Where the watermark stands in the row, a changed row's content is new by itself.
        self._stamped = bool(shape.settings.watermark)

    def run(self) -> Iterator[Found | Mark]:
        """Yield what differs, then the mark; the rows themselves are counted by the server in the same snapshot."""
        keys = [self._shape.ref(name) for name in self._shape.settings.key]
        named = and_(*(one.is_not(None) for one in keys))
        with self._session.transaction() as connection:
            began = self._session.dialect.now(connection)
            top = Order(self._shape).top(connection)
            yield from self._nameless(connection, or_(*(one.is_(None) for one in keys)))
            count = self._session.count(connection, self._shape, named)
            yield from self._walk(connection, named, count)
        yield self._progress.mark(self._shape.name, self._end(top, began))

    def _nameless(self, connection: Connection, where: Any) -> Iterator[Found]:
        """Yield the rows whose key is NULL; they are refused, each time."""
        count = self._session.count(connection, self._shape, where)
        if count:
            rows = self._session.stream(connection, self._shape.select().where(where))
            yield from (found(self._shape, take(self._shape, row)) for row in rows)
            self._progress.expected += count

    def _walk(self, connection: Connection, where: Any, count: int) -> Iterator[Found]:
        came = 0
        now = groupby(self._now(connection, where), key=lambda one: self._place(tuple(one.key.values())))
        was = ((self._place(tuple(line[0])), line) for line in kept_lines(self._bulk, self._pieces))
        new, old = next(now, None), next(was, None)
        while new or old:
            if old is None or (new is not None and new[0] < old[0]):
                assert new is not None
                rows = list(new[1])
                yield from self._news(rows, None)
            elif new is None or old[0] < new[0]:
                rows = []
                yield from self._gone(old[1])
                old = next(was, None)
                continue
            else:
                rows = list(new[1])
                yield from self._news(rows, old[1])
                old = next(was, None)
            came += len(rows)
            new = self._next(now, new[0])
        if came < count:
            raise Retry(
                f"{self._session.source.id}: {self._shape.name}: {count} rows are there and {came} came; run again"
            )

    def _next(self, now: Any, before: tuple[Any, ...]) -> Any:
        new = next(now, None)
        if new is not None and new[0] <= before:
            raise Stop(
                f"{self._session.source.id}: {self._shape.name}: rows do not come in the order of their keys' bytes; "
                "leave compare_hours out, or name a key of numbers or ASCII text"
            )
        return new

    def _now(self, connection: Connection, where: Any) -> Iterator[Taken]:
        """Yield the table's rows in the order of their keys' bytes; singly from the first that stops the statement."""
        shape, last = self._shape, None
        order = self._ordered()
        try:
            with closing(self._session.stream(connection, shape.select().where(where).order_by(*order))) as rows:
                for row in rows:
                    taken = take(shape, row)
                    last = self._place(tuple(taken.key.values()))
                    yield taken
        except RowFault:
            with self._session.transaction() as again:
                keys = keys_of(self._session, again, shape, where, order)
                for taken in singly(self._session, again, shape, keys):
                    if last is None or self._place(tuple(taken.key.values())) > last:
                        yield taken

    def _ordered(self) -> list[ColumnElement[Any]]:
        shape = self._shape
        return [shape.dialect.ordered(shape.ref(name), shape.by_name[name].family) for name in shape.settings.key]

    def _place(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a key as it is compared: numbers as numbers, texts as the bytes of their column."""
        columns = (self._shape.by_name[name] for name in self._shape.settings.key)
        return tuple(_comparable(value, one.charset) for one, value in zip(columns, key, strict=True))

    def _news(self, rows: list[Taken], line: _Line | None) -> Iterator[Found]:
        """Yield the rows of a key that are new or differ from what was kept; keep them."""
        digest = hashlib.sha256()
        for one in rows:
            digest.update(record(self._shape.name, one.key, one.row))
        mark = digest.hexdigest()[:32]
        held = rows[-1]
        self._kept.add([list(held.key.values()), mark, False, held.row])
        if line is not None and line[1] == mark and not line[2]:
            return
        # A row that was there before, went, and came back says nothing new by itself; nor does one without a watermark.
        change = 0 if line is None or (self._stamped and not line[2]) else self._number
        for one in rows:
            yield found(self._shape, one, change=change)
            self._progress.expected += 1

    def _gone(self, line: _Line) -> Iterator[Found]:
        """Yield the record that says a row vanished, once; of the row nothing but its key is kept from then on."""
        values, mark, gone, row = line
        self._kept.add([values, mark, True, {}])
        if not gone:
            key = dict(zip(self._shape.settings.key, values, strict=True))
            yield found(self._shape, Taken(key, row), change=self._number, gone=True)
            self._progress.expected += 1

    def _end(self, top: Any, began: datetime) -> dict[str, Any]:
        # What only an earlier comparison needs is dropped once this cursor is the one that is read from.
        drop(self._bulk, self._old)
        pieces = self._kept.finish()
        old = sorted(set(self._pieces) - set(pieces))
        ended: dict[str, Any] = {
            "types": self._shape.types(),
            "kept": {"pieces": pieces, "old": old, "number": self._number},
            "compared": began.astimezone(UTC).isoformat(),
        }
        if top is not None:
            ended["w"] = next_watermark(self._shape, top, began, self._session.source.time_zone)
        return ended


def _comparable(value: Any, charset: str | None) -> Any:
    if isinstance(value, str):
        return value.encode(charset or "utf-8", "surrogateescape")
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return Decimal(value)
