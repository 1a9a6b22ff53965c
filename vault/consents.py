"""What patients of this institution signed, number by number: the statements it filed, and where the paper lies.

Of a form the chain has a digest made with a secret salt. Salt and reference are here, sealed, so that the institution
can show which paper a statement rests on, and nobody else can try out papers. They outlive an erasure of the patient's
records: they are the proof that sharing was allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pymongo.errors import BulkWriteError

from shangmi import hmac_sm3
from vault import box
from vault.blind_index import BlindIndex
from vault.keystore import FileKeystore
from vault.layout import Document, Layout

SALT: Final = 32
_DUPLICATE: Final = 11000
_FORM: Final = b"XL/FORM/1\0"


@dataclass(frozen=True, slots=True)
class Form:
    """What a statement on paper rests on.

    Attributes:
        reference: Where the paper lies, in the institution's own words.
        digest: SM3 of its scan, hex; "" where there is none.
        salt: 32 secret bytes.
    """

    reference: str
    digest: str
    salt: bytes

    @classmethod
    def of(cls, reference: str, digest: str = "") -> Form:
        """Return the form with a fresh salt."""
        return cls(reference, digest, secrets.token_bytes(SALT))

    @property
    def on_chain(self) -> bytes:
        """What the chain has of it: HMAC-SM3 under the salt, 32 bytes."""
        return hmac_sm3(self.salt, _FORM + orjson.dumps([self.reference, self.digest]))

    def __repr__(self) -> str:
        return "Form(…)"


@dataclass(frozen=True, slots=True)
class Filed:
    """One statement that was signed here.

    Attributes:
        owner: The patient's token.
        sequence: Its number.
        will: What was permitted and denied, as the chain's state has it, with height 0.
        tx: The signed transaction.
        tx_id: Its id.
        expiry: Last height at which it may enter a block.
        posted: Whether it was offered to the next block.
    """

    owner: bytes
    sequence: int
    will: bytes
    tx: bytes
    tx_id: bytes
    expiry: int
    posted: bool = False


class Consents:
    """The filed statements of one institution."""

    def __init__(self, layout: Layout, keystore: FileKeystore, index: BlindIndex) -> None:
        self._consents, self._patients, self._index = layout["consents"], layout["patients"], index
        self._box = keystore.sealing_secret("XL/CONSENT-FORM/1")

    def owner(self, patient: str) -> bytes:
        """Return the token of a patient by the id of its Patient here; whether there is one is not looked at."""
        return self._index.owner(patient)

    def known(self, owners: Collection[bytes]) -> set[bytes]:
        """Return those of these patients of whom anything was ever sealed here."""
        ever: list[Document] = [{"salt": {"$exists": True}}, {"erased": {"$exists": True}}]
        wanted = {"_id": {"$in": list(owners)}, "$or": ever}
        return {bytes(one["_id"]) for one in self._patients.find(wanted, {"_id": 1})}

    def withheld(self, owners: Collection[bytes]) -> set[bytes]:
        """Return those of these patients who are kept out of summaries."""
        wanted = {"_id": {"$in": list(owners)}, "withheld": True}
        return {bytes(one["_id"]) for one in self._patients.find(wanted, {"_id": 1})}

    def note(self, filed: Sequence[tuple[Filed, Form | None]]) -> list[Filed]:
        """These statements were signed; noted before they are posted, so that a killed filing can go on.

        Returns:
            Those that are noted. Of the others somebody else has used the number meanwhile: they must not be posted.
        """
        documents = [self._document(one, form) for one, form in filed]
        taken: set[int] = set()
        try:
            if documents:
                self._consents.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if any(fault["code"] != _DUPLICATE for fault in faults) or error.details["writeConcernErrors"]:
                raise
            taken = {fault["index"] for fault in faults}
        return [one for at, (one, _) in enumerate(filed) if at not in taken]

    def _document(self, filed: Filed, form: Form | None) -> Document:
        document: Document = {
            "_id": _place(filed), "owner": filed.owner, "sequence": filed.sequence, "will": filed.will, "tx": filed.tx,
            "tx_id": filed.tx_id, "expiry": filed.expiry, "open": True, "posted": False,
        }  # fmt: skip
        if form is not None:
            plain = {"reference": form.reference, "digest": form.digest, "salt": form.salt.hex()}
            document["form"] = box.seal(self._box, orjson.dumps(plain), b"XL/CONSENT-FORM/1\0" + _place(filed))
        return document

    def open(self) -> list[Filed]:
        """Return the statements of which it is not known yet that they came into force, oldest number first."""
        return [_filed(one) for one in self._consents.find({"open": True}).sort("sequence", 1)]

    def posted(self, filed: Iterable[Filed]) -> None:
        """These statements were offered to the next block, and all that follows from them was done."""
        places = [_place(one) for one in filed]
        self._consents.update_many({"_id": {"$in": places}}, {"$set": {"posted": True}})

    def close(self, filed: Iterable[Filed]) -> None:
        """These statements stand on the chain."""
        places = [_place(one) for one in filed]
        self._consents.update_many({"_id": {"$in": places}}, {"$unset": {"open": ""}})

    def forget(self, filed: Iterable[Filed]) -> None:
        """These statements lapsed before any block took them: as if they had not been signed."""
        places = [_place(one) for one in filed]
        self._consents.delete_many({"_id": {"$in": places}, "open": True})

    def newest(self, owners: Collection[bytes]) -> dict[bytes, Filed]:
        """Return of each of these patients the last statement filed here, as far as there is one."""
        found = self._consents.find({"owner": {"$in": list(owners)}}).sort("sequence", 1)
        return {bytes(one["owner"]): _filed(one) for one in found}

    def history(self, owner: bytes) -> list[tuple[Filed, Form | None]]:
        """Return what a patient signed, oldest first, with the papers it rests on.

        Raises:
            Tampered: A stored reference is not the one that was sealed.
        """
        found = self._consents.find({"owner": owner}).sort("sequence", 1)
        return [(_filed(one), self._form(one)) for one in found]

    def _form(self, document: Mapping[str, Any]) -> Form | None:
        if "form" not in document:
            return None
        aad = b"XL/CONSENT-FORM/1\0" + document["_id"]
        plain = orjson.loads(box.open_(self._box, document["form"], aad, "reference of a consent form"))
        return Form(plain["reference"], plain["digest"], bytes.fromhex(plain["salt"]))


def _place(filed: Filed) -> bytes:
    return filed.owner + filed.sequence.to_bytes(8, "big")


def _filed(one: Mapping[str, Any]) -> Filed:
    named = (bytes(one["owner"]), int(one["sequence"]), bytes(one["will"]), bytes(one["tx"]))
    return Filed(*named, bytes(one["tx_id"]), int(one["expiry"]), bool(one["posted"]))
