"""Where institutions leave bytes for one another: content-addressed, and trusted by nobody (section 0).

An exchange can lose, delay, repeat or invent what it lists; it can forge nothing, since readers take content only
under its SM3 digest and verify all of it themselves. Lists are bounded, so that a flood costs a reader little.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, WriteConcern
from pymongo.database import Database

from ledger.certificate import COMMIT, PREPARE, STEP_NAMES, TIMEOUT
from ledger.errors import LedgerError, Refused
from ledger.replica import FinalBlock
from shangmi import sm3

Document = dict[str, Any]
MAX_BLOB = 512 << 20
MAX_LISTED = 1_000
CHUNK = 4 << 20


class Exchange(ABC):
    """A place to put bytes and to list them under topics.

    A transport implements the five methods marked abstract; what the topics mean stands here.
    """

    @abstractmethod
    def _store(self, digest: str, data: bytes) -> None:
        """Keep the bytes under their digest; keeping them again changes nothing."""

    @abstractmethod
    def _load(self, digest: str) -> bytes | None:
        """Return what is kept under a digest, or None."""

    @abstractmethod
    def _list(self, topic: str) -> list[str]:
        """Return the first ``MAX_LISTED`` digests under a topic, oldest first."""

    @abstractmethod
    def _announce(self, topic: str, digest: str) -> None:
        """List a digest under a topic, once."""

    @abstractmethod
    def _retire(self, topic: str, digest: str) -> None:
        """List a digest no longer; unknown ones are ignored."""

    def put(self, data: bytes) -> str:
        """Keep the bytes and return their SM3 digest as hex."""
        if len(data) > MAX_BLOB:
            raise Refused("size", "0", f"{len(data)} bytes; the exchange keeps at most {MAX_BLOB}")
        digest = sm3(data).hex()
        self._store(digest, data)
        return digest

    def get(self, digest: str) -> bytes | None:
        """Return the bytes with this SM3 digest; None where they are missing or were changed."""
        data = self._load(digest)
        return data if data is not None and sm3(data).hex() == digest else None

    def post(self, topic: str, data: bytes) -> str:
        """Keep the bytes and list them under a topic."""
        digest = self.put(data)
        self._announce(topic, digest)
        return digest

    def read(self, topic: str) -> list[bytes]:
        """Return everything under a topic that is there unchanged, oldest first."""
        return [data for one in self._list(topic) if (data := self.get(one)) is not None]

    # --- submissions -------------------------------------------------------------------------------------------

    def post_submission(self, tx: bytes, leaves: bytes) -> str:
        """Offer a signed batch to the next producers; return the digest it is listed under."""
        pair = self.put(tx), self.put(leaves)
        return self.post("submissions", "\n".join(pair).encode())

    def submissions(self) -> list[tuple[bytes, bytes]]:
        """Return the batches offered and not yet retired: transaction and leaves, oldest first."""
        found = []
        for pair in self.read("submissions"):
            digests = pair.decode("ascii", "replace").split("\n")
            parts = [self.get(one) for one in digests]
            if len(parts) == 2 and parts[0] is not None and parts[1] is not None:
                found.append((parts[0], parts[1]))
        return found

    def retire_submission(self, tx: bytes, leaves: bytes) -> None:
        """Offer a batch no longer, after it is final or has lapsed."""
        pair = sm3(tx).hex(), sm3(leaves).hex()
        self._retire("submissions", sm3("\n".join(pair).encode()).hex())

    # --- one height --------------------------------------------------------------------------------------------

    def post_proposal(self, height: int, round_: int, proposal: bytes) -> str:
        """Show a proposal."""
        return self.post(f"proposal/{height}/{round_}", proposal)

    def proposals(self, height: int, round_: int) -> list[bytes]:
        """Return what is shown as the proposal of a round; an honest producer shows one."""
        return self.read(f"proposal/{height}/{round_}")

    def post_vote(self, height: int, round_: int, type_: int, vote: bytes) -> str:
        """Show a vote: ``PREPARE``, ``COMMIT`` or ``TIMEOUT``."""
        return self.post(f"{STEP_NAMES[type_]}/{height}/{round_}", vote)

    def votes(self, height: int, round_: int, type_: int) -> list[bytes]:
        """Return the votes shown, unverified."""
        return self.read(f"{STEP_NAMES[type_]}/{height}/{round_}")

    def post_certificate(self, height: int, round_: int, type_: int, certificate: bytes) -> str:
        """Show a PrepareQC, CommitQC or timeout certificate."""
        return self.post(f"{STEP_NAMES[type_]}-certificate/{height}/{round_}", certificate)

    def certificates(self, height: int, round_: int, type_: int) -> list[bytes]:
        """Return the certificates shown, oldest first, unverified: voters lean on the first *good* one."""
        return self.read(f"{STEP_NAMES[type_]}-certificate/{height}/{round_}")

    def certificate(self, height: int, round_: int, type_: int) -> bytes | None:
        """Return the first certificate shown, unverified."""
        return next(iter(self.certificates(height, round_, type_)), None)

    # --- final blocks ------------------------------------------------------------------------------------------

    def post_final(self, height: int, final: FinalBlock) -> str:
        """Show a final block with certificate and leaves, for nodes that were away."""
        return self.post(f"final/{height}", final.encode())

    def final(self, height: int) -> FinalBlock | None:
        """Return the first final block shown that can be read; the reader verifies it."""
        for data in self.read(f"final/{height}"):
            try:
                return FinalBlock.decode(data)
            except LedgerError:
                continue
        return None


class MemoryExchange(Exchange):
    """An exchange in one process."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.topics: dict[str, dict[str, None]] = {}
        self._alone = threading.Lock()

    def _store(self, digest: str, data: bytes) -> None:
        self.blobs[digest] = data

    def _load(self, digest: str) -> bytes | None:
        return self.blobs.get(digest)

    def _list(self, topic: str) -> list[str]:
        with self._alone:
            return list(self.topics.get(topic, ()))[:MAX_LISTED]

    def _announce(self, topic: str, digest: str) -> None:
        with self._alone:
            self.topics.setdefault(topic, {})[digest] = None

    def _retire(self, topic: str, digest: str) -> None:
        with self._alone:
            self.topics.get(topic, {}).pop(digest, None)


class MongoExchange(Exchange):
    """An exchange in a MongoDB database that all institutions can read and write.

    Args:
        database: By custom ``xinglin_exchange``.
    """

    def __init__(self, database: Database[Document]) -> None:
        durable = database.with_options(write_concern=WriteConcern("majority", j=True))
        self._chunks = durable["chunks"]
        self._topics = durable["topics"]
        self._topics.create_index([("topic", ASCENDING), ("at", ASCENDING)])

    def _store(self, digest: str, data: bytes) -> None:
        count = max(1, -(-len(data) // CHUNK))
        for place in range(count):
            piece = data[place * CHUNK : (place + 1) * CHUNK]
            self._chunks.update_one(
                {"_id": f"{digest}.{place}"}, {"$set": {"count": count, "data": piece}}, upsert=True
            )

    def _load(self, digest: str) -> bytes | None:
        pieces: list[bytes] = []
        while (found := self._chunks.find_one({"_id": f"{digest}.{len(pieces)}"})) is not None:
            pieces.append(bytes(found["data"]))
            if len(pieces) == found["count"]:
                return b"".join(pieces)
        return None

    def _list(self, topic: str) -> list[str]:
        found = self._topics.find({"topic": topic}).sort([("at", ASCENDING), ("_id", ASCENDING)]).limit(MAX_LISTED)
        return [str(one["digest"]) for one in found]

    def _announce(self, topic: str, digest: str) -> None:
        fresh = {"topic": topic, "digest": digest, "at": datetime.now(UTC)}
        self._topics.update_one({"_id": f"{topic}/{digest}"}, {"$setOnInsert": fresh}, upsert=True)

    def _retire(self, topic: str, digest: str) -> None:
        self._topics.delete_one({"_id": f"{topic}/{digest}"})


__all__ = ["COMMIT", "PREPARE", "TIMEOUT", "Exchange", "MemoryExchange", "MongoExchange"]
