"""Sealed summaries of what this institution publishes, and the keys that the region reads them with.

Every institution makes its own summary keys, a new one each epoch and whenever the members change, and wraps each to
every member: no secret opens everybody's (``docs/decisions/0131``). A summary is sealed with its record, in the same
transaction; its digest is part of the record's entry. Bytes: ``docs/formats/summary.md``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pymongo.errors import DuplicateKeyError

from schemas.records import Entry, Resource
from schemas.residents import RESIDENT, is_resident_number
from schemas.summary import Summary
from shangmi import hmac_sm3, sm4_gcm_seal
from vault import box, entries
from vault.blind_index import BlindIndex, framed
from vault.keystore import FileKeystore
from vault.layout import Layout
from vault.owners import OwnerKeys
from vault.summarising import facts_of

MAGIC: Final = b"XLS1"
KEY: Final = 16
_NONCE: Final = 12
Sealed = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class SummaryKey:
    """One of the institution's summary keys.

    Attributes:
        number: From 1, in order of making.
        secret: The SM4 key.
        label: The epoch and members it was made for; "" for the first, made before anything was published.
    """

    number: int
    secret: bytes
    label: str

    def __repr__(self) -> str:
        return f"SummaryKey(number={self.number})"


def commitment(secret: bytes, chain_id: bytes, institution: str) -> bytes:
    """Return what a summary key is bound to and known by: HMAC-SM3 under itself; its first 16 bytes are its id."""
    return hmac_sm3(secret, b"XL/SUMKC/1\0" + chain_id + framed(institution))


def bound_to(chain_id: bytes, institution: str, header: bytes) -> bytes:
    """Return the additional data of a sealed summary."""
    return b"XL/SUMS/1\0" + chain_id + framed(institution) + header


class Summaries:
    """The summaries of one institution.

    Args:
        layout: Its vault.
        index: Its blind index.
        keystore: Its keys.
        institution: Its id.
        chain_id: The region's chain.
        region_key: The secret that pseudonyms are made with in the region, 32 bytes; None makes no summaries.
    """

    def __init__(
        self,
        layout: Layout,
        index: BlindIndex,
        keystore: FileKeystore,
        institution: str,
        chain_id: bytes,
        region_key: bytes | None,
    ) -> None:
        self._layout, self._index = layout, index
        self._keys = layout["summary_keys"]
        self._institution, self._chain_id = institution, chain_id
        self._box = keystore.sealing_secret("XL/SUMMARY/1")
        self._patients = keystore.index_secret("XL/PATIENT/1")
        self._region_key = region_key
        self._current: tuple[SummaryKey, bytes] | None = None
        self.pseudonym = lru_cache(maxsize=65_536)(self._pseudonym)
        self._person = lru_cache(maxsize=65_536)(self._opened_person)

    @property
    def made(self) -> bool:
        """Whether summaries are made here at all."""
        return self._region_key is not None

    # --- who ---------------------------------------------------------------------------------------------------

    def _pseudonym(self, owner: bytes) -> bytes:
        """Return what a patient is called on the chain, by this institution alone."""
        return hmac_sm3(self._patients, owner)

    def patient(self, patient: str) -> bytes:
        """Return the pseudonym that consents and requests name a patient of this institution by, 32 bytes."""
        return self.pseudonym(self._index.owner(patient))

    def person_of(self, number: str) -> bytes:
        """Return the region's pseudonym of the holder of a resident number: a member who knows the number finds all.

        Raises:
            RuntimeError: No region key is here.
        """
        if self._region_key is None:
            raise RuntimeError("pseudonyms of the region need its key")
        return hmac_sm3(self._region_key, b"XL/PERSON/1\0" + framed(number))

    def people(
        self, resources: Iterable[tuple[bytes, Resource]], keys: Mapping[bytes, OwnerKeys]
    ) -> dict[bytes, bytes]:
        """Return by owner the sealed pseudonym of each person that these Patients newly show.

        Args:
            resources: Resources with their owners, in order; all but Patients are passed over.
            keys: What is known of the owners.
        """
        found: dict[bytes, bytes] = {}
        if not self.made:
            return found
        for owner, resource in resources:
            if resource.type == "Patient" and (number := _resident_number(resource)):
                person, known = self.person_of(number), keys[owner].person
                if not known or (resource.mode == "update" and self._person(owner, known) != person):
                    found[owner] = box.seal(self._box, person, b"XL/PERSON/1\0" + owner)
        return found

    def _opened_person(self, owner: bytes, sealed: bytes) -> bytes:
        return box.open_(self._box, sealed, b"XL/PERSON/1\0" + owner, "pseudonym of a person")

    def _person_under(self, owner: bytes, sealed: bytes) -> bytes:
        """Return the person's pseudonym; where no resident number is known, one that nobody else arrives at."""
        return self._person(owner, sealed) if sealed else hmac_sm3(self._patients, b"XL/UNKNOWN/1\0" + owner)

    # --- sealing -----------------------------------------------------------------------------------------------

    def seal(
        self, resource: Resource, owner: bytes, keys: OwnerKeys, person: bytes, rid: bytes, version: int, number: int
    ) -> bytes | None:
        """Return the sealed summary of one version, or None where there is to be none.

        None: the type has no summaries, the patient does not want any, or it is nobody's record.

        Args:
            resource: What is sealed.
            owner: Token of its patient.
            keys: What is known of the patient.
            person: The patient's sealed pseudonym, newer than what ``keys`` say; or empty.
            rid: The record's id.
            version: Its version.
            number: Number of its type.
        """
        if self._region_key is None or resource.patient is None or keys.withheld:
            return None
        if (facts := facts_of(resource.body)) is None:
            return None
        plain = Summary(
            self._person_under(owner, person or keys.person), self.pseudonym(owner), number,
            facts.date, facts.code_class, facts.conclusion, facts.total_fen,
        ).encode()  # fmt: skip
        key, key_id = self._current or self._load()
        header = MAGIC + key_id + rid + version.to_bytes(4, "big")
        nonce = os.urandom(_NONCE)
        sealed = sm4_gcm_seal(key.secret, nonce, plain, bound_to(self._chain_id, self._institution, header))
        return header + nonce + sealed

    def _load(self) -> tuple[SummaryKey, bytes]:
        """Return the newest key with its id; the first is made here."""
        if (newest := self._keys.find_one(sort=[("_id", -1)])) is None:
            self._make(1, "")
            newest = self._keys.find_one(sort=[("_id", -1)]) or {}
        key = self._opened(newest["_id"], newest["key"], newest["label"])
        self._current = key, newest["key_id"]
        return self._current

    def _make(self, number: int, label: str) -> None:
        secret = secrets.token_bytes(KEY)
        document = {
            "_id": number, "label": label, "key_id": commitment(secret, self._chain_id, self._institution)[:16],
            "key": box.seal(self._box, secret, self._place(number)),
        }  # fmt: skip
        with suppress(DuplicateKeyError):  # another process made the same number first, and its key serves
            self._keys.insert_one(document)

    @staticmethod
    def _place(number: int) -> bytes:
        return b"XL/SUMKEY/1\0" + number.to_bytes(4, "big")

    def _opened(self, number: int, sealed: bytes, label: str) -> SummaryKey:
        return SummaryKey(number, box.open_(self._box, sealed, self._place(number), "summary key"), label)

    # --- keys --------------------------------------------------------------------------------------------------

    def rotate(self, label: str) -> SummaryKey | None:
        """What is sealed from now on is under a key made for this epoch and these members; None where none is made.

        The same label again changes nothing. A process that sealed before may seal some more under the key before.
        """
        if not self.made:
            return None
        self._current = None
        key, _ = self._load()
        if key.label != label:
            self._make(key.number + 1, label)
            self._current = None
            key, _ = self._load()
        return key

    def keys(self, key_ids: Iterable[bytes]) -> list[SummaryKey]:
        """Return these keys, in order of making."""
        found = self._keys.find({"key_id": {"$in": list(key_ids)}}).sort("_id", 1)
        return [self._opened(one["_id"], one["key"], one["label"]) for one in found]

    # --- what stands -------------------------------------------------------------------------------------------

    def stored(self, sealed: Sequence[Entry]) -> list[bytes]:
        """Return the sealed summaries of these entries, as far as they have one that was not taken back."""
        wanted = [one.locator for one in sealed if one.summary_digest != entries.NO_SUMMARY]
        found = self._layout["records"].find({"_id": {"$in": wanted}, "summary": {"$exists": True}}, {"summary": 1})
        by_place = {one["_id"]: bytes(one["summary"]) for one in found}
        return [by_place[one] for one in wanted if one in by_place]

    def withhold(self, patient: str) -> list[tuple[bytes, int]]:
        """No summary is made of this patient's records again, and those made are gone here.

        Returns:
            Id and version of each record whose summary was made, now or by a call before; the chain is to be told
            (ERASE, reason ``directory``), so that every node purges it.
        """
        return self.withhold_owner(self._index.owner(patient))

    def withhold_owner(self, owner: bytes) -> list[tuple[bytes, int]]:
        """As ``withhold``, of the patient under a token."""
        self._layout["patients"].update_one({"_id": owner}, {"$set": {"withheld": True}}, upsert=True)
        # Whoever is sealing this patient now holds the document: this came after it, or it meets this and begins anew.
        mine = {"owner": owner, "summary": {"$exists": True}}
        self._layout["records"].update_many(mine, {"$unset": {"summary": ""}, "$set": {"summary_gone": True}})
        gone = self._layout["records"].find({"owner": owner, "summary_gone": True}, {"rid": 1, "version": 1})
        return sorted((bytes(one["rid"]), int(one["version"])) for one in gone)

    def allow(self, patient: str) -> None:
        """Summaries of this patient's records are made again, of what is sealed from now on."""
        self.allow_owner(self._index.owner(patient))

    def allow_owner(self, owner: bytes) -> None:
        """As ``allow``, of the patient under a token."""
        self._layout["patients"].update_one({"_id": owner}, {"$unset": {"withheld": ""}})


def _resident_number(resource: Resource) -> str | None:
    for one in resource.body.get("identifier", ()):
        if one.get("system") == RESIDENT and is_resident_number(str(one.get("value", ""))):
            return str(one["value"])
    return None
