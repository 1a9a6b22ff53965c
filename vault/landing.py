"""Where records land before anything else can fail: sealed, once each, repeats counted."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Final

import orjson
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from schemas.records import RawRecord, Refusal, Unreadable
from shangmi import hmac_sm3
from vault import box
from vault.errors import Erased, Tampered, Unknown
from vault.keystore import FileKeystore
from vault.layout import PAST, Document, Layout
from vault.rhythm import Rhythm

_DUPLICATE: Final = 11000
#: Records in one insert; MongoDB splits above 48 MB anyway.
_INSERT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Landed:
    """A record that is durable.

    Attributes:
        id: 32 hex digits from source, native id and content; the same record always has the same.
        new: False where it had landed before; the repeat was counted.
    """

    id: str
    new: bool


@dataclass(frozen=True, slots=True)
class LandedRecord:
    """A landed record, decrypted."""

    id: str
    raw: RawRecord


class LandingKeys:
    """What names and seals landed records: a data key each, under the landing key until the patient is known."""

    def __init__(self, keystore: FileKeystore) -> None:
        self._kek = keystore.sealing_secret("XL/LANDING/1")
        self._detail = keystore.sealing_secret("XL/DETAIL/1")
        self._identity = keystore.index_secret("XL/LANDED/1")

    def identify(self, *parts: bytes) -> str:
        """Return the id of what these parts identify."""
        framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac_sm3(self._identity, framed)[:16].hex()

    def seal(self, id_: str, content: bytes) -> tuple[bytes, bytes]:
        """Return the wrapped data key and the sealed content."""
        data_key = os.urandom(16)
        return self.wrap(id_, data_key, ()), box.seal_packed(data_key, content, b"XL/RAW/1\0" + id_.encode())

    def open(self, id_: str, sealed: bytes, data_key: bytes) -> bytes:
        """Return the content."""
        return box.open_packed(data_key, sealed, b"XL/RAW/1\0" + id_.encode(), f"landed record {id_}")

    def wrap(self, id_: str, data_key: bytes, owners: Sequence[bytes]) -> bytes:
        """Return the data key under the landing key and, inside it, under each owner's key in turn."""
        aad = b"XL/RAWKEY/1\0" + id_.encode()
        return reduce(lambda inner, kek: box.seal(kek, inner, aad), (*owners, self._kek), data_key)

    def unwrap(self, id_: str, wrapped: bytes, owners: Sequence[bytes]) -> bytes:
        """Return the data key that `wrap` was given."""
        aad = b"XL/RAWKEY/1\0" + id_.encode()
        what = f"key of landed record {id_}"
        keys = (self._kek, *reversed(owners))
        return reduce(lambda outer, kek: box.open_(kek, outer, aad, what), keys, wrapped)

    def seal_detail(self, kind: str, id_: str, detail: Mapping[str, Any]) -> bytes:
        """Return a small JSON object sealed for one document."""
        return box.seal(self._detail, orjson.dumps(detail), f"XL/{kind}/1\0{id_}".encode())

    def open_detail(self, kind: str, id_: str, sealed: bytes) -> dict[str, Any]:
        """Return the object."""
        plain = box.open_(self._detail, sealed, f"XL/{kind}/1\0{id_}".encode(), f"{kind} of {id_}")
        detail: dict[str, Any] = orjson.loads(plain)
        return detail


class Landing:
    """The landing zone of one institution."""

    def __init__(self, layout: Layout, keys: LandingKeys) -> None:
        self._layout = layout
        self._landing = layout["landing"]
        self._keys = keys
        self._rhythm = Rhythm(layout)

    def put(self, raw: RawRecord) -> Landed:
        """Return once the record is on most members' disks; a repeat only counts."""
        return self.put_many((raw,))[0]

    def put_many(self, raws: Sequence[RawRecord], past: bool = False) -> list[Landed]:
        """Return, in order, once every record is on most members' disks; repeats only count.

        Args:
            raws: The records.
            past: Whether they are read again from the past: their place in the order of arrival is before all that
                arrived by itself, so what they become overwrites nothing newer.
        """
        landed: list[Landed] = []
        for at in range(0, len(raws), _INSERT):
            landed += self._put(raws[at : at + _INSERT], past)
        return landed

    def _put(self, raws: Sequence[RawRecord], past: bool) -> list[Landed]:
        name, start = ("landing/past", PAST) if past else ("landing", 0)
        first = start + self._layout.take_numbers(name, len(raws))
        documents = [self._document(raw, first + position) for position, raw in enumerate(raws)]
        repeated = self._insert(documents)
        if repeated:
            again = [UpdateOne({"_id": documents[at]["_id"]}, {"$inc": {"seen": 1}}) for at in sorted(repeated)]
            self._landing.bulk_write(again, ordered=False)
        if not past:
            self._note(documents, repeated)
        return [Landed(document["_id"], at not in repeated) for at, document in enumerate(documents)]

    def _note(self, documents: Sequence[Document], repeated: Container[int]) -> None:
        """Count what came for the source's rhythm: by source, though one call is nearly always of one."""
        for source in {document["source"] for document in documents}:
            mine = [(at, one) for at, one in enumerate(documents) if one["source"] == source]
            again = sum(at in repeated for at, _ in mine)
            self._rhythm.note(source, len(mine) - again, again, mine[-1][1]["received_at"])

    def _insert(self, documents: Sequence[Document]) -> set[int]:
        """Insert; return the positions of those that stood there already."""
        try:
            self._landing.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if any(fault["code"] != _DUPLICATE for fault in faults) or error.details["writeConcernErrors"]:
                raise
            return {fault["index"] for fault in faults}
        return set()

    def _document(self, raw: RawRecord, order: int) -> Document:
        id_ = self._keys.identify(b"record", raw.source.encode(), raw.native_id.encode(), raw.content)
        key, body = self._keys.seal(id_, pack(raw))
        bulk = {"bulk": [self._keys.identify(b"bulk", name.encode()) for name in raw.bulk]} if raw.bulk else {}
        return {
            "_id": id_, "source": raw.source, "order": order, "received_at": raw.received_at,
            "size": len(raw.content), "seen": 1, "status": "pending", "batch": None, "key": key, "body": body, **bulk,
        }  # fmt: skip

    def put_unreadable(self, unreadable: Unreadable) -> Landed:
        """Return once it lies in quarantine; what no record can be made of is kept and counted like one."""
        # Two faults may concern the same bytes, or none at all (two trailers that never came).
        refusal = unreadable.refusal
        facts = (unreadable.source, unreadable.digest, str(unreadable.size), refusal.code, refusal.where)
        id_ = self._keys.identify(b"unreadable", *(fact.encode() for fact in facts), unreadable.position.encode())
        key, body = self._keys.seal(id_, pack_unreadable(unreadable))
        document = {
            "_id": id_, "source": unreadable.source, "order": self._layout.take_numbers("landing"),
            "received_at": unreadable.received_at, "size": unreadable.size, "seen": 1, "status": "quarantined",
            "batch": None, "unreadable": True, "key": key, "body": body,
        }  # fmt: skip

        def work(session: ClientSession) -> bool:
            counted = self._landing.update_one({"_id": id_}, {"$inc": {"seen": 1}}, session=session)
            if counted.matched_count:
                return False
            self._landing.insert_one(document, session=session)
            self.set_aside(document, unreadable.refusal, "", session)
            return True

        try:
            landed = Landed(id_, self._layout.transact(work))
        except DuplicateKeyError:  # another process landed the same piece between our look and our insert
            landed = Landed(id_, self._layout.transact(work))
        self._rhythm.note(unreadable.source, int(landed.new), int(not landed.new), unreadable.received_at)
        return landed

    def set_aside(self, landed: Document, refusal: Refusal, mapping: str, session: ClientSession) -> None:
        """The quarantine holds why this landed record was not sealed, in place of an earlier reason."""
        detail = {"message": refusal.message, "mapping": mapping}
        self._layout["quarantine"].update_one(
            {"_id": landed["_id"]},
            {
                "$set": {
                    "source": landed["source"], "batch": landed["batch"], "order": landed["order"],
                    "received_at": landed["received_at"], "size": landed["size"], "state": "open",
                    "code": refusal.code, "where": refusal.where, "readable": not landed.get("unreadable", False),
                    "detail": self._keys.seal_detail("QUARANTINE", landed["_id"], detail),
                },
                "$inc": {"times": 1},
            },
            upsert=True,
            session=session,
        )  # fmt: skip

    def refused(self, source: str, code: str) -> None:
        """Count a message that was refused at the door; nothing of it is kept."""
        self._layout["counters"].update_one(
            {"_id": f"refused/{source}/{code}"},
            {"$inc": {"value": 1}, "$set": {"source": source, "code": code}},
            upsert=True,
        )

    def open(self, document: Document, keks: Mapping[bytes, bytes]) -> RawRecord | Unreadable:
        """Return what a landing document holds; ``keks`` has the keys of its owners.

        Raises:
            Erased: One of its patients was erased.
            Tampered: It was changed.
        """
        owners = document.get("owners", ())
        if "key" not in document or any(owner not in keks for owner in owners):
            raise Erased(f"landed record {document['_id']}: its patient was erased")
        id_ = document["_id"]
        data_key = self._keys.unwrap(id_, document["key"], [keks[owner] for owner in owners])
        content = self._keys.open(id_, document["body"], data_key)
        reader = unpack_unreadable if document.get("unreadable") else unpack
        return reader(document["source"], content)

    def open_record(self, document: Document, keks: Mapping[bytes, bytes]) -> RawRecord:
        """Return what the landing document of a readable record holds; raises as `open`."""
        opened = self.open(document, keks)
        if isinstance(opened, Unreadable):
            raise Tampered(f"landed record {document['_id']}: expected a record, found an unreadable piece")
        return opened

    def find(self, id_: str) -> Document:
        """Return one landing document.

        Raises:
            Unknown: There is none.
        """
        if (document := self._landing.find_one({"_id": id_})) is None:
            raise Unknown(f"nothing landed under {id_}")
        return document


def pack(raw: RawRecord) -> bytes:
    """Return everything of a record but its source as bytes: u32 length of JSON, JSON, content."""
    bulk = [raw.bulk] if raw.bulk else []
    return _pack([raw.native_id, raw.media, raw.received_at.isoformat(), raw.position, *bulk], raw.content)


def unpack(source: str, packed: bytes) -> RawRecord:
    """Return what `pack` was given."""
    (native_id, media, received_at, position, *bulk), content = _unpack(packed)
    names = tuple(bulk[0]) if bulk else ()
    return RawRecord(source, native_id, content, media, datetime.fromisoformat(received_at), position, names)


def pack_unreadable(unreadable: Unreadable) -> bytes:
    """Return everything of an unreadable piece but its source as bytes."""
    refusal, when = unreadable.refusal, unreadable.received_at.isoformat()
    facts = [
        refusal.code, refusal.where, refusal.message,
        unreadable.digest, unreadable.size, when, unreadable.position,
    ]  # fmt: skip
    return _pack(facts, unreadable.head)


def unpack_unreadable(source: str, packed: bytes) -> Unreadable:
    """Return what `pack_unreadable` was given."""
    (code, where, message, digest, size, when, position), head = _unpack(packed)
    refusal = Refusal(code, where, message)
    return Unreadable(source, refusal, digest, size, head, datetime.fromisoformat(when), position)


def _pack(facts: list[Any], content: bytes) -> bytes:
    head = orjson.dumps(facts)
    return len(head).to_bytes(4, "big") + head + content


def _unpack(packed: bytes) -> tuple[list[Any], bytes]:
    end = 4 + int.from_bytes(packed[:4], "big")
    try:
        return orjson.loads(packed[4:end]), packed[end:]
    except orjson.JSONDecodeError:
        raise Tampered("landed record: its facts cannot be read") from None
