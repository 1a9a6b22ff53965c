"""Landed records in batches: planned, settled, reconciled; after a crash at any point the same call goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from pymongo.client_session import ClientSession

from vault import entries
from vault.errors import BatchClosed, Unknown, Unreconciled
from vault.landing import LandedRecord, Landing
from vault.layout import ORDER, Document, Layout
from vault.owners import Owners
from vault.results import Batch, BatchCounts, RecordResult, Totals, counts_from
from vault.settling import Settler, chunks

__all__ = ["Batch", "BatchCounts", "Batches", "LandedRecord", "RecordResult", "Totals"]

_SETTLING: Final = ("_id", "source", "batch", "order", "received_at", "size", "status", "key", "bulk")
_LOOKUP: Final = 5_000
#: Sealed records held at a time while a batch is read: so many, or so many bytes of content.
_READ: Final = 500
_READ_BYTES: Final = 16 * 1024 * 1024
_SUMS: Final = {name: {"$sum": {"$ifNull": [f"${name}", 0]}} for name in ("seen", "resources", "unchanged", "stale")}


class Batches:
    """The batches of one institution."""

    def __init__(self, layout: Layout, landing: Landing, owners: Owners, settler: Settler) -> None:
        self._layout = layout
        self._batches = layout["batches"]
        self._landed = layout["landing"]
        self._landing = landing
        self._owners = owners
        self._settler = settler

    def plan(self, source: str, batch_records: int, run: str, past: bool = False) -> list[str]:
        """Every landed record of the source is in a batch; returns the ids of the open ones, oldest first.

        Records go in order of arrival, at most ``batch_records`` a batch. A second call returns the same open
        batches and adds only what landed meanwhile; so does the call after a crash. What was read again from the
        past has batches of its own (``past``), so that it delays nothing that arrives; sent through again after a
        fix, it goes with the others.
        """
        while self._layout.transact(lambda session: self._plan_one(source, batch_records, run, past, session)):
            pass
        wanted = {"source": source, "state": "open", "past": True if past else {"$ne": True}}
        found = self._batches.find(wanted, {"_id": 1}).sort("number", 1)
        return [one["_id"] for one in found]

    def _plan_one(self, source: str, size: int, run: str, past: bool, session: ClientSession) -> bool:
        pending: Document = {"source": source, "status": "pending"}
        if past:
            pending |= {"order": {"$lt": 0}, "replayed": {"$ne": True}}
        else:
            pending["$or"] = [{"order": {"$gte": 0}}, {"replayed": True}]
        found = self._landed.find(pending, {"_id": 1}, session=session).sort(ORDER).limit(size)
        if not (ids := [one["_id"] for one in found]):
            return False
        number = self._layout.take_numbers(f"batch/{source}", session=session)
        id_ = f"{source}-{number:06d}"
        change = {"$set": {"status": "batched", "batch": id_}}
        self._landed.update_many({"_id": {"$in": ids}}, change, session=session)
        batch: Document = {
            "_id": id_, "source": source, "number": number, "run": run, "state": "open", "records": len(ids),
            "mapping": "", "timings": {}, "reason": "", "created_at": datetime.now(UTC), "closed_at": None,
            **({"past": True} if past else {}),
        }  # fmt: skip
        self._batches.insert_one(batch, session=session)
        return True

    def records(self, batch_id: str) -> Iterator[LandedRecord]:
        """Yield every record of the batch, decrypted, in order of arrival, settled ones too.

        A record whose patient was erased meanwhile is left out; it was settled before.
        """
        self._find(batch_id)
        cursor = self._landed.find({"batch": batch_id}, batch_size=_READ).sort(ORDER)
        page, size = list[Document](), 0
        for document in cursor:
            page.append(document)
            size += document["size"]
            if len(page) == _READ or size >= _READ_BYTES:
                yield from self._open(page)
                page, size = [], 0
        yield from self._open(page)

    def newest(self, source: str, count: int) -> Iterator[LandedRecord]:
        """Yield the records of a source that arrived last, the newest first, decrypted; erased ones are left out."""
        statuses = ["pending", "batched", "sealed", "quarantined", "filtered"]  # all: each is one range of the index
        wanted = {"source": source, "status": {"$in": statuses}, "unreadable": {"$ne": True}, "key": {"$exists": True}}
        cursor = self._landed.find(wanted, batch_size=_READ).sort("order", -1).limit(count)
        for page in iter(lambda: list(islice(cursor, _READ)), []):
            yield from self._open(page)

    def _open(self, page: Sequence[Document]) -> Iterator[LandedRecord]:
        owners = {owner for document in page for owner in document.get("owners", ())}
        keks = {owner: keys.kek for owner, keys in self._owners.find(owners).items()} if owners else {}
        for document in page:
            if "key" in document and all(owner in keks for owner in document.get("owners", ())):
                yield LandedRecord(document["_id"], self._landing.open_record(document, keks))

    def settle(
        self,
        batch_id: str,
        results: Sequence[RecordResult],
        mapping: str,
        timings: Mapping[str, float] | None = None,
    ) -> BatchCounts:
        """Each of these records is sealed, quarantined or filtered exactly once; returns the batch's counts.

        ``results`` may be part of the batch; what is settled already is passed over. Every few hundred records
        are one transaction, so a SIGKILL at any point and a second call seal nothing twice.

        Raises:
            BatchClosed: The batch is stopped, or reconciled while a result is not settled.
            Contended: Others kept changing the same resources; try again.
        """
        batch = self._find(batch_id)
        landed = self._landed_of(batch_id, results)
        waiting = [one for one in results if landed[one.landed_id]["status"] == "batched"]
        if waiting and batch["state"] != "open":
            raise BatchClosed(f"batch {batch_id} is {batch['state']} and takes no results; reopen it first")
        waiting.sort(key=lambda one: int(landed[one.landed_id]["order"]))
        for chunk in chunks(waiting):
            self._settler.settle(batch_id, chunk, {one.landed_id: landed[one.landed_id] for one in chunk}, mapping)
        spent = {f"timings.{name}": seconds for name, seconds in (timings or {}).items()}
        self._batches.update_one({"_id": batch_id, "state": "open"}, {"$set": {"mapping": mapping}, "$inc": spent})
        return self.counts(batch_id)

    def _landed_of(self, batch_id: str, results: Sequence[RecordResult]) -> dict[str, Document]:
        ids = [result.landed_id for result in results]
        wanted = {"_id": {"$in": ids}, "batch": batch_id}
        landed = {one["_id"]: one for one in self._landed.find(wanted, dict.fromkeys(_SETTLING, 1))}
        if len(landed) != len(ids):
            raise RuntimeError(f"batch {batch_id}: {len(ids)} results for {len(landed)} different records of it")
        return landed

    def counts(self, batch_id: str) -> BatchCounts:
        """Return the counts: of a closed batch as it was closed, else counted now."""
        batch = self._find(batch_id)
        return counts_from(batch["counts"]) if batch["state"] == "reconciled" else self._count(batch_id)

    def _count(self, batch_id: str) -> BatchCounts:
        groups = self._landed.aggregate(
            [{"$match": {"batch": batch_id}}, {"$group": {"_id": "$status", "records": {"$sum": 1}, **_SUMS}}]
        )
        found: dict[str, dict[str, int]] = {one["_id"]: one for one in groups}
        records = {status: one["records"] for status, one in found.items()}
        total = {name: sum(one[name] for one in found.values()) for name in _SUMS}
        return BatchCounts(
            received=total["seen"],
            sealed=records.get("sealed", 0),
            duplicate=total["seen"] - sum(records.values()),
            quarantined=records.get("quarantined", 0),
            filtered=records.get("filtered", 0),
            waiting=records.get("batched", 0),
            resources=total["resources"],
            unchanged=total["unchanged"],
            stale=total["stale"],
        )

    def reconcile(self, batch_id: str) -> BatchCounts:
        """The batch is closed and its entries may be published: every record and every resource was found.

        Counts come from the collections: planned records against their statuses, quarantined records against the
        quarantine, sealed resources against outbox entries, and each entry against its record.

        Raises:
            Unreconciled: Something is missing or too many; nothing changed.
            BatchClosed: The batch was stopped.
        """
        batch = self._find(batch_id)
        if batch["state"] == "reconciled":
            return counts_from(batch["counts"])
        if batch["state"] == "stopped":
            raise BatchClosed(f"batch {batch_id} was stopped ({batch['reason']}); reopen it first")
        counts = self._count(batch_id)
        if faults := self._faults(batch, counts):
            raise Unreconciled(f"batch {batch_id}: {'; '.join(faults)}. Run its process task again")
        self._layout.transact(lambda session: self._close(batch_id, counts, session))
        return counts

    def _faults(self, batch: Document, counts: BatchCounts) -> list[str]:
        id_, first = batch["_id"], counts.received - counts.duplicate
        aside = self._layout["quarantine"].count_documents({"batch": id_, "state": "open"})
        published, stored = self._sealed(id_)
        checks = {
            f"{batch['records']} records planned, {first} found": batch["records"] == first,
            f"{counts.waiting} records are not settled": counts.waiting == 0,
            f"{counts.quarantined} records set aside, {aside} in quarantine": counts.quarantined == aside,
            f"{counts.resources} resources sealed, {published} in the outbox": counts.resources == published,
            f"{published} entries in the outbox, {stored} envelopes stored": published == stored,
        }
        return [fault for fault, holds in checks.items() if not holds]

    def _sealed(self, batch_id: str) -> tuple[int, int]:
        """Return how many entries the outbox has for the batch, and how many of their envelopes exist."""
        locators: list[str] = []
        for chunk in self._layout["outbox"].find({"batch": batch_id}, {"entries": 1}):
            locators += entries.locators(chunk["entries"])
        stored = sum(
            self._layout["records"].count_documents({"_id": {"$in": locators[at : at + _LOOKUP]}})
            for at in range(0, len(locators), _LOOKUP)
        )
        return len(locators), stored

    def _close(self, batch_id: str, counts: BatchCounts, session: ClientSession) -> None:
        closed = {"state": "reconciled", "counts": counts.as_dict(), "closed_at": datetime.now(UTC)}
        done = self._batches.update_one({"_id": batch_id, "state": "open"}, {"$set": closed}, session=session)
        if done.modified_count:
            ready = self._layout.take_numbers("ready", session=session)
            self._layout["outbox"].update_many({"batch": batch_id}, {"$set": {"ready": ready}}, session=session)

    def stop(self, batch_id: str, reason: str) -> None:
        """The batch is stopped: nothing of it is published and its source's cursor stays, until `reopen`."""
        self._move(batch_id, "open", {"state": "stopped", "reason": reason, "closed_at": datetime.now(UTC)})

    def reopen(self, batch_id: str) -> None:
        """A stopped batch is open again, to be processed once more."""
        self._move(batch_id, "stopped", {"state": "open", "reason": "", "closed_at": None})

    def _move(self, batch_id: str, before: str, change: Document) -> None:
        if self._batches.update_one({"_id": batch_id, "state": before}, {"$set": change}).matched_count:
            return
        state = self._find(batch_id)["state"]
        if state != change["state"]:
            raise BatchClosed(f"batch {batch_id} is {state}; expected {before}")

    def _find(self, batch_id: str) -> Document:
        if (batch := self._batches.find_one({"_id": batch_id})) is None:
            raise Unknown(f"there is no batch {batch_id}")
        return batch

    def get(self, batch_id: str) -> Batch:
        """Return one batch.

        Raises:
            Unknown: There is none.
        """
        return self._batch(self._find(batch_id))

    def list(self, source: str | None = None, state: str | None = None, limit: int = 100) -> list[Batch]:
        """Return the newest batches first."""
        wanted = {name: value for name, value in (("source", source), ("state", state)) if value}
        found = self._batches.find(wanted).sort([("created_at", -1), ("number", -1)]).limit(limit)
        return [self._batch(one) for one in found]

    def _batch(self, document: Document) -> Batch:
        id_, state = document["_id"], document["state"]
        counts = counts_from(document["counts"]) if state == "reconciled" else self._count(id_)
        return Batch(
            id_, document["source"], document["run"], state, document["records"], counts, document["mapping"],
            document["timings"], document["reason"], document["created_at"], document["closed_at"],
        )  # fmt: skip

    def totals(self, source: str | None = None) -> dict[str, Totals]:
        """Return the numbers of one source, or of every source that ever sent something."""
        wanted: dict[str, Any] = {} if source is None else {"source": source}
        group = {"_id": {"source": "$source", "status": "$status"}, "n": {"$sum": 1}, "seen": {"$sum": "$seen"}}
        numbers: dict[str, dict[str, int]] = {}
        for one in self._landed.aggregate([{"$match": wanted}, {"$group": group}]):
            mine = numbers.setdefault(one["_id"]["source"], {"received": 0, "duplicate": 0})
            mine[one["_id"]["status"]] = one["n"]
            mine["received"] += one["seen"]
            mine["duplicate"] += one["seen"] - one["n"]
        refused: dict[str, dict[str, int]] = {}
        for one in self._layout["counters"].find({"_id": {"$regex": "^refused/"}, **wanted}):
            refused.setdefault(one["source"], {})[one["code"]] = one["value"]
        known = sorted(numbers.keys() | refused.keys())
        return {name: Totals(**numbers.get(name, {}), refused=refused.get(name, {})) for name in known}
