"""Which parts the records of each source have had so far: digests of the names of fields, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pymongo import UpdateOne

from shangmi import sm3
from vault.layout import Layout

#: Bytes of the digest of a field's name.
_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Change:
    """How the shape of a source changed.

    Attributes:
        at: When the first of the new fields was met.
        fields: Fields met since ``since`` for the first time, after the source's shape was known.
    """

    at: datetime | None
    fields: int


class Shapes:
    """The shapes of one institution's sources."""

    def __init__(self, layout: Layout) -> None:
        self._shapes = layout["shapes"]

    def known(self, source: str) -> frozenset[bytes]:
        """Return the digests of the fields that the source has had; empty before its first record."""
        return frozenset(one["field"] for one in self._shapes.find({"source": source}, {"field": 1}))

    def learn(self, source: str, names: Iterable[str], first: bool) -> int:
        """Return how many fields are known from now on that were not before.

        Args:
            source: Id of the source.
            names: Names of fields (``PID-7``, ``lab_result.unit``); only their digests are kept.
            first: Whether they are the shape the source begins with, and no change of it.
        """
        at = datetime.now(UTC)
        changes = [
            UpdateOne(
                {"_id": f"{source}/{field.hex()}"},
                {"$setOnInsert": {"source": source, "field": field, "at": at, "first": first}},
                upsert=True,
            )
            for field in {digest(source, name) for name in names}
        ]
        return self._shapes.bulk_write(changes, ordered=False).upserted_count if changes else 0

    def changed(self, source: str, since: datetime) -> Change:
        """Return what was met for the first time since then, the shape it began with not counted."""
        found = list(self._shapes.find({"source": source, "first": False, "at": {"$gte": since}}).sort("at", 1))
        return Change(found[0]["at"] if found else None, len(found))

    def forget(self, source: str) -> None:
        """The source's shape is learned anew from its next records."""
        self._shapes.delete_many({"source": source})


@lru_cache(maxsize=50_000)  # a record has the same few hundred names as the one before it
def digest(source: str, name: str) -> bytes:
    """Return what stands for a field's name: 12 bytes of SM3."""
    return sm3(b"XL/SHAPE/1\0" + source.encode() + b"\0" + name.encode())[:_BYTES]


def unknown(source: str, names: Collection[str], known: frozenset[bytes]) -> list[str]:
    """Return the names that are not among the known digests, in order."""
    return sorted(name for name in names if digest(source, name) not in known)
