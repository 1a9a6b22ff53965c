"""Where every record of a chain stands, and which were published before: an institution's index in its database.

A record is published once. The index of each publisher says at which height, in which transaction and as which leaf;
a table of bits in memory (``ledger.chain.published``) answers most questions without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from pymongo.collection import Collection
from pymongo.database import Database

from ledger.chain.documents import Document, upsert
from ledger.chain.published import PublishedKeys

_LOOKUP = 20_000
_PIECE = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: height, transaction in the block, leaf in the batch."""

    height: int
    tx: int
    leaf: int


class RecordIndex:
    """The places of all records in one database, by publisher.

    Args:
        database: The replica's, with its read and write concerns.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._indexed: set[str] = set()
        self._asked: Counter[bytes] = Counter()
        self.published: dict[bytes, PublishedKeys] = {}
        self._turn = Lock()  # a table is read while another thread hashes, and must not grow meanwhile

    def _entries(self, submitter: bytes) -> Collection[Document]:
        """Return the index of an institution's records: where the leaves ``k`` of each piece of a batch stand."""
        return self._database[f"entries_{submitter.hex()}"]

    def add(self, submitter: bytes, keys: Sequence[bytes], height: int, tx: int) -> None:
        """Store where the records of one batch stand."""
        entries = self._entries(submitter)
        if entries.name not in self._indexed:
            entries.create_index("k")
            entries.create_index("h")
            self._indexed.add(entries.name)
        # One document a thousand records, with an index over each: a quarter of the cost of one document each.
        pieces = range(0, len(keys), _PIECE)
        upsert(
            entries,
            {
                f"{height}.{tx}.{at // _PIECE}": {"h": height, "t": tx, "l": at, "k": keys[at : at + _PIECE]}
                for at in pieces
            },
        )

    def remember(self, batches: Sequence[tuple[bytes, Sequence[bytes]]], height: int) -> None:
        """The tables in memory that reach up to the block below hold this block's records too.

        Args:
            batches: Publisher and keys of each batch of the block.
            height: Its height.
        """
        with self._turn:
            for submitter, table in self.published.items():
                if table.height == height - 1:
                    for publisher, keys in batches:
                        if publisher == submitter:
                            table.take(keys)
                    table.height = height

    def known(self, submitter: bytes, keys: Sequence[bytes], height: int) -> bool:
        """Say whether the institution published any of these records up to a height."""
        entries, suspects = self._entries(submitter), self._suspects(submitter, keys, height)
        return any(
            entries.find_one({"k": {"$in": suspects[at : at + _LOOKUP]}, "h": {"$lte": height}}, {"_id": 1})
            for at in range(0, len(suspects), _LOOKUP)
        )

    def _suspects(self, submitter: bytes, keys: Sequence[bytes], height: int) -> Sequence[bytes]:
        """Return those of the keys that may be published up to a height: the only ones to ask the database for.

        The table in memory is made once this process has asked for as many keys as there are, so that making it
        never costs more than what was spent without it; a task that checks one block and ends makes none.
        """
        entries = self._entries(submitter)
        with self._turn:
            table = self.published.get(submitter)
            if table is None:
                self._asked[submitter] += len(keys)
                if self._asked[submitter] < entries.estimated_document_count() * _PIECE:
                    return keys
                table = self.published[submitter] = PublishedKeys()
            if table.height < height:
                for piece in entries.find({"h": {"$gt": table.height, "$lte": height}}, {"k": 1}):
                    table.take(piece["k"])
                table.height = height
            return table.suspects(keys)

    def places(self, submitter: bytes, keys: Sequence[bytes], height: int) -> dict[bytes, Place]:
        """Return where each of these records stands, up to a height."""
        entries, wanted, found = self._entries(submitter), frozenset(keys), dict[bytes, Place]()
        for at in range(0, len(keys), _LOOKUP):
            for piece in entries.find({"k": {"$in": keys[at : at + _LOOKUP]}, "h": {"$lte": height}}):
                for leaf, key in enumerate(map(bytes, piece["k"]), piece["l"]):
                    if key in wanted:
                        found[key] = Place(piece["h"], piece["t"], leaf)
        return found
