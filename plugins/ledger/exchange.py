"""Where institutions leave bytes for one another: content-addressed, and trusted by nobody (section 0).

An exchange can lose, delay, repeat or invent what it lists; it can forge nothing, since readers take content only
under its SM3 digest and verify all of it themselves. Lists are bounded and large things are read one at a time, so
that a flood costs a reader little.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pymongo import ASCENDING, UpdateOne, WriteConcern
from pymongo.database import Database

from ledger.agreement.certificate import COMMIT, MAX_QC, PREPARE, STEP_NAMES, TIMEOUT
from ledger.agreement.proposal import MAX_TC
from ledger.chain.block import MAX_CERTIFICATE, MAX_EVIDENCE
from ledger.chain.replica import FinalBlock
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.errors import LedgerError, Refused
from shangmi import sm3

Document = dict[str, Any]
MAX_BLOB = 512 << 20
MAX_LISTED = 1_000
#: Bytes of submissions that a reader takes at a time; what is beyond waits for a later block.
MAX_OFFERED = 256 << 20
_MAX_VOTE = MAX_QC + 1_024
_PAIR = 2 * 64 + 1
CHUNK = 4 << 20


class Exchange(ABC):
    """A place to put bytes and to list them under topics.

    A transport implements the five methods marked abstract; what the topics mean stands here.
    """

    @abstractmethod
    def _store(self, digest: str, data: bytes) -> None:
        """Keep the bytes under their digest; keeping them again changes nothing."""

    @abstractmethod
    def _load(self, digest: str, limit: int) -> bytes | None:
        """Return what is kept under a digest, or None where it is missing or longer than ``limit`` bytes."""

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

    def get(self, digest: str, limit: int = MAX_BLOB) -> bytes | None:
        """Return the bytes with this SM3 digest; None where they are missing, longer than ``limit`` or changed."""
        data = self._load(digest, limit)
        return data if data is not None and sm3(data).hex() == digest else None

    def post(self, topic: str, data: bytes) -> str:
        """Keep the bytes and list them under a topic."""
        digest = self.put(data)
        self._announce(topic, digest)
        return digest

    def read(self, topic: str, limit: int = MAX_BLOB) -> Iterator[bytes]:
        """Yield everything under a topic that is there unchanged and no longer than ``limit``, oldest first."""
        for digest in self._list(topic):
            if (data := self.get(digest, limit)) is not None:
                yield data

    def retire(self, topic: str, data: bytes) -> None:
        """List these bytes under a topic no longer; they stay under their digest."""
        self._retire(topic, sm3(data).hex())

    # --- submissions -------------------------------------------------------------------------------------------

    def post_submission(self, tx: bytes, leaves: bytes) -> str:
        """Offer a signed batch to the next producers; return the digest it is listed under."""
        pair = self.put(tx), self.put(leaves)
        return self.post("submissions", "\n".join(pair).encode())

    def post_submissions(self, transactions: Sequence[bytes]) -> None:
        """Offer signed transactions that have no leaves to the next producers, many at once."""
        nothing = b""
        pairs = ["\n".join((sm3(tx).hex(), sm3(nothing).hex())).encode() for tx in transactions]
        self._store_many([nothing, *transactions, *pairs])
        self._announce_many("submissions", [sm3(pair).hex() for pair in pairs])

    def _store_many(self, contents: Iterable[bytes]) -> None:
        for data in contents:
            self.put(data)

    def _announce_many(self, topic: str, digests: Iterable[str]) -> None:
        for digest in digests:
            self._announce(topic, digest)

    def submissions(self) -> list[tuple[bytes, bytes]]:
        """Return the batches offered and not yet retired, ``MAX_OFFERED`` bytes at most, oldest first.

        Returns:
            Transaction and leaves of each.
        """
        found, left = [], MAX_OFFERED
        for pair in self.read("submissions", _PAIR):
            first, _, second = pair.decode("ascii", "replace").partition("\n")
            tx = self.get(first, MAX_TRANSACTION)
            leaves = None if tx is None else self.get(second, left)
            if tx is not None and leaves is not None:
                found.append((tx, leaves))
                left -= len(leaves)
        return found

    def transactions(self) -> Iterator[bytes]:
        """Yield the transactions offered and not yet retired, without their leaves."""
        for pair in self.read("submissions", _PAIR):
            tx = self.get(pair.decode("ascii", "replace").partition("\n")[0], MAX_TRANSACTION)
            if tx is not None:
                yield tx

    def retire_submission(self, tx: bytes, leaves: bytes) -> None:
        """Offer a batch no longer, after it is final or has lapsed."""
        pair = sm3(tx).hex(), sm3(leaves).hex()
        self._retire("submissions", sm3("\n".join(pair).encode()).hex())

    # --- evidence ----------------------------------------------------------------------------------------------

    def post_evidence(self, data: bytes) -> str:
        """Show a proof of double signing to the next producers."""
        return self.post("evidence", data)

    def evidence(self) -> list[bytes]:
        """Return the proofs shown and not yet retired, as many as a block holds, oldest first, unverified."""
        return list(islice(self.read("evidence", MAX_CERTIFICATE), MAX_EVIDENCE))

    def retire_evidence(self, data: bytes) -> None:
        """Show a proof no longer, after it is final or proves nothing new."""
        self._retire("evidence", sm3(data).hex())

    # --- one height --------------------------------------------------------------------------------------------

    def post_proposal(self, height: int, round_: int, proposal: bytes) -> str:
        """Show a proposal."""
        return self.post(f"proposal/{height}/{round_}", proposal)

    def proposals(self, height: int, round_: int) -> Iterator[bytes]:
        """Yield what is shown as the proposal of a round; an honest producer shows one."""
        return self.read(f"proposal/{height}/{round_}")

    def post_vote(self, height: int, round_: int, type_: int, vote: bytes) -> str:
        """Show a vote: ``PREPARE``, ``COMMIT`` or ``TIMEOUT``."""
        return self.post(f"{STEP_NAMES[type_]}/{height}/{round_}", vote)

    def votes(self, height: int, round_: int, type_: int) -> list[bytes]:
        """Return the votes shown, unverified."""
        return list(self.read(f"{STEP_NAMES[type_]}/{height}/{round_}", _MAX_VOTE))

    def post_certificate(self, height: int, round_: int, type_: int, certificate: bytes) -> str:
        """Show a PrepareQC, CommitQC or timeout certificate."""
        return self.post(f"{STEP_NAMES[type_]}-certificate/{height}/{round_}", certificate)

    def certificates(self, height: int, round_: int, type_: int) -> Iterator[bytes]:
        """Yield the certificates shown, oldest first, unverified: voters lean on the first *good* one."""
        return self.read(f"{STEP_NAMES[type_]}-certificate/{height}/{round_}", MAX_TC)

    def certificate(self, height: int, round_: int, type_: int) -> bytes | None:
        """Return the first certificate shown, unverified."""
        return next(self.certificates(height, round_, type_), None)

    # --- final blocks ------------------------------------------------------------------------------------------

    def post_final(self, height: int, final: FinalBlock) -> str:
        """Show a final block with certificate and leaves, for nodes that were away."""
        return self.post(f"final/{height}", final.encode())

    def finals(self, height: int) -> Iterator[FinalBlock]:
        """Yield what is shown as the final block of a height and can be read; the reader takes the first good one."""
        for data in self.read(f"final/{height}"):
            try:
                found = FinalBlock.decode(data)
            except LedgerError:
                continue
            yield found


class MemoryExchange(Exchange):
    """An exchange in one process."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.topics: dict[str, dict[str, None]] = {}
        self._alone = threading.Lock()

    def _store(self, digest: str, data: bytes) -> None:
        self.blobs[digest] = data

    def _load(self, digest: str, limit: int) -> bytes | None:
        data = self.blobs.get(digest)
        return data if data is not None and len(data) <= limit else None

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

    def _store_many(self, contents: Iterable[bytes]) -> None:
        pieces = [
            UpdateOne({"_id": f"{sm3(data).hex()}.0"}, {"$set": {"count": 1, "data": data}}, upsert=True)
            for data in contents
            if len(data) <= MAX_TRANSACTION
        ]
        self._chunks.bulk_write(pieces, ordered=False)

    def _announce_many(self, topic: str, digests: Iterable[str]) -> None:
        now = datetime.now(UTC)
        listed = [
            UpdateOne(
                {"_id": f"{topic}/{digest}"},
                {"$setOnInsert": {"topic": topic, "digest": digest, "at": now}},
                upsert=True,
            )
            for digest in digests
        ]
        if listed:
            self._topics.bulk_write(listed, ordered=False)

    def _load(self, digest: str, limit: int) -> bytes | None:
        pieces, size = list[bytes](), 0
        while (found := self._chunks.find_one({"_id": f"{digest}.{len(pieces)}"})) is not None:
            data = found.get("data")  # any member may have written any document
            if not isinstance(data, bytes) or (size := size + len(data)) > limit:
                return None
            pieces.append(data)
            if len(pieces) == found.get("count"):
                return b"".join(pieces)
        return None

    def _list(self, topic: str) -> list[str]:
        found = self._topics.find({"topic": topic}).sort([("at", ASCENDING), ("_id", ASCENDING)]).limit(MAX_LISTED)
        return [str(one.get("digest")) for one in found]

    def _announce(self, topic: str, digest: str) -> None:
        fresh = {"topic": topic, "digest": digest, "at": datetime.now(UTC)}
        self._topics.update_one({"_id": f"{topic}/{digest}"}, {"$setOnInsert": fresh}, upsert=True)

    def _retire(self, topic: str, digest: str) -> None:
        self._topics.delete_one({"_id": f"{topic}/{digest}"})


__all__ = ["COMMIT", "PREPARE", "TIMEOUT", "Exchange", "MemoryExchange", "MongoExchange"]
