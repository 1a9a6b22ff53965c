"""Records of a batch become sealed versions, outbox entries and statuses: all in one transaction, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final

import orjson
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

import schemas
from schemas.records import Entry, Resource
from shangmi import hmac_sm3, sm3
from vault import entries, envelope, identity
from vault.blind_index import BlindIndex
from vault.bulk import Bulk
from vault.envelope import Context
from vault.errors import Contended, Stop
from vault.landing import Landing, LandingKeys
from vault.layout import Document, Layout
from vault.owners import OwnerKeys, Owners
from vault.results import RecordResult
from vault.summaries import Summaries
from vault.tallies import Tallies

#: One transaction holds at most this many records or resources (MongoDB advises about 1,000 documents).
RECORDS: Final = 200
RESOURCES: Final = 2_000
ATTEMPTS: Final = 20
_MAC: Final = 16
_DUPLICATE: Final = 11000


@cache
def type_numbers() -> dict[str, int]:
    """Return the number of every FHIR type the ledger knows."""
    path = Path(schemas.__file__).parent / "resource_types.json"
    numbers: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return numbers


@dataclass(slots=True)
class _Head:
    """The newest version of a resource, stored or about to be."""

    version: int
    mac: bytes | None
    order: int


@dataclass(slots=True)
class _Work:
    """One settled resource on its way: computed once, whatever happens to the transaction."""

    resource: Resource
    rid: bytes
    owner: bytes
    plain: bytes
    type_number: int


@dataclass(slots=True)
class _Plan:
    """Everything one transaction writes."""

    keys: dict[bytes, OwnerKeys] = field(default_factory=dict)
    demoted: list[str] = field(default_factory=list)
    versions: dict[str, Document] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    tallies: dict[str, dict[str, int]] = field(default_factory=dict)
    identities: list[UpdateOne] = field(default_factory=list)
    identity_links: list[UpdateOne] = field(default_factory=list)
    people: dict[bytes, bytes] = field(default_factory=dict)


class _Conflict(Exception):
    """What the plan was built on changed; build it again."""


def chunks(results: Sequence[RecordResult]) -> Iterator[Sequence[RecordResult]]:
    """Yield the results in runs that fit one transaction; a single larger record stands alone."""
    start = size = 0
    for position, result in enumerate(results):
        if position > start and (position - start >= RECORDS or size + len(result.resources) > RESOURCES):
            yield results[start:position]
            start, size = position, 0
        size += len(result.resources)
    if start < len(results):
        yield results[start:]


class Settler:
    """Seals the records of one institution."""

    def __init__(
        self,
        layout: Layout,
        index: BlindIndex,
        owners: Owners,
        keys: LandingKeys,
        landing: Landing,
        context: Context,
        bulk: Bulk,
        tallies: Tallies,
        summaries: Summaries,
    ) -> None:
        self._layout = layout
        self._summaries = summaries
        self._tallies = tallies
        self._bulk = bulk
        self._records = layout["records"]
        self._index = index
        self._owners = owners
        self._keys = keys
        self._landing = landing
        self._context = context
        self._institution = index.owner(None)

    def settle(
        self, batch_id: str, results: Sequence[RecordResult], landed: Mapping[str, Document], mapping: str
    ) -> None:
        """Every one of these records is settled exactly once, here or by whoever was faster.

        Args:
            batch_id: The batch all of them are in.
            results: What became of them, in order of arrival.
            landed: Their landing documents (``_id, source, batch, order, received_at, size, key, bulk``), not settled
                when they were read.
            mapping: Version of the mapping tables.

        Raises:
            Contended: The same resources were changed by others at every attempt.
        """
        work = {result.landed_id: [self._work(one) for one in result.resources] for result in results}
        for _ in range(ATTEMPTS):
            plan = self._plan(results, landed, work)
            try:
                return self._layout.transact(partial(self._write, batch_id, results, landed, mapping, plan))
            except (_Conflict, DuplicateKeyError, BulkWriteError) as error:
                if isinstance(error, BulkWriteError) and not _only_duplicates(error):
                    raise
            if not self._waiting(batch_id, landed):
                return None
        raise Contended(f"batch {batch_id}: {ATTEMPTS} attempts met changes by others; try again")

    def _waiting(self, batch_id: str, landed: Mapping[str, Document]) -> bool:
        """Whether these records are still to be settled; all of them are, or none."""
        still = {"_id": {"$in": list(landed)}, "batch": batch_id, "status": "batched"}
        return self._layout["landing"].count_documents(still) == len(landed)

    def _work(self, resource: Resource) -> _Work:
        if (number := type_numbers().get(resource.type)) is None:
            raise Stop(f"resource type {resource.type} has no number in schemas/resource_types.json; give it one")
        plain = orjson.dumps(resource.body, option=orjson.OPT_SORT_KEYS)
        owner = self._index.owner(resource.patient)
        return _Work(resource, self._index.rid(resource.type, resource.id), owner, plain, number)

    def _plan(
        self, results: Sequence[RecordResult], landed: Mapping[str, Document], work: Mapping[str, list[_Work]]
    ) -> _Plan:
        everything = [one for works in work.values() for one in works]
        plan = _Plan(keys=self._owners.ensure({one.owner for one in everything}))
        plan.people = self._summaries.people(((one.owner, one.resource) for one in everything), plan.keys)
        heads = self._heads({one.rid for one in everything})
        stored = {rid: head.version for rid, head in heads.items()}
        for result in results:
            order = landed[result.landed_id]["order"]
            tally = {"resources": 0, "unchanged": 0, "stale": 0}
            for one in work[result.landed_id]:
                tally[self._decide(one, order, heads, stored, plan)] += 1
            plan.tallies[result.landed_id] = tally
        return plan

    def _heads(self, rids: set[bytes]) -> dict[bytes, _Head]:
        wanted = {"rid": {"$in": list(rids)}, "latest": True}
        found = self._records.find(wanted, {"rid": 1, "version": 1, "mac": 1, "order": 1})
        return {one["rid"]: _Head(one["version"], one.get("mac"), one["order"]) for one in found}

    def _decide(
        self, one: _Work, order: int, heads: dict[bytes, _Head], stored: Mapping[bytes, int], plan: _Plan
    ) -> str:
        """Add the version to the plan, or say why there is none to add."""
        head = heads.get(one.rid)
        keys = plan.keys[one.owner]
        mac = hmac_sm3(keys.mac, one.plain)[:_MAC]
        if head is not None and head.mac is not None:  # no mac: the newest version was erased
            if one.resource.mode == "ensure" or head.mac == mac:
                return "unchanged"
            if order < head.order:
                self._identify(one, order, plan)  # a merge that was overtaken is still a merge
                return "stale"
        self._identify(one, order, plan)
        if head is not None:
            previous = entries.locator(one.rid, head.version)
            if stored.get(one.rid) == head.version:
                plan.demoted.append(previous)
            else:
                plan.versions[previous]["latest"] = False
        version = 1 if head is None else head.version + 1
        heads[one.rid] = _Head(version, mac, order)
        self._seal(one, version, order, mac, keys, plan)
        return "resources"

    def _identify(self, one: _Work, order: int, plan: _Plan) -> None:
        if (evidence := identity.evidence_of(one.resource, self._index)) is not None:
            patient, links = identity.updates(evidence, order)
            plan.identities.append(patient)
            plan.identity_links += links

    def _seal(self, one: _Work, version: int, order: int, mac: bytes, keys: OwnerKeys, plan: _Plan) -> None:
        sealed = envelope.seal(one.plain, one.type_number, one.rid, version, self._context)
        locator = entries.locator(one.rid, version)
        plan.versions[locator] = {
            "_id": locator, "rid": one.rid, "version": version, "type": one.type_number, "latest": True,
            "owner": one.owner, "order": order, "mac": mac, "tokens": self._index.tokens(one.resource.body),
            "key": envelope.wrap(keys.kek, sealed.data_key, one.rid, version), "envelope": sealed.envelope,
        }  # fmt: skip
        person = plan.people.get(one.owner, b"")
        summary = self._summaries.seal(one.resource, one.owner, keys, person, one.rid, version, one.type_number)
        if summary is not None:
            plan.versions[locator]["summary"] = summary
        plan.entries.append(
            Entry(
                one.rid, version, sm3(sealed.envelope), sealed.key_commit,
                entries.NO_SUMMARY if summary is None else sm3(summary),
                len(sealed.envelope), one.type_number, locator,
            )
        )  # fmt: skip

    def _write(
        self,
        batch_id: str,
        results: Sequence[RecordResult],
        landed: Mapping[str, Document],
        mapping: str,
        plan: _Plan,
        session: ClientSession,
    ) -> None:
        patients = {owner: keys for owner, keys in plan.keys.items() if owner != self._institution}
        if patients and not self._owners.hold(patients, session):
            raise _Conflict
        if plan.people:
            self._owners.recognise(plan.people, session)
        self._mark(batch_id, results, landed, plan, session)
        if plan.demoted:
            old = {"_id": {"$in": plan.demoted}, "latest": True}
            changed = self._records.update_many(old, {"$set": {"latest": False}}, session=session)
            if changed.modified_count != len(plan.demoted):
                raise _Conflict
        if plan.versions:
            self._records.insert_many(plan.versions.values(), ordered=False, session=session)
            first = landed[results[0].landed_id]["order"]
            chunk = {
                "_id": f"{batch_id}/{first:012d}", "batch": batch_id, "count": len(plan.entries), "taken": 0,
                "open": True, "entries": entries.pack(plan.entries),
            }  # fmt: skip
            self._layout["outbox"].insert_one(chunk, session=session)
        tallies = self._tallies.updates(landed[results[0].landed_id]["source"], results)
        beside = {"identities": plan.identities, "identity_links": plan.identity_links, "tallies": tallies}
        for name, operations in beside.items():
            if operations:
                self._layout[name].bulk_write(operations, session=session)
        for result in results:
            if result.refusal is not None:
                self._landing.set_aside(landed[result.landed_id], result.refusal, mapping, session)

    def _mark(
        self,
        batch_id: str,
        results: Sequence[RecordResult],
        landed: Mapping[str, Document],
        plan: _Plan,
        session: ClientSession,
    ) -> None:
        """Statuses move first: two processes that settle the same records meet here, and one of them gives way."""
        operations = []
        for result in results:
            change: Document = {"status": result.outcome, **plan.tallies[result.landed_id]}
            patients = {one.patient for one in result.resources if one.patient is not None}
            if owners := sorted(self._index.owner(patient) for patient in patients):
                id_ = result.landed_id
                data_key = self._keys.unwrap(id_, landed[id_]["key"], ())
                change["owners"] = owners
                change["key"] = self._keys.wrap(id_, data_key, [plan.keys[owner].kek for owner in owners])
                if bulk := landed[id_].get("bulk"):
                    self._bulk.own(bulk, {owner: plan.keys[owner] for owner in owners}, session)
            waiting = {"_id": result.landed_id, "batch": batch_id, "status": "batched"}
            operations.append(UpdateOne(waiting, {"$set": change}))
        done = self._layout["landing"].bulk_write(operations, ordered=False, session=session)
        if done.modified_count != len(operations):
            raise _Conflict


def _only_duplicates(error: BulkWriteError) -> bool:
    return all(fault["code"] == _DUPLICATE for fault in error.details["writeErrors"])
