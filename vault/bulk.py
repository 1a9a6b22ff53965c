"""What is too large for one document (pixel data): sealed piece by piece into GridFS, under a name.

A name points at one sealed object. The pointer is one small document in ``bulk``; the sealed pieces are a GridFS
file of bucket ``bulk``, which nobody sees until the pointer names it, so that nothing half is ever visible. Every
file that is not, or soon no longer, pointed at is written down in ``bulk.unfinished`` first: whatever a crash leaves
behind is found there and swept.

Each piece is sealed by SM4-GCM under the object's own data key; its additional data bind the institution, the name,
the piece's number and whether it is the last, so that pieces that were changed, swapped, reordered, taken from
another object or left out at the end are refused. The data key lies wrapped in the pointer, under the landing key
until the record that the object belongs to is settled, and under its patients' keys from then on: erasing a patient
reaches the object (``Bulk.own``, ``Bulk.erase``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from bson import Binary, ObjectId
from gridfs import GridFSBucket
from gridfs.errors import CorruptGridFile, NoFile
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from shangmi import Sm3
from vault import box
from vault.errors import Contended, Erased, Tampered, Unknown
from vault.layout import Document, Layout
from vault.owners import OwnerKeys, Owners

if TYPE_CHECKING:
    from vault.landing import LandingKeys

#: Bytes of plaintext in one piece, and of what one piece is longer for being sealed: nonce and tag.
PIECE: Final = 1024 * 1024
_MORE: Final = 28
_SEALED: Final = PIECE + _MORE
#: Sealed pieces written at a time.
_HELD: Final = 4
#: After so long an upload that nobody finished is taken for dead.
_DEAD: Final = timedelta(days=1)
_ATTEMPTS: Final = 20


class Bulk:
    """The large objects of one institution."""

    def __init__(self, layout: Layout, keys: LandingKeys, owners: Owners, institution: str) -> None:
        self._layout = layout
        self._pointers = layout["bulk"]
        self._unfinished = layout["bulk.unfinished"]
        self._files: GridFSBucket | None = None
        self._keys = keys
        self._owners = owners
        self._institution = institution.encode()
        self._swept = False

    @property
    def _bucket(self) -> GridFSBucket:
        """GridFS, opened when it is first needed: making it asks the database."""
        if self._files is None:
            self._files = GridFSBucket(self._layout.database, "bulk", chunk_size_bytes=_SEALED)
        return self._files

    def identify(self, name: str) -> str:
        """Return the id a name is kept under; the name itself is stored nowhere."""
        return self._keys.identify(b"bulk", name.encode())

    def put(self, name: str, chunks: Iterable[bytes], /) -> None:
        """Return once everything that ``chunks`` yields is durable under ``name``.

        What stood under the name is replaced at once, or stays untouched where its content is the same; also where
        that content was erased: nobody brings it back by sending it again. What ``chunks`` raises is let through,
        and nothing has changed then.

        Raises:
            Contended: Others kept replacing the same name.
        """
        if not self._swept:
            self.sweep()
            self._swept = True
        id_, file = self.identify(name), ObjectId()
        self._unfinished.insert_one({"_id": file, "name": id_, "since": datetime.now(UTC)})
        try:
            pointer = self._upload(id_, file, chunks)
            self._point(id_, pointer)
        finally:
            # Also after a refusal: what was uploaded goes away now, not in a day.
            self._finish(id_, [file])

    def _upload(self, id_: str, file: ObjectId, chunks: Iterable[bytes]) -> Document:
        """Seal everything into a GridFS file; return the pointer to it.

        The documents are written here, in GridFS's own layout: the driver's upload stream holds 48 MB back.
        """
        data_key, whole, size, number = os.urandom(16), Sm3(), 0, 0
        held: list[Document] = []
        for number, (piece, last) in enumerate(_pieces(chunks)):
            whole.update(piece)
            size += len(piece)
            sealed = box.seal(data_key, piece, self._aad(id_, number, last))
            held.append({"files_id": file, "n": number, "data": Binary(sealed)})
            if last or len(held) == _HELD:
                self._layout["bulk.chunks"].insert_many(held)
                held.clear()
        now = datetime.now(UTC)
        self._layout["bulk.files"].insert_one(
            {
                "_id": file,
                "length": size + _MORE * (number + 1),
                "chunkSize": _SEALED,
                "uploadDate": now,
                "filename": id_,
            }
        )
        return {
            "file": file, "size": size, "pieces": number + 1, "mark": self._mark(id_, whole.digest()), "owners": [],
            "key": self._keys.wrap(id_, data_key, ()), "since": now,
        }  # fmt: skip

    def _mark(self, id_: str, digest: bytes) -> str:
        """What recognises the same content again, also after it was erased, and tells nobody else anything."""
        return self._keys.identify(b"bulk content", id_.encode(), digest)

    def _aad(self, id_: str, number: int, last: bool) -> bytes:
        place = number.to_bytes(8, "big") + bytes((last,))
        institution = len(self._institution).to_bytes(4, "big") + self._institution
        return b"".join((b"XL/BULK/1\0", institution, id_.encode(), place))

    def _point(self, id_: str, pointer: Document) -> None:
        """The name means this upload from now on, unless it means the same content already."""
        for _ in range(_ATTEMPTS):
            before = self._pointers.find_one({"_id": id_})
            if before is None:
                try:
                    self._pointers.insert_one({"_id": id_, **pointer})
                except DuplicateKeyError:
                    continue
                return None
            if before["mark"] == pointer["mark"]:
                return None
            self._leaving(id_, before)
            same = {"_id": id_, "mark": before["mark"], "file": before.get("file")}
            if self._pointers.replace_one(same, pointer).matched_count:
                return self._finish(id_, [before["file"]] if "file" in before else [])
        raise Contended("a large object was replaced by others at every attempt; try again")

    def _leaving(self, id_: str, pointer: Document) -> None:
        """Write down that a pointer's file may soon be pointed at no more."""
        if "file" in pointer:
            note = {"$setOnInsert": {"name": id_, "since": datetime.now(UTC)}}
            self._unfinished.update_one({"_id": pointer["file"]}, note, upsert=True)

    def _finish(self, id_: str, files: Sequence[ObjectId]) -> None:
        """Those of the files that the name does not mean are gone, and nothing is noted of any."""
        for file in files:
            if self._pointers.find_one({"_id": id_, "file": file}, {"_id": 1}) is None:
                self._drop(file)
            self._unfinished.delete_one({"_id": file})

    def _drop(self, file: ObjectId) -> None:
        try:
            self._bucket.delete(file)  # the pieces too, also where the file itself was never finished
        except NoFile:
            return

    def sweep(self, older: timedelta = _DEAD) -> int:
        """What crashed writers left behind is gone; returns how many uploads and old files that were.

        Args:
            older: Only what is older; younger ones may still be written.
        """
        found = list(self._unfinished.find({"since": {"$lte": datetime.now(UTC) - older}}))
        for one in found:
            self._finish(one["name"], [one["_id"]])
        return len(found)

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object, in pieces that are each verified before they are yielded.

        That nothing is missing at the end is known when the iterator ends without an error.

        Raises:
            Unknown: There is none under this name.
            Erased: Its patient was erased.
            Tampered: A piece is missing, added, out of place, or changed.
        """
        id_ = self.identify(name)
        if (pointer := self._pointers.find_one({"_id": id_})) is None:
            raise Unknown("there is no large object under that name")
        data_key = self._data_key(pointer)
        try:
            with self._bucket.open_download_stream(pointer["file"]) as stream:
                if stream.length != pointer["size"] + _MORE * pointer["pieces"]:
                    raise Tampered(f"large object {id_}: its stored length is another")
                for number in range(pointer["pieces"]):
                    last = number == pointer["pieces"] - 1
                    what = f"piece {number} of large object {id_}"
                    yield box.open_(data_key, stream.read(_SEALED), self._aad(id_, number, last), what)
        except NoFile:
            raise Tampered(f"large object {id_}: its pieces are missing") from None
        except CorruptGridFile:
            raise Tampered(f"large object {id_}: a piece is missing or has another length") from None

    def _data_key(self, pointer: Document, keys: Mapping[bytes, OwnerKeys] | None = None) -> bytes:
        owners = pointer["owners"]
        keys = self._owners.find(owners) if keys is None else keys
        if "key" not in pointer or any(owner not in keys for owner in owners):
            raise Erased(f"large object {pointer['_id']}: its patient was erased")
        return self._keys.unwrap(pointer["_id"], pointer["key"], [keys[owner].kek for owner in owners])

    def delete(self, name: str) -> None:
        """There is nothing under the name."""
        id_ = self.identify(name)
        if (pointer := self._pointers.find_one({"_id": id_})) is not None:
            self._leaving(id_, pointer)
            self._pointers.delete_one({"_id": id_, "file": pointer.get("file")})
            self._finish(id_, [pointer["file"]] if "file" in pointer else [])

    def own(self, ids: Sequence[str], keys: Mapping[bytes, OwnerKeys], session: ClientSession) -> None:
        """These objects are readable only with the keys of all these patients, once the transaction commits.

        Args:
            ids: As `identify` gives them; those that are not stored or erased are passed over.
            keys: Keys of the patients whose record the objects belong to, by owner.
            session: The transaction that settles the record.
        """
        owners = sorted(keys)
        for pointer in self._pointers.find({"_id": {"$in": list(ids)}, "key": {"$exists": True}}, session=session):
            if pointer["owners"] == owners:
                continue
            try:
                data_key = self._data_key(pointer)
            except Erased:
                continue  # erased while it belonged to somebody else; erasing is for good
            wrapped = self._keys.wrap(pointer["_id"], data_key, [keys[owner].kek for owner in owners])
            self._pointers.update_one(
                {"_id": pointer["_id"]}, {"$set": {"owners": owners, "key": wrapped}}, session=session
            )

    def erase(self, owner: bytes) -> int:
        """Nobody reads the patient's large objects again, and their pieces are gone; returns how many that were.

        Call it again after a crash.
        """
        found = list(self._pointers.find({"owners": owner, "file": {"$exists": True}}))
        for pointer in found:
            self._leaving(pointer["_id"], pointer)
            same = {"_id": pointer["_id"], "file": pointer["file"]}
            self._pointers.update_one(same, {"$unset": {"key": "", "file": ""}})
            self._finish(pointer["_id"], [pointer["file"]])
        return len(found)

    def count(self) -> int:
        """Return how many objects can be read."""
        return self._pointers.count_documents({"file": {"$exists": True}})


def _pieces(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the content in pieces of ``PIECE`` bytes, the last one shorter or empty, and whether it is the last."""
    held = bytearray()
    for chunk in chunks:
        for at in range(0, len(chunk), PIECE):
            held += chunk[at : at + PIECE]
            while len(held) > PIECE:
                yield bytes(held[:PIECE]), False
                del held[:PIECE]
    yield bytes(held), True
