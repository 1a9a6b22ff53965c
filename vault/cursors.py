"""How far each source was read. A cursor moves only when all that was read is in reconciled batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vault.errors import Unreconciled
from vault.landing import LandingKeys
from vault.layout import Document, Layout


class Cursors:
    """The cursors of one institution's sources; sealed, as names of files may stand in them."""

    def __init__(self, layout: Layout, keys: LandingKeys) -> None:
        self._layout = layout
        self._cursors = layout["cursors"]
        self._keys = keys

    def get(self, source: str) -> dict[str, Any] | None:
        """Return the source's cursor, or None before the first."""
        document = self._cursors.find_one({"_id": source}) or {}
        return self._open(source, document["cursor"]) if "cursor" in document else None

    def set(self, source: str, cursor: Mapping[str, Any], batch_ids: Sequence[str]) -> None:
        """The cursor has moved.

        Raises:
            Unreconciled: One of the batches is not reconciled; the cursor stays.
        """
        closed = {"_id": {"$in": list(batch_ids)}, "source": source, "state": "reconciled"}
        found = self._layout["batches"].count_documents(closed)
        if found != len(set(batch_ids)):
            raise Unreconciled(f"{found} of {len(set(batch_ids))} batches of {source} are reconciled; the cursor stays")
        self._write(source, {"$set": {"cursor": self._seal(source, cursor), "at": datetime.now(UTC)}})

    def propose(self, source: str, cursor: Mapping[str, Any]) -> None:
        """Remember where reading ended; `advance` moves there once everything landed until now is reconciled."""
        through = self._layout.last_number("landing")
        self._write(source, {"$set": {"proposed": self._seal(source, cursor), "through": through}})

    def advance(self, source: str) -> bool:
        """Move the cursor to what was proposed; returns False, and nothing moves, where records are still open."""
        document = self._cursors.find_one({"_id": source}) or {}
        if "proposed" not in document or not self._settled(source, document["through"]):
            return False
        change = {
            "$set": {"cursor": document["proposed"], "at": datetime.now(UTC)},
            "$unset": {"proposed": "", "through": ""},
        }
        same = {"_id": source, "proposed": document["proposed"]}
        return self._cursors.update_one(same, change).modified_count == 1

    def _settled(self, source: str, through: int) -> bool:
        unfinished = {
            "source": source,
            "status": {"$in": ["pending", "batched"]},
            "order": {"$gte": 0, "$lte": through},
        }
        if self._layout["landing"].find_one(unfinished, {"_id": 1}):
            return False
        open_batches = self._layout["batches"].find({"source": source, "state": {"$ne": "reconciled"}}, {"_id": 1})
        in_open = {"batch": {"$in": [one["_id"] for one in open_batches]}, "order": {"$gte": 0, "$lte": through}}
        return self._layout["landing"].find_one(in_open, {"_id": 1}) is None

    def _write(self, source: str, change: Document) -> None:
        self._cursors.update_one({"_id": source}, change, upsert=True)

    def _seal(self, source: str, cursor: Mapping[str, Any]) -> bytes:
        return self._keys.seal_detail("CURSOR", source, cursor)

    def _open(self, source: str, sealed: bytes) -> dict[str, Any]:
        return self._keys.open_detail("CURSOR", source, sealed)
