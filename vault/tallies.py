"""What of a source was not read fully, and which of its codes no standard system knows: by volume, sealed.

Counted in the transaction that settles the record, so that each record counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pymongo import DESCENDING, UpdateOne

from vault.landing import LandingKeys
from vault.layout import Layout
from vault.results import RecordResult

Kind = Literal["note", "unmapped"]
_FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    "note": ("code", "where", "message"),
    "unmapped": ("system", "code", "display"),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How often one thing was met.

    Attributes:
        what: Its parts: ``code, where, message`` of a note, ``system, code, display`` of a code.
        count: Times, since the beginning.
        last: When it was last met.
    """

    what: dict[str, str]
    count: int
    last: datetime


class Tallies:
    """The tallies of one institution."""

    def __init__(self, layout: Layout, keys: LandingKeys) -> None:
        self._tallies = layout["tallies"]
        self._keys = keys

    def updates(self, source: str, results: Iterable[RecordResult]) -> list[UpdateOne]:
        """Return the writes that count what these records bring."""
        met: Counter[tuple[Kind, tuple[str, ...]]] = Counter()
        for result in results:
            met.update(("note", (one.code, one.where, one.message)) for one in result.notes)
            met.update(("unmapped", one) for one in result.unmapped)
        return [self._update(source, kind, parts, count) for (kind, parts), count in met.items()]

    def _update(self, source: str, kind: Kind, parts: tuple[str, ...], count: int) -> UpdateOne:
        # A display may change; the code stays the same thing.
        named = parts[:2] if kind == "unmapped" else parts
        id_ = self._keys.identify(b"tally", *(part.encode() for part in (source, kind, *named)))
        detail: dict[str, Any] = dict(zip(_FIELDS[kind], parts, strict=True))
        first = {"source": source, "kind": kind, "detail": self._keys.seal_detail("TALLY", id_, detail)}
        change = {"$inc": {"count": count}, "$set": {"last": datetime.now(UTC)}, "$setOnInsert": first}
        return UpdateOne({"_id": id_}, change, upsert=True)

    def of(self, source: str, kind: Kind, limit: int = 1_000) -> list[Tally]:
        """Return what was met most often, most often first."""
        found = self._tallies.find({"source": source, "kind": kind}).sort("count", DESCENDING).limit(limit)
        return [
            Tally(self._keys.open_detail("TALLY", one["_id"], one["detail"]), one["count"], one["last"])
            for one in found
        ]
