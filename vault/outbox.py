"""Ledger entries on their way to the chain, in submissions that come back the same until they are final."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo.client_session import ClientSession

from schemas.records import Entry
from vault import entries
from vault.errors import Stop, Unknown
from vault.layout import Document, Layout


@dataclass(frozen=True, slots=True)
class Submission:
    """Entries that go to the chain together.

    Attributes:
        id: ``<institution>-<number>``.
        entries: In the order they were sealed.
    """

    id: str
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Sent:
    """A submission that was signed and handed to the ledger.

    Attributes:
        id: The submission.
        tx_id: The transaction's id, hex.
        seq: The institution's batch sequence number.
        tx: The signed transaction, as first sent.
        count: Entries in it.
        state: ``sent``, ``final`` or ``lapsed``.
        height: The block it is final in, or None.
    """

    id: str
    tx_id: str
    seq: int
    tx: bytes
    count: int
    state: str
    height: int | None = None


class Outbox:
    """The outbox of one institution; only entries of reconciled batches leave it."""

    def __init__(self, layout: Layout, institution: str) -> None:
        self._layout = layout
        self._outbox = layout["outbox"]
        self._submissions = layout["submissions"]
        self._institution = institution

    def assign(self, limit: int) -> Submission | None:
        """Return the submission to send next, of at most ``limit`` entries, or None where nothing waits.

        A submission that was assigned and not marked sent comes back the same, whatever ``limit`` is now; so does
        one that lapsed, under a new id. Oldest batches go first. However many ask at once, one submission at most is
        assigned and not sent: two of them would be signed under one number, and the chain takes one of a number.
        """
        document = self._layout.transact(lambda session: self._assign(limit, session))
        return None if document is None else Submission(document["_id"], self._entries(document["parts"]))

    def _assign(self, limit: int, session: ClientSession) -> Document | None:
        # Read in the transaction: who comes second conflicts on the number below and then finds this.
        assigned = self._submissions.find_one({"state": "assigned"}, sort=[("number", 1)], session=session)
        if assigned is not None:
            return assigned
        lapsed = self._submissions.find_one({"state": "lapsed"}, sort=[("number", 1)], session=session)
        if lapsed is not None:
            replaced = {"$set": {"state": "replaced"}}
            self._submissions.update_one({"_id": lapsed["_id"]}, replaced, session=session)
        parts = self._take(limit, session) if lapsed is None else lapsed["parts"]
        if not parts:
            return None
        number = self._layout.take_numbers("submission", session=session)
        document = {
            "_id": f"{self._institution}-{number:06d}", "number": number, "state": "assigned", "parts": parts,
            "count": sum(part["stop"] - part["start"] for part in parts), "at": datetime.now(UTC),
        }  # fmt: skip
        self._submissions.insert_one(document, session=session)
        return document

    def _take(self, limit: int, session: ClientSession) -> list[dict[str, Any]]:
        """Reserve up to ``limit`` waiting entries; they are counted by chunk, so few documents change."""
        parts: list[dict[str, Any]] = []
        waiting = self._outbox.find(
            {"open": True, "ready": {"$exists": True}}, {"count": 1, "taken": 1}, session=session
        ).sort([("ready", 1), ("_id", 1)])
        for chunk in waiting:
            if not limit:
                break
            start = chunk["taken"]
            stop = min(chunk["count"], start + limit)
            limit -= stop - start
            parts.append({"chunk": chunk["_id"], "start": start, "stop": stop})
            change = {"$set": {"taken": stop, "open": stop < chunk["count"]}}
            self._outbox.update_one({"_id": chunk["_id"]}, change, session=session)
        return parts

    def _entries(self, parts: list[dict[str, Any]]) -> list[Entry]:
        wanted = {"_id": {"$in": [part["chunk"] for part in parts]}}
        chunks = {one["_id"]: one["entries"] for one in self._outbox.find(wanted, {"entries": 1})}
        size = entries.RECORD.size
        taken = (chunks[part["chunk"]][part["start"] * size : part["stop"] * size] for part in parts)
        return entries.unpack(b"".join(taken))

    def entries(self, id_: str) -> list[Entry]:
        """Return the entries of a submission again, in their order.

        Raises:
            Unknown: There is no such submission.
        """
        return self._entries(self._find(id_)["parts"])

    def sent(self, id_: str, tx_id: str, seq: int, tx: bytes) -> Sent:
        """The submission was handed to the ledger; returns what was first recorded, which is what counts.

        Signing again gives other bytes (SM2 draws a nonce), so a retry must send what this returns.
        """
        change = {"state": "sent", "tx_id": tx_id, "seq": seq, "tx": tx, "at": datetime.now(UTC)}
        self._submissions.update_one({"_id": id_, "state": "assigned"}, {"$set": change})
        return self._sent(self._find(id_))

    def outstanding(self) -> list[Sent]:
        """Return the submissions that were sent and are neither final nor lapsed, oldest first."""
        return [self._sent(one) for one in self._submissions.find({"state": "sent"}).sort("number", 1)]

    def final(self, id_: str, height: int) -> None:
        """The submission stands in the final block ``height``."""
        self._move(id_, "sent", {"state": "final", "height": height})

    def lapsed(self, id_: str) -> None:
        """The submission expired unconfirmed; its entries wait again and come first, or were taken up again already."""
        if not self._submissions.find_one({"_id": id_, "state": "replaced"}, {"_id": 1}):
            self._move(id_, "sent", {"state": "lapsed"})

    def waiting(self) -> int:
        """Return how many entries of reconciled batches are in no submission yet, or in a lapsed one."""
        pipeline: list[Document] = [
            {"$match": {"open": True, "ready": {"$exists": True}}},
            {"$group": {"_id": None, "n": {"$sum": {"$subtract": ["$count", "$taken"]}}}},
        ]
        unassigned = sum(int(one["n"]) for one in self._outbox.aggregate(pipeline))
        return unassigned + sum(int(one["count"]) for one in self._submissions.find({"state": "lapsed"}, {"count": 1}))

    def counts(self) -> dict[str, int]:
        """Return how many entries are in submissions, by the submission's state."""
        group = {"$group": {"_id": "$state", "n": {"$sum": "$count"}}}
        return {one["_id"]: one["n"] for one in self._submissions.aggregate([group]) if one["_id"] != "replaced"}

    def _move(self, id_: str, before: str, change: Document) -> None:
        if self._submissions.update_one({"_id": id_, "state": before}, {"$set": change}).matched_count:
            return
        found = self._find(id_)
        if any(found.get(name) != value for name, value in change.items()):
            raise Stop(f"submission {id_} is {found['state']}; it cannot become {change['state']}")

    def _find(self, id_: str) -> Document:
        if (document := self._submissions.find_one({"_id": id_})) is None:
            raise Unknown(f"there is no submission {id_}")
        return document

    def _sent(self, one: Document) -> Sent:
        if "tx" not in one:
            raise Stop(f"submission {one['_id']} is {one['state']} and was never sent")
        return Sent(one["_id"], one["tx_id"], one["seq"], one["tx"], one["count"], one["state"], one.get("height"))
