"""Tables and views of a hospital's database, read-only, by any driver of SQLAlchemy: what is new, and what vanished.

Each row becomes one record of canonical JSON, named by its table and key. Each page is a snapshot in which the server
counts first, so that a row that it has and does not give is noticed. A table is read from its watermark on
(`sql_reading`), or compared as a whole with what it held (`sql_compare`), which also finds deletions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from connectors.contract import BulkStore, Finding, Found, Mark, PullConnector
from connectors.errors import Stop
from connectors.his.sql_check import check
from connectors.his.sql_compare import Comparison
from connectors.his.sql_order import Order, packed
from connectors.his.sql_ranges import earlier, like
from connectors.his.sql_reading import Progress, Reading
from connectors.his.sql_session import Session
from connectors.his.sql_settings import SqlSettings, Table, read_sql_settings
from connectors.his.sql_shape import Drift, Shape, drifts
from schemas.records import Refusal

log = logging.getLogger(__name__)

_CENTURY: Final = timedelta(days=36_525)


class TablesConnector(PullConnector):
    """Pulls the tables of a source in the order of its settings.

    Cursor: ``{"tables": {<name>: {"w": <watermark>, "types": {<column>: <type>}, …}}}``; see `sql_reading.Reading`.

    Attributes:
        drifted: How tables differed from what they were, as the last reading met them.
    """

    media: ClassVar[str] = "row"
    shape: ClassVar[type] = SqlSettings

    def prepare(self) -> None:
        """The settings are read."""
        self.settings = read_sql_settings(self.source)
        self.session = Session(self.source, self.settings, self.home)
        self.drifted: tuple[Drift, ...] = ()

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield the rows of each table that are new since the cursor, and a mark behind each page."""
        before: Mapping[str, Any] = cursor.get("tables", {})
        progress = Progress({name: entry for name, entry in before.items() if name in self.settings.tables})
        self.drifted = ()
        for name in self.settings.tables:
            yield from self._table(name, before.get(name, {}), progress)

    def _table(self, name: str, entry: Mapping[str, Any], progress: Progress) -> Iterator[Found | Mark]:
        with self.session.transaction() as connection:
            shape = self.session.look(connection, name)
            now = self.session.dialect.now(connection)
        met = tuple(drifts(name, entry.get("types", {}), shape.types()))
        if met:
            self._tell(met)
        items = self._items(shape, entry, progress, now)
        if met and self.source.drift == "set_aside":
            items = _set_aside(items, met[0], name, entry, progress)
        yield from items

    def _tell(self, met: tuple[Drift, ...]) -> None:
        self.drifted += met
        for one in met:
            log.warning("%s: %s", self.source.id, one)
        if self.source.drift == "freeze":
            raise Stop(
                f"{self.source.id}: {met[0]}; agree with the hospital, then set drift to evolve for one run "
                "(`xinglin source profile` shows the table as it is now)"
            )

    def _items(
        self, shape: Shape, entry: Mapping[str, Any], progress: Progress, now: datetime
    ) -> Iterator[Found | Mark]:
        bulk = self.bulk
        if bulk is not None and self._due(shape.settings, entry, now):
            return self._compared(shape, entry, progress, bulk)
        return Reading(self.session, shape, entry, progress).run()

    def _compared(
        self, shape: Shape, entry: Mapping[str, Any], progress: Progress, bulk: BulkStore
    ) -> Iterator[Found | Mark]:
        return Comparison(self.session, shape, entry, progress, bulk).run()

    @staticmethod
    def _due(table: Table, entry: Mapping[str, Any], now: datetime) -> bool:
        """Whether the whole table is compared now; never in the middle of a reading."""
        if "at" in entry or (table.watermark and table.compare_hours is None):
            return False
        if (last := entry.get("compared")) is None or table.compare_hours is None:
            return True
        # A clock that was set back must not put the comparison off.
        elapsed = now - datetime.fromisoformat(last)
        return abs(elapsed) >= timedelta(hours=table.compare_hours)

    def past(self, begin: datetime, end: datetime) -> Iterator[Found | Mark]:
        """Yield the rows whose watermark lies from ``begin`` through ``end``, of each table whose watermark is a time.

        Raises:
            Stop: No table has such a watermark.
        """
        progress, asked = Progress({}), False
        for name in self.settings.tables:
            with self.session.transaction() as connection:
                shape = self.session.look(connection, name)
                top = Order(shape).top(connection)
            entry = self._window(shape, top, begin, end)
            if entry is not None:
                asked = True
                yield from Reading(self.session, shape, entry, progress).run()
        if not asked:
            raise Stop(f"{self.source.id}: no table has a watermark that is a time; none can be asked for a window")

    def _window(self, shape: Shape, top: Any, begin: datetime, end: datetime) -> dict[str, Any] | None:
        """The cursor of a reading that is under way between two moments, in the form of the table's watermark."""
        if not shape.settings.watermark:
            return None
        universal = Order(shape).mark.family == "instant"
        bounds = [like(top, one, self.source.time_zone, universal=universal) for one in (begin, end)]
        if None in bounds:
            return None
        return {"at": None, "since": bounds[0], "top": bounds[1], "began": end.isoformat()}

    def check(self) -> tuple[Finding, ...]:
        """Return what can be told of the database: connection, rights, clock, character sets, tables and columns."""
        return check(self.session, self.settings, self.now)

    def future(self, cursor: Mapping[str, Any]) -> dict[str, Any]:
        """Return a cursor behind all rows: watermarks a century on, tables without one at their end."""
        held = cursor.get("tables", {})
        return {"tables": {name: self._beyond(name, held.get(name, {})) for name in self.settings.tables}}

    def _beyond(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        with self.session.transaction() as connection:
            order = Order(self.session.look(connection, name))
            top = order.top(connection)
            place = order.last(connection, order.timed(top))
            now = self.session.dialect.now(connection)
        moved = {word: one for word, one in entry.items() if word in ("types", "kept", "compared")}
        if top is not None:
            # The place reached lies a century ahead, so not even rows without a watermark are read again.
            ahead = packed([earlier(top, -int(_CENTURY.total_seconds()), -(10**15))])
            place = [*ahead, *packed(place or [])[1:]]
        if place is None:
            return moved
        return moved | {"since": None, "top": place[0] if top is not None else None, "at": packed(place),
                        "began": now.isoformat()}  # fmt: skip


def _set_aside(
    items: Iterator[Found | Mark], drift: Drift, name: str, entry: Mapping[str, Any], progress: Progress
) -> Iterator[Found | Mark]:
    """Yield a drifted table's rows as refused, its cursor where it was: they come again once the drift is accepted."""
    message = f"the column {drift.change}; agree with the hospital, then set drift to evolve: the rows are read again"
    refusal = Refusal("drift", f"{drift.table}.{drift.column}", message)
    for item in items:
        if isinstance(item, Mark):
            yield progress.mark(name, entry)
        else:
            yield replace(item, refusal=refusal)
