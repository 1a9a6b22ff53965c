"""Many patients' records in order of patient: found by blind index, opened in bounded batches. For exports alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson
from pymongo import ASCENDING

from vault import envelope
from vault.blind_index import BlindIndex
from vault.envelope import Context
from vault.errors import Tampered
from vault.layout import Document, Layout
from vault.owners import OwnerKeys, Owners
from vault.persons import Persons
from vault.settling import type_numbers

#: Records opened at a time.
BATCH: Final = 2_000
_NAMED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Opened:
    """One opened record.

    Attributes:
        rid: 16 bytes.
        version: From 1.
        type: Its FHIR type's number on the chain.
        owner: Token of the patient whose key sealed it.
        body: The resource.
    """

    rid: bytes
    version: int
    type: int
    owner: bytes
    body: dict[str, Any]


class Extract:
    """Reads many records of one institution."""

    def __init__(self, layout: Layout, index: BlindIndex, owners: Owners, context: Context, persons: Persons) -> None:
        self._records, self._patients = layout["records"], layout["patients"]
        self._identities, self._links = layout["identities"], layout["identity_links"]
        self._index, self._owners, self._context, self._persons = index, owners, context, persons

    def patients(self) -> list[bytes]:
        """Return the tokens of all patients who are not erased, in order."""
        found = self._patients.find({"salt": {"$exists": True}}, {"_id": 1})
        return sorted({one["_id"] for one in found} - {self._index.owner(None)})

    def with_codes(self, codes: Iterable[tuple[str, str]]) -> list[bytes]:
        """Return the tokens of the patients with a record whose ``code`` is one of these, in order."""
        tokens = [self._index.token("code", *one) for one in codes]
        wanted = {"latest": True, "tokens": {"$in": tokens}, "erased": {"$ne": True}}
        groups: list[Document] = [{"$match": wanted}, {"$group": {"_id": "$owner"}}]
        return sorted({one["_id"] for one in self._records.aggregate(groups)} - {self._index.owner(None)})

    def records(
        self,
        owners: Sequence[bytes],
        types: Collection[str] | None = None,
        codes: Iterable[tuple[str, str]] | None = None,
    ) -> Iterator[list[Opened]]:
        """Yield the newest versions of these patients' records in order of patient, ``BATCH`` at a time.

        Erased ones are not there. A patient's records may reach over several lists.

        Args:
            owners: Tokens of patients, in order.
            types: FHIR types; without them all.
            codes: System and code of codings in ``code``, any of them; without them all records.

        Raises:
            Tampered: Stored bytes are not the ones that were sealed.
        """
        wanted: Document = {"latest": True, "erased": {"$ne": True}}
        if types is not None:
            wanted["type"] = {"$in": [type_numbers()[one] for one in types if one in type_numbers()]}
        if codes is not None:
            wanted["tokens"] = {"$in": [self._index.token("code", *one) for one in codes]}
        for start in range(0, len(owners), _NAMED):
            named = owners[start : start + _NAMED]
            keys = self._owners.find(named)
            found = self._records.find({**wanted, "owner": {"$in": list(named)}}, _WHOLE, batch_size=BATCH)
            held: list[Opened] = []
            for document in found.sort([("owner", ASCENDING), ("type", ASCENDING), ("_id", ASCENDING)]).allow_disk_use(
                True
            ):
                if "key" in document and document["owner"] in keys:  # else erased since the query began
                    held.append(self._open(document, keys[document["owner"]]))
                if len(held) == BATCH:
                    yield held
                    held = []
            if held:
                yield held

    def some(self, kind: Document, most: int) -> Iterator[list[Opened]]:
        """Yield up to ``most`` newest versions of a kind in order of id, ``BATCH`` at a time, erased ones left out.

        Args:
            kind: What they have to be, beside newest.
            most: How many at most.

        Raises:
            Tampered: Stored bytes are not the ones that were sealed.
        """
        wanted = {**kind, "latest": True, "erased": {"$ne": True}}
        found = iter(self._records.find(wanted, _WHOLE, batch_size=BATCH).sort("_id", ASCENDING).limit(most))
        while page := list(islice(found, BATCH)):
            keys = self._owners.find({one["owner"] for one in page})
            yield [self._open(one, keys[one["owner"]]) for one in page if "key" in one and one["owner"] in keys]

    def _open(self, document: Document, keys: OwnerKeys) -> Opened:
        rid, version = document["rid"], document["version"]
        try:
            data_key = envelope.unwrap(keys.kek, document["key"], rid, version)
            plain = envelope.open_(document["envelope"], data_key, rid, version, self._context)
        except Tampered as fault:
            raise Tampered(f"record {document['_id']}: {fault}") from None
        return Opened(rid, version, document["type"], document["owner"], orjson.loads(plain))

    def persons(self, owners: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return by patient the token of who stands for the person: patients that are one have the same."""
        together = self._persons.connected(owners)
        found = {owner: owner for owner in owners}
        for owner in together:
            if found[owner] == owner:
                person = self._persons.person(owner)
                found |= {one: person.survivor for one in person.members if one in found}
        return found


_WHOLE: Final = {"rid": 1, "version": 1, "type": 1, "owner": 1, "key": 1, "envelope": 1}

__all__ = ["BATCH", "Extract", "Opened"]
