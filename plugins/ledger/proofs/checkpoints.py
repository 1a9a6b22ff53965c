"""The checkpoints that auditors signed, as one institution keeps them beside its replica (sections 12 and 13)."""

from __future__ import annotations

from typing import Any

from pymongo import DESCENDING
from pymongo.database import Database

from ledger.chain.replica import Replica
from ledger.errors import Refused
from ledger.proofs.checkpoint import Checkpoint, Note

MAX_LISTED = 100


class Checkpoints:
    """Verified notes in a collection of the replica's database; one for each height, signatures put together.

    Args:
        database: The institution's ledger database.
        replica: What every note is held to.
    """

    def __init__(self, database: Database[dict[str, Any]], replica: Replica) -> None:
        self._notes = database["checkpoints"]
        self._replica = replica

    def keep(self, data: bytes) -> Note:
        """Keep a note, beside what is kept of its height already, and return what is kept now.

        Raises:
            Refused: It is no note, of another chain, of a block that this replica does not have so, or no auditor
                of the present members signed it.
        """
        note, view = Note.decode(data), self._replica.view
        height = note.checkpoint.height
        if height > view.head.height or Checkpoint.of(self._replica.header(height)) != note.checkpoint:
            raise Refused("checkpoint", "13", f"this replica has no such block {height}")
        good = note.verify(view.validators)
        before = self.at(height)
        kept = {(one.auditor, one.hint): one for one in (before.cosignatures if before else ())}
        for one in good:
            present = kept.get((one.auditor, one.hint))
            if present is None or present.time_ms < one.time_ms:
                kept[one.auditor, one.hint] = one
        merged = Note(note.checkpoint, tuple(kept[key] for key in sorted(kept)))
        self._notes.replace_one({"_id": height}, {"_id": height, "note": merged.encode()}, upsert=True)
        return merged

    def at(self, height: int) -> Note | None:
        """Return the note kept of a height, or None."""
        found = self._notes.find_one({"_id": height})
        return None if found is None else Note.decode(bytes(found["note"]))

    def newest(self, count: int = 1) -> list[Note]:
        """Return the notes of the highest blocks, at most ``MAX_LISTED`` of them, the highest first."""
        found = self._notes.find().sort("_id", DESCENDING).limit(min(count, MAX_LISTED))
        return [Note.decode(bytes(one["note"])) for one in found]
