"""Patients' keys: derived from the institution's master key and a salt; who deletes the salt erases the patient."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError

from vault.errors import Contended
from vault.keystore import FileKeystore
from vault.layout import Document, Layout

_DUPLICATE = 11000


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """What seals one patient's data.

    Attributes:
        kek: Wraps data keys, 16 bytes.
        mac: Recognises unchanged content, 32 bytes.
        salt: What both were derived with.
        person: The patient's sealed pseudonym in the region, or empty.
        withheld: The patient's records get no summary.
    """

    kek: bytes
    mac: bytes
    salt: bytes
    person: bytes = b""
    withheld: bool = False

    def __repr__(self) -> str:
        return "OwnerKeys(…)"


class Owners:
    """The salts, one a patient and one for the institution's own resources, and the keys they give."""

    def __init__(self, layout: Layout, keystore: FileKeystore) -> None:
        self._layout = layout
        self._salts = layout["patients"]
        self._keystore = keystore
        self._derive = lru_cache(maxsize=20_000)(self._derived)

    def _derived(self, owner: bytes, salt: bytes) -> OwnerKeys:
        secret = self._keystore.sealing_secret("XL/KEK/1\0" + owner.hex(), salt, 48)
        return OwnerKeys(secret[:16], secret[16:], salt)

    def find(self, owners: Collection[bytes]) -> dict[bytes, OwnerKeys]:
        """Return the keys of those owners that have a salt."""
        found = self._salts.find({"_id": {"$in": list(owners)}, "salt": {"$exists": True}})
        return {one["_id"]: self._known(one) for one in found}

    def _known(self, document: Document) -> OwnerKeys:
        keys = self._derive(document["_id"], document["salt"])
        person, withheld = document.get("person", b""), document.get("withheld", False)
        return replace(keys, person=person, withheld=withheld) if person or withheld else keys

    def ensure(self, owners: Collection[bytes]) -> dict[bytes, OwnerKeys]:
        """Return the keys of all these owners; who has no salt gets one, durable before it is used.

        Raises:
            Contended: Somebody erased one of them meanwhile.
        """
        keys = self.find(owners)
        if missing := set(owners) - keys.keys():
            self._create(missing)
            keys |= self.find(missing)
        if len(keys) != len(set(owners)):
            raise Contended("a patient's key was erased at the same moment")
        return keys

    def _create(self, owners: Iterable[bytes]) -> None:
        operations = [
            UpdateOne(
                {"_id": owner, "salt": {"$exists": False}},
                {"$set": {"salt": secrets.token_bytes(32), "since": datetime.now(UTC)}},
                upsert=True,
            )
            for owner in owners
        ]
        try:
            self._salts.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            # Somebody else gave the same owner a salt first: the upsert then meets its _id.
            if any(fault["code"] != _DUPLICATE for fault in error.details["writeErrors"]):
                raise

    def hold(self, keys: dict[bytes, OwnerKeys], session: ClientSession) -> bool:
        """Whether these salts and wishes still stand; a change from here on conflicts with the transaction."""
        wanted = {
            "_id": {"$in": list(keys)}, "salt": {"$in": [one.salt for one in keys.values()]},
            "$or": [{"withheld": {"$exists": False}}, {"_id": {"$in": [id_ for id_ in keys if keys[id_].withheld]}}],
        }  # fmt: skip
        done = self._salts.update_many(wanted, {"$inc": {"seals": 1}}, session=session)
        return done.matched_count == len(keys)

    def recognise(self, people: Mapping[bytes, bytes], session: ClientSession) -> None:
        """Each of these patients is known by this sealed pseudonym from now on."""
        operations = [UpdateOne({"_id": owner}, {"$set": {"person": sealed}}) for owner, sealed in people.items()]
        self._salts.bulk_write(operations, ordered=False, session=session)

    def erase(self, owner: bytes) -> bool:
        """Delete the salt; returns whether there was one. A mark that it was erased, and when, remains."""
        change = {"$unset": {"salt": "", "since": "", "person": ""}, "$push": {"erased": datetime.now(UTC)}}
        return self._salts.update_one({"_id": owner, "salt": {"$exists": True}}, change).modified_count == 1
