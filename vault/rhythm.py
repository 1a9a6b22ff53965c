"""How much came from each source, hour by hour: what a feed that falls silent or doubles is told by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pymongo import UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from vault.layout import Layout

#: How long hours are remembered: four weeks say what is usual at an hour of a weekday.
REMEMBERED: Final = timedelta(days=35)


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a source.

    Attributes:
        begins: When it began, UTC.
        new: Records that came for the first time.
        repeats: Receptions of records that had come before.
        last: When the last of either came.
    """

    begins: datetime
    new: int
    repeats: int
    last: datetime


class Rhythm:
    """The hours of one institution's sources. Numbers only; a crash may cost those of one write."""

    def __init__(self, layout: Layout) -> None:
        # Numbers for people: one that a failing-over database loses costs nothing, one not seen yet confuses.
        self._hours = layout["rhythm"].with_options(write_concern=WriteConcern(1), read_concern=ReadConcern("local"))

    def note(self, source: str, new: int, repeats: int, at: datetime) -> None:
        """Count receptions that became durable; not waited for, as nothing depends on it."""
        begins = hour_of(at)
        change = {
            "$inc": {"new": new, "repeats": repeats},
            "$max": {"last": at.astimezone(UTC)},
            "$setOnInsert": {"source": source, "begins": begins},
        }
        self._hours.bulk_write([UpdateOne({"_id": f"{source}/{begins:%Y%m%d%H}"}, change, upsert=True)])

    def hours(self, source: str, since: datetime) -> list[Hour]:
        """Return the hours of a source in which something came, from ``since`` on, in order."""
        wanted = {"source": source, "begins": {"$gte": hour_of(since)}}
        return [
            Hour(one["begins"], one["new"], one["repeats"], one["last"])
            for one in self._hours.find(wanted).sort("begins", 1)
        ]

    def last(self, source: str) -> datetime | None:
        """Return when the last record came, repeats included; None before the first."""
        found = self._hours.find_one({"source": source}, sort=[("begins", -1)])
        return found["last"] if found else None

    def forget(self, before: datetime) -> int:
        """Return how many hours were forgotten: those that began earlier."""
        return self._hours.delete_many({"begins": {"$lt": hour_of(before)}}).deleted_count


def hour_of(at: datetime) -> datetime:
    """Return when the hour of a time began, UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
