"""Where institutions leave each other sealed summaries: beside the exchange, since what lies here can be deleted.

Nobody trusts it: readers take what has the digest that the chain announces. Anyone may put, ask and drop; who finds
nothing asks, and whoever has it puts it there again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Protocol

from pymongo import ASCENDING, ReplaceOne, WriteConcern
from pymongo.database import Database

from ledger.encoding import DIGEST
from ledger.messages.sealed_summary import MAX_BUNDLE
from shangmi import sm3

Document = dict[str, Any]
CHUNK = 4 << 20
#: Bundles of one batch, and batches asked for, that a reader looks at.
MAX_BUNDLES = 64
MAX_ASKED = 1_000


class SummaryBoard(Protocol):
    """A place for bundles of sealed summaries, by the batch they belong to."""

    def put(self, tx_id: bytes, bundle: bytes) -> None:
        """The bundle lies here; putting it again changes nothing."""
        ...

    def read(self, tx_id: bytes) -> Iterator[bytes]:
        """Yield the bundles of a batch that lie here whole."""
        ...

    def drop(self, tx_id: bytes) -> None:
        """No bundle of the batch lies here any more."""
        ...

    def ask(self, tx_id: bytes) -> None:
        """Whoever has the batch's summaries is asked for them."""
        ...

    def asked(self) -> list[bytes]:
        """Return the batches asked for."""
        ...

    def answered(self, tx_id: bytes) -> None:
        """The batch is asked for no longer."""
        ...


class MemoryBoard:
    """A board in one process."""

    def __init__(self) -> None:
        self.bundles: dict[bytes, dict[bytes, bytes]] = {}
        self.asks: dict[bytes, None] = {}
        self._alone = threading.Lock()

    def put(self, tx_id: bytes, bundle: bytes) -> None:
        """The bundle lies here."""
        with self._alone:
            self.bundles.setdefault(tx_id, {})[sm3(bundle)] = bundle

    def read(self, tx_id: bytes) -> Iterator[bytes]:
        """Yield the bundles of a batch."""
        with self._alone:
            found = list(self.bundles.get(tx_id, {}).values())
        yield from found

    def drop(self, tx_id: bytes) -> None:
        """No bundle of the batch lies here any more."""
        with self._alone:
            self.bundles.pop(tx_id, None)

    def ask(self, tx_id: bytes) -> None:
        """Whoever has the batch's summaries is asked for them."""
        with self._alone:
            self.asks[tx_id] = None

    def asked(self) -> list[bytes]:
        """Return the batches asked for."""
        with self._alone:
            return list(self.asks)[:MAX_ASKED]

    def answered(self, tx_id: bytes) -> None:
        """The batch is asked for no longer."""
        with self._alone:
            self.asks.pop(tx_id, None)


class MongoBoard:
    """A board in the database of the exchange, in collections whose documents may be removed.

    Args:
        database: By custom ``xinglin_exchange``.
    """

    def __init__(self, database: Database[Document]) -> None:
        durable = database.with_options(write_concern=WriteConcern("majority", j=True))
        self._bundles = durable["summaries"]
        self._asks = durable["summaries_asked"]
        self._bundles.create_index([("tx", ASCENDING), ("bundle", ASCENDING), ("piece", ASCENDING)])

    def put(self, tx_id: bytes, bundle: bytes) -> None:
        """The bundle lies here."""
        digest, count = sm3(bundle), max(1, -(-len(bundle) // CHUNK))
        for piece in range(count):
            id_ = tx_id + digest + piece.to_bytes(4, "big")
            data = bundle[piece * CHUNK : (piece + 1) * CHUNK]
            document = {"_id": id_, "tx": tx_id, "bundle": digest, "piece": piece, "count": count, "data": data}
            self._bundles.bulk_write([ReplaceOne({"_id": id_}, document, upsert=True)])

    def read(self, tx_id: bytes) -> Iterator[bytes]:
        """Yield the bundles of a batch that lie here whole and unchanged."""
        digests = [one for one in self._bundles.distinct("bundle", {"tx": tx_id}) if isinstance(one, bytes)]
        for digest in sorted(digests)[:MAX_BUNDLES]:
            data = self._whole(tx_id, digest)
            if data is not None and sm3(data) == digest:
                yield data

    def _whole(self, tx_id: bytes, digest: bytes) -> bytes | None:
        pieces, size = list[bytes](), 0
        for found in self._bundles.find({"tx": tx_id, "bundle": digest}).sort("piece", ASCENDING):
            data = found.get("data")  # any member may have written any document
            if not isinstance(data, bytes) or (size := size + len(data)) > MAX_BUNDLE:
                return None
            pieces.append(data)
        return b"".join(pieces)

    def drop(self, tx_id: bytes) -> None:
        """No bundle of the batch lies here any more."""
        self._bundles.delete_many({"tx": tx_id})

    def ask(self, tx_id: bytes) -> None:
        """Whoever has the batch's summaries is asked for them."""
        self._asks.replace_one({"_id": tx_id}, {"_id": tx_id}, upsert=True)

    def asked(self) -> list[bytes]:
        """Return the batches asked for."""
        found = (one["_id"] for one in self._asks.find().limit(MAX_ASKED))
        return [one for one in found if isinstance(one, bytes) and len(one) == DIGEST]

    def answered(self, tx_id: bytes) -> None:
        """The batch is asked for no longer."""
        self._asks.delete_one({"_id": tx_id})
