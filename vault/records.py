"""Sealed records: opened, found by blind index, sampled, checked. Envelopes alone need no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from pymongo.database import Database

from shangmi import sm3
from vault import envelope
from vault.blind_index import BlindIndex
from vault.entries import locator as locate
from vault.entries import versions_of
from vault.envelope import Context
from vault.errors import Erased, Tampered, Unknown
from vault.layout import Document, Layout
from vault.owners import Owners
from vault.persons import Person
from vault.settling import type_numbers


@dataclass(frozen=True, slots=True)
class Found:
    """Where a record lies; nothing of its content.

    Attributes:
        locator: The envelope's id.
        rid: 16 bytes.
        version: From 1.
        resource_type: FHIR type.
        erased: Whether its key was destroyed.
    """

    locator: str
    rid: bytes
    version: int
    resource_type: str
    erased: bool


@dataclass(frozen=True, slots=True)
class Released:
    """One version as it can be handed to somebody else: who has both parts reads it, and nothing else of the patient.

    Attributes:
        envelope: The sealed bytes, whose SM3 digest stands on the chain.
        data_key: The key that opens them, of this version alone.
        owner: Token of its patient, or of the institution itself.
        resource_type: FHIR type, by its number.
        body: The resource.
    """

    envelope: bytes
    data_key: bytes
    owner: bytes
    resource_type: int
    body: dict[str, Any]

    def __repr__(self) -> str:
        return f"Released(type={self.resource_type})"


class EnvelopeReader:
    """Reads envelopes, which are ciphertext; another institution's validators use it to sample storage."""

    def __init__(self, database: Database[Document]) -> None:
        self._records = database["records"]

    def envelope(self, locator: str) -> bytes:
        """Return the sealed bytes, whose SM3 digest stands on the chain.

        Raises:
            Unknown: There is none under this locator.
        """
        found = self._records.find_one({"_id": locator}, {"envelope": 1})
        if found is None:
            raise Unknown(f"there is no envelope {locator}")
        return bytes(found["envelope"])


class Records:
    """The sealed records of one institution."""

    def __init__(self, layout: Layout, index: BlindIndex, owners: Owners, context: Context) -> None:
        self._layout = layout
        self._records = layout["records"]
        self._index = index
        self._owners = owners
        self._context = context
        self._reader = EnvelopeReader(layout.database)

    def rid(self, resource_type: str, id_: str) -> bytes:
        """Return the 16 bytes a resource is known by outside this institution."""
        return self._index.rid(resource_type, id_)

    def open(self, resource_type: str, id_: str, version: int | None = None) -> dict[str, Any]:
        """Return a resource, its newest version or the one asked for.

        Raises:
            Unknown: There is none.
            Erased: Its patient was erased.
            Tampered: The stored bytes are not the ones that were sealed.
        """
        rid = self.rid(resource_type, id_)
        wanted = {"rid": rid, "latest": True} if version is None else {"_id": locate(rid, version)}
        if (document := self._records.find_one(wanted)) is None:
            raise Unknown(f"no {resource_type} is stored under that id" + (f", version {version}" if version else ""))
        return self._open(document)

    def open_located(self, locator: str) -> dict[str, Any]:
        """Return the resource at a locator; raises as `open`."""
        if (document := self._records.find_one({"_id": locator})) is None:
            raise Unknown(f"there is no record {locator}")
        return self._open(document)

    def release(self, rid: bytes, version: int) -> Released:
        """Return one version with the key that opens it; raises as `open`."""
        if (document := self._records.find_one({"_id": locate(rid, version)})) is None:
            raise Unknown(f"there is no record {locate(rid, version)}")
        return self._release(document)

    def _open(self, document: Document) -> dict[str, Any]:
        return self._release(document).body

    def _release(self, document: Document) -> Released:
        rid, version = document["rid"], document["version"]
        keys = self._owners.find([document["owner"]]).get(document["owner"])
        if "key" not in document or keys is None:
            raise Erased(f"record {document['_id']}: its key was destroyed")
        try:
            data_key = envelope.unwrap(keys.kek, document["key"], rid, version)
            plain = envelope.open_(document["envelope"], data_key, rid, version, self._context)
        except Tampered as fault:
            raise Tampered(f"record {document['_id']}: {fault}") from None
        return Released(
            bytes(document["envelope"]), data_key, bytes(document["owner"]), document["type"], orjson.loads(plain)
        )

    def versions(self, *, patient: str | None = None, rid: bytes = b"") -> list[tuple[bytes, int]]:
        """Return id and version of everything that was ever sealed for a patient, or under a record's id, in order.

        What was erased counts: its digest stays on the chain, or is on its way there.
        """
        wanted = versions_of(rid) if patient is None else {"owner": self._index.owner(patient)}
        found = self._records.find(wanted, {"rid": 1, "version": 1})
        return sorted((bytes(one["rid"]), int(one["version"])) for one in found)

    def find(
        self,
        *,
        patient: str | None = None,
        person: Person | None = None,
        identifier: tuple[str, str] | None = None,
        code: tuple[str, str] | None = None,
        resource_type: str | None = None,
        limit: int = 1_000,
    ) -> list[Found]:
        """Return where the newest versions lie that fit every condition given.

        Args:
            patient: ``id`` of the Patient under whose key they are sealed.
            person: Whose they are, whichever of the person's patients they came with.
            identifier: System and value of an ``identifier``.
            code: System and code of a coding in ``code``.
            resource_type: FHIR type.
            limit: At most this many.
        """
        tokens = [self._index.token("identifier", *identifier)] if identifier else []
        tokens += [self._index.token("code", *code)] if code else []
        wanted: Document = {"latest": True}
        if tokens:
            wanted["tokens"] = {"$all": tokens}
        if patient is not None:
            wanted["owner"] = self._index.owner(patient)
        if person is not None:
            wanted["$and"] = [{"owner": {"$in": list(person.members)}}]
        if resource_type is not None:
            wanted["type"] = type_numbers().get(resource_type, -1)
        return [self._found(one) for one in self._records.find(wanted, _HEAD).limit(limit)]

    def patient_of(self, owner: bytes) -> dict[str, Any]:
        """Return the newest Patient under a patient's token; raises as `open`."""
        wanted = {"owner": owner, "type": type_numbers()["Patient"], "latest": True}
        if (document := self._records.find_one(wanted)) is None:
            raise Unknown("no Patient is stored under that token")
        return self._open(document)

    def envelope(self, locator: str) -> bytes:
        """Return the sealed bytes; raises `Unknown` where there are none."""
        return self._reader.envelope(locator)

    def sample(self, count: int) -> list[Found]:
        """Return up to ``count`` different records, drawn at random."""
        if count < 1:
            return []
        drawn = self._records.aggregate([{"$sample": {"size": count}}, {"$project": _HEAD}])
        return [self._found(one) for one in {one["_id"]: one for one in drawn}.values()]

    def verify(self, rid: bytes, version: int) -> bytes:
        """Return the SM3 digest of a stored envelope, to compare with the chain, after opening it with its key.

        An erased record cannot be opened; its digest is returned all the same, as it stays on the chain.

        Raises:
            Unknown: It is not stored.
            Tampered: The stored bytes are not the ones that were sealed.
        """
        if (document := self._records.find_one({"_id": locate(rid, version)})) is None:
            raise Unknown(f"there is no record {locate(rid, version)}")
        if not document.get("erased"):
            self._open(document)
        return sm3(document["envelope"])

    def _found(self, document: Document) -> Found:
        names = {number: name for name, number in type_numbers().items()}
        return Found(
            document["_id"], document["rid"], document["version"], names[document["type"]],
            bool(document.get("erased")),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Return how many resources there are, newest versions only, by FHIR type."""
        groups: list[Document] = [{"$match": {"latest": True}}, {"$group": {"_id": "$type", "n": {"$sum": 1}}}]
        names = {number: name for name, number in type_numbers().items()}
        return dict(sorted((names[one["_id"]], int(one["n"])) for one in self._records.aggregate(groups)))


_HEAD = {"rid": 1, "version": 1, "type": 1, "erased": 1}
