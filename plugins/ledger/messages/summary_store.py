"""One institution's copy of everybody's sealed summaries: filled and purged as the chain says (section 18).

``follow`` goes through final blocks once, in order: a batch that announces summaries is wanted, an ERASE purges. What
it writes, it writes before the cursor moves, and writing it twice changes nothing; so it may be killed anywhere. What
is purged stays marked, so that a bundle which comes late brings nothing back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pymongo import ASCENDING, MongoClient, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.documents import Document, upsert
from ledger.chain.leaves import KEY_BYTES, Leaves
from ledger.chain.replica import Replica
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.encoding import SHORT_ID, u32
from ledger.errors import Refused
from ledger.exchange import Exchange
from ledger.messages.erasure import Erase
from ledger.messages.granted_keys import GrantedKeys
from ledger.messages.key_grants import Decrypts
from ledger.messages.sealed_summary import Bundle, SealedSummary, announced
from ledger.messages.summary_board import SummaryBoard
from schemas.summary import Summary

#: Blocks for which a batch's bundle stays on the board; who comes later asks for it.
KEPT_BLOCKS: Final = 20
_LOOKUP: Final = 20_000


class OwnSummaries(Protocol):
    """Where the sealed summaries of the institution's own records lie, until they are erased."""

    def sealed(self, records: Sequence[bytes]) -> Iterable[bytes]:
        """Return the sealed summaries of these records (id and version, 20 bytes each), as far as there are any."""
        ...


class StoredSummaries:
    """Reads an institution's own sealed summaries from its vault; they are ciphertext, so no key is needed."""

    def __init__(self, client: MongoClient[Document], institution: str) -> None:
        self._records = client[f"xinglin_{institution}"]["records"]

    def sealed(self, records: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the sealed summaries of these records."""
        names = [f"{one[:SHORT_ID].hex()}.{int.from_bytes(one[SHORT_ID:], 'big')}" for one in records]
        for at in range(0, len(names), _LOOKUP):
            wanted = {"_id": {"$in": names[at : at + _LOOKUP]}, "summary": {"$exists": True}}
            yield from (bytes(one["summary"]) for one in self._records.find(wanted, {"summary": 1}))


@dataclass(frozen=True, slots=True)
class Followed:
    """What one call of ``follow`` did.

    Attributes:
        height: Up to which block.
        stored: Summaries that came.
        purged: Summaries that are gone.
        missing: Summaries announced that nobody has shown yet.
    """

    height: int
    stored: int
    purged: int
    missing: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One summary that an institution may read.

    Attributes:
        publisher: Who published the record, by its id in the region's files.
        rid: The record's id.
        version: Its version.
        height: Block of its batch.
        summary: What it says.
    """

    publisher: str
    rid: bytes
    version: int
    height: int
    summary: Summary


class SummaryStore:
    """The sealed summaries that an institution holds.

    Args:
        database: The institution's ledger database.
        replica: Its copy of the chain.
        institution: Its id in the region's files.
        board: Where bundles come from.
        own: Its own sealed summaries.
    """

    def __init__(
        self,
        database: Database[Document],
        replica: Replica,
        institution: str,
        board: SummaryBoard,
        own: OwnSummaries,
    ) -> None:
        durable = database.with_options(
            write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
        )
        self._summaries, self._gone = durable["summaries"], durable["summaries_gone"]
        self._wanted, self._meta = durable["summaries_wanted"], durable["summaries_meta"]
        self._replica, self._board, self._own = replica, board, own
        self._institution = institution
        self._id = institution_id(institution)
        self._summaries.create_index([("tx", ASCENDING)])

    # --- following the chain -----------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Up to which block the chain was followed."""
        found = self._meta.find_one({"_id": "cursor"})
        return 0 if found is None else int(found["height"])

    def follow(self) -> Followed:
        """Every final block was looked at, what it purges is gone, and what is there of what it announces is stored.

        Returns:
            Counts; what is missing is asked for on the board, and again at every call.
        """
        head, purged = self._replica.view.head.height, 0
        for height in range(self.height + 1, head + 1):
            purged += self._look_at(height)
            self._meta.replace_one({"_id": "cursor"}, {"_id": "cursor", "height": height}, upsert=True)
        stored = missing = 0
        for wanted in self._wanted.find().sort("height", ASCENDING):
            found, left = self._fetch(wanted)
            stored, missing = stored + found, missing + left
        self._answer()
        return Followed(head, stored, purged, missing)

    def _look_at(self, height: int) -> int:
        """What a block announces is wanted, what it erases is gone; returns how many summaries went."""
        purged = 0
        for index, tx in self._transactions(height):
            if isinstance(tx, SubmitBatch):
                wanted = {"_id": tx.tx_id, "height": height, "index": index, "submitter": tx.submitter}
                self._wanted.replace_one({"_id": tx.tx_id}, wanted, upsert=True)
            elif isinstance(tx, Erase):
                purged += self.purge([tx.sender + rid + u32(version) for rid, version in tx.records])
        if height > KEPT_BLOCKS:
            for _, tx in self._transactions(height - KEPT_BLOCKS):
                if isinstance(tx, SubmitBatch) and tx.submitter == self._id:
                    self._board.drop(tx.tx_id)
        return purged

    def _transactions(self, height: int) -> Iterator[tuple[int, object]]:
        block, _ = self._replica.block(height)
        yield from enumerate(map(open_transaction, Block.decode(block).transactions))

    def purge(self, ids: Collection[bytes]) -> int:
        """None of these summaries is here or on the board, and none comes back; returns how many were here.

        Args:
            ids: Submitter, record id and version of each: 36 bytes.
        """
        places = list(ids)
        upsert(self._gone, {one: {} for one in places})
        here = {"_id": {"$in": places}}
        for tx_id in self._summaries.distinct("tx", here):
            self._board.drop(tx_id)  # whoever lacks the batch's other summaries asks for them
        return self._summaries.delete_many(here).deleted_count

    def _fetch(self, wanted: Document) -> tuple[int, int]:
        """What is there of a batch's summaries is stored; returns how many came and how many are missing."""
        missing = self._missing(wanted)
        stored = 0
        for sealed in self._candidates(wanted, missing):
            if not missing:
                break
            stored += self._keep(wanted, sealed.fitting(missing), missing)
        if missing:
            self._board.ask(wanted["_id"])
        else:
            self._wanted.delete_one({"_id": wanted["_id"]})
            self._board.answered(wanted["_id"])
        return stored, len(missing)

    def _missing(self, wanted: Document) -> dict[bytes, bytes]:
        """Return the digests of a batch's summaries that are neither here nor gone, by record."""
        leaves = Leaves.decode(self._replica.body(wanted["height"], wanted["index"]))
        found, submitter = announced(leaves), wanted["submitter"]
        records = list(found)
        for at in range(0, len(records), _LOOKUP):
            places = {"_id": {"$in": [submitter + one for one in records[at : at + _LOOKUP]]}}
            for collection in (self._summaries, self._gone):
                for one in collection.find(places, {"_id": 1}):
                    found.pop(bytes(one["_id"])[SHORT_ID:], None)
        return found

    def _candidates(self, wanted: Document, missing: Mapping[bytes, bytes]) -> Iterator[Bundle]:
        """Yield bundles that may hold them: the institution's own from its vault, which then lie on the board too."""
        if wanted["submitter"] == self._id and missing:
            bundle = Bundle.of(wanted["_id"], self._own.sealed(list(missing)))
            if bundle.sealed:
                self._board.put(wanted["_id"], bundle.encode())
            yield bundle
        for data in self._board.read(wanted["_id"]) if missing else ():
            try:
                yield Bundle.decode(data)
            except Refused:
                continue  # anyone may put anything there

    def _keep(self, wanted: Document, fitting: Iterable[SealedSummary], missing: dict[bytes, bytes]) -> int:
        documents = {
            wanted["submitter"] + one.record: {"tx": wanted["_id"], "height": wanted["height"], "sealed": one.data}
            for one in fitting
        }
        upsert(self._summaries, documents)
        for place in documents:
            missing.pop(place[SHORT_ID:], None)
        # Another process of this institution may have purged some of them meanwhile.
        self._drop_gone(list(documents))
        return len(documents)

    def _drop_gone(self, ids: Sequence[bytes]) -> None:
        for at in range(0, len(ids), _LOOKUP):
            gone = [one["_id"] for one in self._gone.find({"_id": {"$in": list(ids[at : at + _LOOKUP])}}, {"_id": 1})]
            if gone:
                self._summaries.delete_many({"_id": {"$in": gone}})

    def _answer(self) -> None:
        """What others ask for and is here lies on the board again."""
        for tx_id in self._board.asked():
            here = self._summaries.find({"tx": tx_id}, {"sealed": 1})
            bundle = Bundle.of(tx_id, (bytes(one["sealed"]) for one in here))
            if bundle.sealed:
                self._board.put(tx_id, bundle.encode())

    # --- reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._summaries.estimated_document_count()

    def read(self, exchange: Exchange, key: Decrypts, publisher: str | None = None) -> Iterator[Listed]:
        """Yield what this institution may read, newest blocks first.

        What was sealed under a key that was not granted to it is passed over.

        Args:
            exchange: Where keys are granted.
            key: The institution's SM2 key.
            publisher: Only of this institution.
        """
        keys = GrantedKeys(exchange, self._institution, key)
        wanted: Document = {}
        if publisher is not None:
            first = institution_id(publisher)
            wanted = {"_id": {"$gte": first + bytes(KEY_BYTES), "$lte": first + b"\xff" * KEY_BYTES}}
        yield from self._opened(wanted, keys)

    def find(self, exchange: Exchange, key: Decrypts, publisher: str, rid: bytes, version: int) -> Listed | None:
        """Return the summary of one record, or None where there is none that this institution may read."""
        place = institution_id(publisher) + rid + u32(version)
        return next(self._opened({"_id": place}, GrantedKeys(exchange, self._institution, key)), None)

    def _opened(self, wanted: Document, keys: GrantedKeys) -> Iterator[Listed]:
        names = {one.id: one.name for one in self._replica.view.roster}
        for one in self._summaries.find(wanted).sort([("height", -1), ("_id", 1)]):
            sealed, name = SealedSummary.read(bytes(one["sealed"])), names.get(bytes(one["_id"])[:SHORT_ID], "")
            secret = keys.secret(sealed.key_id, name)
            if secret is not None:
                opened = sealed.open(secret, self._replica.genesis.chain_id, name)
                yield Listed(name, sealed.rid, sealed.version, int(one["height"]), opened)
