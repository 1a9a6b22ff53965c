"""Which patients are in which dataset that left this institution: blind tokens under ids of requests, no names.

Written before a delivery is announced, so that a patient who withdraws later is found in whatever is out there. What a
later statement of theirs takes back of it is marked here, until the dataset's holder has been told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pymongo.errors import BulkWriteError

from vault.layout import Document, Layout

_BATCH: Final = 5_000
_DUPLICATE: Final = 11000
_SAYING: Final = b"XL/NOTICE/1\0"


@dataclass(frozen=True, slots=True)
class Narrowed:
    """One patient in one dataset of whom something may no longer be in it.

    Attributes:
        request: Id of the ACCESS_REQ, 32 bytes.
        owner: The patient's token.
        sequence: Number of the patient's statement that took it back.
        told: Whether the dataset's holder has been told.
    """

    request: bytes
    owner: bytes
    sequence: int
    told: bool


class Shares:
    """The datasets of one institution by patient, and the patients by dataset."""

    def __init__(self, layout: Layout) -> None:
        self._shares = layout["shares"]

    def note(self, request: bytes, owners: Iterable[bytes]) -> None:
        """These patients are in the dataset of a request; noted again, nothing changes.

        Args:
            request: Id of the ACCESS_REQ on the chain, 32 bytes.
            owners: Their tokens.
        """
        waiting = iter(owners)
        while some := list(islice(waiting, _BATCH)):
            documents = [{"_id": request + one, "request": request, "owner": one} for one in some]
            try:
                self._shares.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if any(fault["code"] != _DUPLICATE for fault in error.details["writeErrors"]):
                    raise

    def of(self, owner: bytes) -> list[bytes]:
        """Return the requests whose datasets a patient is in, in order of id."""
        return sorted(bytes(one["request"]) for one in self._shares.find({"owner": owner}, {"request": 1}))

    def owners(self, request: bytes) -> list[bytes]:
        """Return the patients in the dataset of a request, in order."""
        return sorted(bytes(one["owner"]) for one in self._shares.find({"request": request}, {"owner": 1}))

    # --- taken back --------------------------------------------------------------------------------------------

    def narrow(self, request: bytes, owner: bytes, sequence: int) -> None:
        """A patient's statement of this number takes something back of what is in a dataset.

        A mark that nobody was told of stays as it is; one that was told of is told again, for there is more to it.
        """
        fresh: Document = {"$or": [{"narrowed": {"$exists": False}}, {"told": True, "narrowed": {"$lt": sequence}}]}
        marked = [{"$set": {"was": {"$ifNull": ["$narrowed", "$$REMOVE"]}, "narrowed": sequence, "told": False}}]
        self._shares.update_one({"_id": request + owner, **fresh}, marked)

    def lapse(self, owner: bytes, sequence: int) -> None:
        """Marks of statements from this number on are gone, since they never came into force; earlier ones are back."""
        here = {"owner": owner, "narrowed": {"$gte": sequence}, "told": False}
        back = [{"$set": {"narrowed": "$was", "told": True, "was": "$$REMOVE"}}]
        self._shares.update_many({**here, "was": {"$exists": True}}, back)
        self._shares.update_many(here, {"$unset": {"narrowed": "", "told": ""}})

    def narrowed(self, request: bytes | None = None, *, told: bool | None = None) -> Iterator[Narrowed]:
        """Yield the marks in order of request and patient.

        Args:
            request: Of one dataset; without it of all.
            told: Only those of which the holder was told, or was not.
        """
        wanted: Document = {"narrowed": {"$exists": True}}
        wanted |= {} if request is None else {"request": request}
        wanted |= {} if told is None else {"told": told}
        for one in self._shares.find(wanted).sort("_id", 1):
            yield Narrowed(bytes(one["request"]), bytes(one["owner"]), int(one["narrowed"]), bool(one["told"]))

    def tell(self, marks: Iterable[Narrowed]) -> None:
        """The holder of the dataset has been told of these patients' number."""
        waiting = iter(marks)
        while some := list(islice(waiting, _BATCH)):
            self._shares.update_many(
                {"_id": {"$in": [one.request + one.owner for one in some]}}, {"$set": {"told": True}}
            )

    # --- what was said of it -----------------------------------------------------------------------------------

    def saying(self, request: bytes) -> bytes | None:
        """Return the signed message about a dataset that is on its way to the chain, or None."""
        found = self._shares.find_one({"_id": _SAYING + request})
        return None if found is None else bytes(found["tx"])

    def say(self, request: bytes, tx: bytes | None) -> None:
        """This message about a dataset is on its way to the chain; or with None there is none any more."""
        if tx is None:
            self._shares.delete_one({"_id": _SAYING + request})
        else:
            self._shares.replace_one({"_id": _SAYING + request}, {"tx": tx}, upsert=True)
