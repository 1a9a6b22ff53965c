"""Where answers wait for whoever asked: beside the exchange, since what lies here can be taken away again.

Nobody trusts it: the requester takes what has the digest that the chain announced. Content of the exchange itself is
kept for ever, which no patient's record should be, however it is encrypted.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo import ReplaceOne, WriteConcern
from pymongo.database import Database

from shangmi import sm3

Document = dict[str, Any]
_CHUNK: Final = 4 << 20


class Shelf:
    """Answers in a database, by their digests.

    Args:
        database: The exchange's, ``xinglin_exchange``; or the holder's own, for what is not announced yet.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._pieces = database.with_options(write_concern=WriteConcern("majority", j=True))["answers"]

    def put(self, answer: bytes) -> bytes:
        """The answer lies here; returns its SM3 digest. Putting it again changes nothing."""
        digest, count = sm3(answer), -(-len(answer) // _CHUNK)
        for piece in range(count):
            id_ = f"{digest.hex()}.{piece}"
            document = {"_id": id_, "count": count, "data": answer[piece * _CHUNK : (piece + 1) * _CHUNK]}
            self._pieces.bulk_write([ReplaceOne({"_id": id_}, document, upsert=True)])
        return digest

    def get(self, digest: bytes, limit: int) -> bytes | None:
        """Return the answer of this digest; None where it is not here whole, unchanged and within ``limit`` bytes."""
        pieces, size = list[bytes](), 0
        while (found := self._pieces.find_one({"_id": f"{digest.hex()}.{len(pieces)}"})) is not None:
            data = found.get("data")  # any member may have written any document
            if not isinstance(data, bytes) or (size := size + len(data)) > limit:
                return None
            pieces.append(data)
            if len(pieces) == found.get("count"):
                answer = b"".join(pieces)
                return answer if sm3(answer) == digest else None
        return None

    def drop(self, digest: bytes) -> None:
        """The answer lies here no more."""
        first = digest.hex()
        self._pieces.delete_many({"_id": {"$gte": f"{first}.", "$lt": f"{first}/"}})
