"""The vault's collections in MongoDB, their indexes, and the check that the database is this keystore's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, IndexModel
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shangmi import hmac_sm3
from vault.errors import WrongVault
from vault.keystore import FileKeystore

Document = dict[str, Any]
Result = TypeVar("Result")
#: Acknowledged by most members and in their journals.
DURABLE: Final = WriteConcern("majority", j=True)

_LATEST: Final = {"latest": True}
INDEXES: Final = {
    "landing": [
        IndexModel([("source", 1), ("status", 1), ("order", 1)]),
        IndexModel([("batch", 1), ("order", 1)]),
        IndexModel("owners", sparse=True),
    ],
    "batches": [IndexModel([("source", 1), ("state", 1), ("number", 1)])],
    "records": [
        # One latest version a resource, whoever writes: a second one is refused by the database itself.
        IndexModel("rid", unique=True, partialFilterExpression=_LATEST),
        IndexModel([("owner", 1), ("type", 1)]),
        IndexModel("tokens", partialFilterExpression=_LATEST),
    ],
    "bulk": [IndexModel("owners")],
    "bulk.files": [IndexModel([("filename", 1), ("uploadDate", 1)])],
    "bulk.chunks": [IndexModel([("files_id", 1), ("n", 1)], unique=True)],
    "bulk.unfinished": [IndexModel("since")],
    "outbox": [IndexModel("batch"), IndexModel([("open", 1), ("ready", 1)])],
    "submissions": [IndexModel("number", unique=True), IndexModel([("state", 1), ("number", 1)])],
    "identities": [
        IndexModel("numbers"),
        IndexModel("residents", sparse=True),
        IndexModel("examined", partialFilterExpression={"examined": False}),
    ],
    "tallies": [IndexModel([("source", 1), ("kind", 1), ("count", -1)])],
    "identity_links": [IndexModel("pair")],
    "identity_questions": [IndexModel("owners"), IndexModel("state")],
    "rhythm": [IndexModel([("source", 1), ("begins", 1)])],
    "shapes": [IndexModel([("source", 1), ("at", 1)])],
    "shares": [IndexModel([("owner", 1)]), IndexModel([("request", 1)]), IndexModel("narrowed", sparse=True)],
    "consents": [IndexModel([("owner", 1), ("sequence", 1)]), IndexModel("open", sparse=True)],
    "quarantine": [IndexModel([("state", 1), ("code", 1)]), IndexModel([("batch", 1), ("state", 1)])],
}


class Layout:
    """One institution's database, opened with durable writes and majority reads."""

    def __init__(self, database: Database[Document]) -> None:
        options: CodecOptions[Document] = CodecOptions(tz_aware=True)
        self.database = database.with_options(
            codec_options=options,
            write_concern=DURABLE,
            read_concern=ReadConcern("majority"),
        )

    def __getitem__(self, name: str) -> Collection[Document]:
        return self.database[name]

    def prepare(self, keystore: FileKeystore, institution: str, chain_id: bytes) -> None:
        """Indexes stand, and the database is bound to keystore, institution and chain.

        Raises:
            WrongVault: It is bound to others. Nothing is written.
        """
        mark = hmac_sm3(keystore.sealing_secret("XL/MARK/1", length=32), institution.encode() + b"\0" + chain_id)
        found = self["meta"].find_one({"_id": "vault"})
        if found is None:
            wanted = {"$setOnInsert": {"mark": mark, "institution": institution, "layout": 1}}
            self["meta"].update_one({"_id": "vault"}, wanted, upsert=True)
            found = self["meta"].find_one({"_id": "vault"}) or {}
        if found.get("mark") != mark:
            raise WrongVault(
                f"the database was sealed by {found.get('institution')!r} with another keystore or for another "
                f"chain; opened as {institution!r}"
            )
        for name, indexes in INDEXES.items():
            self[name].create_indexes(indexes)

    def transact(self, work: Callable[[ClientSession], Result]) -> Result:
        """Return what ``work`` returns, all of its writes done or none."""
        with self.database.client.start_session() as session:
            return session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=DURABLE, max_commit_time_ms=60_000
            )

    def take_numbers(self, name: str, count: int = 1, session: ClientSession | None = None) -> int:
        """Return the first of ``count`` numbers that nobody else gets; they only grow.

        Not waited for: journal and oplog keep their order, so whatever durable write uses a number makes the
        counter durable too.
        """
        counters = self["counters"].with_options(write_concern=WriteConcern(1))
        after = counters.find_one_and_update(
            {"_id": name}, {"$inc": {"value": count}}, upsert=True, return_document=True, session=session
        )
        return int((after or {})["value"]) - count + 1

    def last_number(self, name: str) -> int:
        """Return the last number that `take_numbers` gave out, or 0."""
        return int((self["counters"].find_one({"_id": name}) or {"value": 0})["value"])


ORDER: Final = [("order", ASCENDING)]
#: What is read again from the past has numbers from here on: before all that arrives, so it overwrites nothing newer.
PAST: Final = -(2**52)
