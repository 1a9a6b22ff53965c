"""A table read from its watermark on: page by page, each page one snapshot in which the server counts it first.

A reading begins at the watermark less the overlap, so that rows committed late are met; ends at the highest watermark
there was when it began; and sets the next watermark to that, or to the server's time if that is earlier, because rows
that were stamped before the reading began may be committed after it, and a row dated in the future must not hide those
dated until then. Rows whose watermark or key is NULL, or no date at all, have no place and come with every reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_
from sqlalchemy.sql import ColumnElement

from connectors.contract import Found, Mark
from connectors.errors import Retry
from connectors.his.sql_errors import RowFault
from connectors.his.sql_order import Order, packed, unpacked
from connectors.his.sql_ranges import after, at_most, earlier, through
from connectors.his.sql_rows import found, keys_of, singly, take
from connectors.his.sql_session import Session
from connectors.his.sql_shape import Shape


@dataclass(slots=True)
class Progress:
    """What a reading of all tables knows so far.

    Attributes:
        tables: The cursor of each table.
        expected: Records that the source counted so far.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    expected: int = 0

    def mark(self, name: str, entry: Mapping[str, Any]) -> Mark:
        """A table's reading is complete up to ``entry``."""
        self.tables[name] = dict(entry)
        return Mark({"tables": {one: dict(held) for one, held in self.tables.items()}}, expected=self.expected)


class Reading:
    """One table's reading.

    Args:
        session: The database.
        shape: The table.
        entry: Its cursor: ``w`` the watermark to read from, ``types`` its columns; while a reading is under way
            ``at`` the place reached, ``since``, ``top`` and ``began``; after it ``last`` the last place.
        progress: That of all tables.
    """

    def __init__(self, session: Session, shape: Shape, entry: Mapping[str, Any], progress: Progress) -> None:
        self._session = session
        self._shape = shape
        self._order = Order(shape)
        self._entry = dict(entry)
        self._progress = progress
        self._timed = False
        self._last: list[Any] = []

    def run(self) -> Iterator[Found | Mark]:
        """Yield the rows from the cursor on, a mark behind each page."""
        if "at" not in self._entry:
            self._begin()
            self._timed = self._order.timed(self._entry["top"])
            yield from self._range(self._order.unplaced(self._timed))
        self._timed = self._order.timed(self._entry["top"])
        yield from self._pages()
        yield self._progress.mark(self._shape.name, self._end())

    def _begin(self) -> None:
        settings, held = self._shape.settings, self._session.settings
        with self._session.transaction() as connection:
            top = self._order.top(connection)
            began = self._session.dialect.now(connection)
        since = self._entry.get("w")
        if since is not None:
            seconds = held.overlap_seconds if settings.overlap_seconds is None else settings.overlap_seconds
            values = held.overlap_values if settings.overlap_values is None else settings.overlap_values
            (since,) = packed([earlier(unpacked([since])[0], seconds, values)])
        self._entry |= {"since": since, "top": packed([top])[0], "began": began.astimezone(UTC).isoformat(), "at": None}

    def _pages(self) -> Iterator[Found | Mark]:
        """Yield the rows that have a place, from the place reached to the highest watermark."""
        while True:
            where = self._remaining()
            with self._session.transaction() as connection:
                place = self._order.at(connection, where, self._session.settings.page_rows)
            if place is not None:
                where = and_(where, through(self._order.columns, self._order.bound(place)))
            yield from self._range(where)
            if place is None:
                return
            self._entry["at"] = packed(place)
            yield self._progress.mark(self._shape.name, self._entry)

    def _remaining(self) -> ColumnElement[bool]:
        order, entry = self._order, self._entry
        conditions = [order.placed(self._timed)]
        if order.watermark is not None and entry["top"] is not None:
            conditions.append(order.watermark <= order.bound(unpacked([entry["top"]]))[0])
        if entry["at"] is not None:
            conditions.append(after(order.columns, order.bound(unpacked(entry["at"]))))
        elif order.watermark is not None and entry["since"] is not None:
            conditions.append(order.watermark >= order.bound(unpacked([entry["since"]]))[0])
        return and_(*conditions)

    def _range(self, where: ColumnElement[bool]) -> Iterator[Found]:
        """Yield the rows under a condition, as many as the server counts in the same snapshot."""
        statement = self._shape.select().where(where).order_by(*self._order.columns)
        with self._session.transaction() as connection:
            expected = self._session.count(connection, self._shape, where)
            if expected:
                came = 0
                try:
                    with closing(self._session.stream(connection, statement)) as rows:
                        for row in rows:
                            came += 1
                            taken = take(self._shape, row)
                            self._last = list(taken.key.values()) if taken.refusal is None else self._last
                            yield found(self._shape, taken)
                except RowFault:
                    came = expected
                    yield from self._singly(where)
                self._account(expected, came)

    def _singly(self, where: ColumnElement[bool]) -> Iterator[Found]:
        """Yield the rows again, one statement each; those that came already land once."""
        with self._session.transaction() as connection:
            keys = keys_of(self._session, connection, self._shape, where, self._order.columns)
            for taken in singly(self._session, connection, self._shape, keys):
                yield found(self._shape, taken)

    def _account(self, expected: int, came: int) -> None:
        if came < expected:
            raise Retry(
                f"{self._session.source.id}: {self._shape.name}: the server counts {expected} rows and gave {came}; "
                "run again, and read a table that keeps a snapshot (InnoDB) where this repeats"
            )
        self._progress.expected += expected

    def _end(self) -> dict[str, Any]:
        """The cursor of a table that was read to its end."""
        entry, order = self._entry, self._order
        ended: dict[str, Any] = {"types": self._shape.types()}
        if order.watermark is not None and (top := unpacked([entry["top"]])[0]) is not None:
            began = datetime.fromisoformat(entry["began"])
            ended["w"] = next_watermark(self._shape, top, began, self._session.source.time_zone)
        elif "w" in entry:
            ended["w"] = entry["w"]
        elif self._last and order.watermark is None:
            ended["last"] = packed(self._last)
        return {**{name: entry[name] for name in ("kept", "compared") if name in entry}, **ended}


def next_watermark(shape: Shape, top: Any, began: datetime, zone: str) -> Any:
    """Return what the next reading begins from, as a cursor holds it.

    Args:
        shape: The table.
        top: Its highest watermark when the reading began.
        began: When that was, by the server's clock.
        zone: IANA zone of its times without an offset.
    """
    universal = Order(shape).mark.family == "instant"
    return packed([at_most(top, began, zone, universal=universal)])[0]
