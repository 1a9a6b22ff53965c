"""Where packages lie until they are fetched: files of GridFS in the exchange, by the SM3 that stands on the chain.

Anybody may write there and nobody is believed: a package is taken only where its bytes have the digest asked for, and
however much somebody put there, no more is read than the chain says there is. Packages are sealed before they come.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from bson import Binary, ObjectId
from pymongo import ASCENDING, WriteConcern
from pymongo.database import Database

from shangmi import Sm3
from sharing.errors import NotYet, Tampered
from sharing.package.container import Package

Document = dict[str, Any]
#: Bytes of one piece, and pieces that are written at a time.
_PIECE: Final = 1 << 20
_HELD: Final = 4
#: Files under one digest that are tried; an honest holder puts one there.
_TRIED: Final = 16
#: What a killed writer left is taken away after so long.
_DEAD: Final = timedelta(days=1)
#: How long a package lies there at most.
KEPT: Final = timedelta(days=90)


class Shelf:
    """The packages in the exchange.

    Args:
        database: The exchange's, by custom ``xinglin_exchange``.
    """

    def __init__(self, database: Database[Document]) -> None:
        durable = database.with_options(write_concern=WriteConcern("majority", j=True))
        self._files, self._chunks = durable["shelf.files"], durable["shelf.chunks"]

    def put(self, path: Path) -> bytes:
        """Return the package's digest once it lies there, whole and durable; again changes nothing.

        Raises:
            Malformed: The file is no package; likewise Tampered.
            OSError: It cannot be read.
        """
        with Package(path) as package:
            manifest = package.manifest
            digest = package.check_digests()
            if self._lies(digest, package.size):
                return digest
            self._chunks.create_index([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
            self._files.create_index("filename")
            file = ObjectId()
            with path.open("rb") as stream:
                size = self._write(file, stream)
            self._files.insert_one(
                {
                    "_id": file, "filename": digest.hex(), "length": size, "chunkSize": _PIECE,
                    "uploadDate": datetime.now(UTC),
                    "metadata": {"request": manifest.request.hex(), "holder": manifest.holder},
                }
            )  # fmt: skip
        return digest

    def _write(self, file: ObjectId, stream: BinaryIO) -> int:
        held, size, number = list[Document](), 0, 0
        try:
            while piece := stream.read(_PIECE):
                held.append({"files_id": file, "n": number, "data": Binary(piece)})
                number, size = number + 1, size + len(piece)
                if len(held) == _HELD:
                    self._chunks.insert_many(held)
                    held.clear()
            if held:
                self._chunks.insert_many(held)
        except BaseException:
            self._chunks.delete_many({"files_id": file})
            raise
        return size

    def has(self, digest: bytes) -> bool:
        """Say whether something was put there under this digest; whether it is the package, ``get`` finds out."""
        return self._files.find_one({"filename": digest.hex()}, {"_id": 1}) is not None

    def _lies(self, digest: bytes, size: int) -> bool:
        """Say whether the package itself is there, and not only something under its digest."""
        return any(self._copy(one, digest, size, lambda _: None) for one in self._named(digest))

    def _named(self, digest: bytes) -> list[Any]:
        found = self._files.find({"filename": digest.hex()}, {"_id": 1}).sort("_id").limit(_TRIED)
        return [one["_id"] for one in found]

    def get(
        self,
        digest: bytes,
        path: Path,
        size: int,
        seen: Callable[[int], None] = lambda _: None,
        check: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """The package lies at the path, whole; where anything fails nothing does.

        Args:
            digest: SM3 of it, from the chain.
            path: Where it goes.
            size: Bytes of it, from the chain.
            seen: Told of bytes that came, for a bar.
            check: Shown the whole package before it has its name; what it raises is let through.

        Raises:
            NotYet: It does not lie there.
            Tampered: What lies there under its digest is something else.
            OSError: The disk is full or failing.
        """
        if not (found := self._named(digest)):
            raise NotYet("the package is not on the shelf: not put there so far, or taken away again; ask the holder")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:

                def take(piece: bytes) -> None:
                    stream.write(piece)
                    seen(len(piece))

                for one in found:
                    if self._copy(one, digest, size, take):
                        break
                    stream.seek(0)
                    stream.truncate()
                else:
                    raise Tampered("what lies on the shelf under this digest is something else; tell the holder")
                stream.flush()
                os.fsync(stream.fileno())
            check(part)
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()

    def _copy(self, file: Any, digest: bytes, size: int, take: Callable[[bytes], object]) -> bool:
        """Hand out the bytes of one file, at most ``size``; say whether it was the one."""
        whole, left = Sm3(), size
        for piece in self._pieces(file):
            left -= len(piece)
            if left < 0:
                return False
            whole.update(piece)
            take(piece)
        return left == 0 and whole.digest() == digest

    def _pieces(self, file: Any) -> Iterator[bytes]:
        for number, one in enumerate(self._chunks.find({"files_id": file}).sort("n").batch_size(_HELD)):
            data = one.get("data")  # anybody may have written any document
            if not isinstance(data, bytes) or one.get("n") != number or not data:
                return
            yield data

    def discard(self, digest: bytes) -> int:
        """The package lies there no more; returns how many files that were."""
        return self._drop([one["_id"] for one in self._files.find({"filename": digest.hex()}, {"_id": 1})])

    def _drop(self, files: list[Any]) -> int:
        self._files.delete_many({"_id": {"$in": files}})
        self._chunks.delete_many({"files_id": {"$in": files}})
        return len(files)

    def sweep(self, holder: str, received: Callable[[bytes], bool], now: datetime | None = None) -> int:
        """A holder's packages that arrived, or lay there too long, are gone, and what killed writers left.

        Args:
            holder: Whose, by its id in region.yaml.
            received: Says by the request's id whether the chain has RECEIVED of this holder's delivery.
            now: The time; that of the clock where it is not given.

        Returns:
            How many packages that were.
        """
        at = now or datetime.now(UTC)
        mine = list(self._files.find({"metadata.holder": holder}, {"uploadDate": 1, "metadata": 1}))
        gone = self._drop([one["_id"] for one in mine if _is_old(one, at) or received(_request_of(one))])
        self._sweep_dead(at)
        return gone

    def _sweep_dead(self, at: datetime) -> None:
        written = self._chunks.distinct("files_id")
        whole = set(self._files.distinct("_id", {"_id": {"$in": written}}))
        dead = [
            one for one in written
            if one not in whole and isinstance(one, ObjectId) and at - one.generation_time > _DEAD
        ]  # fmt: skip
        self._chunks.delete_many({"files_id": {"$in": dead}})


def _is_old(file: Document, at: datetime) -> bool:
    since = file.get("uploadDate")
    return not isinstance(since, datetime) or at - since.replace(tzinfo=since.tzinfo or UTC) > KEPT


def _request_of(file: Document) -> bytes:
    """Return the id of the request that a file answers; nothing where somebody wrote something else there."""
    metadata = file.get("metadata")
    text = metadata.get("request") if isinstance(metadata, dict) else None
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
