"""What was set aside: listed, shown and, after a fix, sent through again under the same identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.client_session import ClientSession

from schemas.records import RawRecord, Unreadable
from vault.errors import Unknown
from vault.landing import Landing, LandingKeys
from vault.layout import Document, Layout

#: Records put back in one transaction.
_REPLAY = 1_000


@dataclass(frozen=True, slots=True)
class SetAside:
    """One record in quarantine.

    Attributes:
        id: Id of the landed record.
        source: Id of its source.
        batch: The batch it was set aside in, or None for what is unreadable.
        code: Key of ``schemas.reasons.REASONS``.
        where: The sender's coordinates.
        message: What was expected, what came and what to do.
        received_at: When it was first received.
        size: Bytes.
        times: How often it was set aside.
        readable: Whether it can be replayed; an unreadable piece must be sent again.
        state: ``open``, or ``replayed``.
    """

    id: str
    source: str
    batch: str | None
    code: str
    where: str
    message: str
    received_at: datetime
    size: int
    times: int
    readable: bool
    state: str


class Quarantine:
    """The quarantine of one institution."""

    def __init__(self, layout: Layout, landing: Landing, keys: LandingKeys) -> None:
        self._layout = layout
        self._quarantine = layout["quarantine"]
        self._landing = landing
        self._keys = keys

    def list(
        self, code: str | None = None, source: str | None = None, state: str = "open", limit: int = 1_000
    ) -> list[SetAside]:
        """Return what lies in quarantine, oldest first."""
        wanted = _filter(code=code, source=source, state=state)
        found = self._quarantine.find(wanted).sort([("order", 1)]).limit(limit)
        return [self._item(one) for one in found]

    def show(self, id_: str) -> tuple[SetAside, RawRecord | Unreadable]:
        """Return why a record was set aside, and the record itself, decrypted.

        Raises:
            Unknown: It is not in quarantine.
        """
        if (document := self._quarantine.find_one({"_id": id_})) is None:
            raise Unknown(f"nothing in quarantine under {id_}")
        return self._item(document), self._landing.open(self._landing.find(id_), {})

    def counts(self) -> dict[str, int]:
        """Return how many records lie in quarantine, by reason code."""
        groups: Sequence[Document] = [
            {"$match": {"state": "open"}},
            {"$group": {"_id": "$code", "n": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
        return dict(sorted((one["_id"], int(one["n"])) for one in self._quarantine.aggregate(groups)))

    def replay(self, ids: Sequence[str] | None = None, code: str | None = None, source: str | None = None) -> int:
        """Put records back in line, by id, reason code or source; returns how many.

        They keep their identity and their place in the order of arrival, so a record that was overtaken does not
        overwrite newer content. What is unreadable, or lies in a batch not closed yet, stays.

        Raises:
            RuntimeError: Neither ids nor code nor source is given.
        """
        if ids is None and code is None and source is None:
            raise RuntimeError("replay what? give ids, a code or a source")
        wanted = _filter(code=code, source=source, state="open") | {"readable": True}
        if ids is not None:
            wanted["_id"] = {"$in": list(ids)}
        done = 0
        while moved := self._layout.transact(lambda session: self._replay(wanted, session)):
            done += moved
        return done

    def _replay(self, wanted: Document, session: ClientSession) -> int:
        unfinished = self._layout["batches"].find({"state": {"$ne": "reconciled"}}, {"_id": 1}, session=session)
        chosen = {"$and": [wanted, {"batch": {"$nin": [one["_id"] for one in unfinished]}}]}
        ids = [one["_id"] for one in self._quarantine.find(chosen, {"_id": 1}, session=session).limit(_REPLAY)]
        if not ids:
            return 0
        self._quarantine.update_many({"_id": {"$in": ids}}, {"$set": {"state": "replayed"}}, session=session)
        back = {"$set": {"status": "pending", "batch": None, "replayed": True}}
        self._layout["landing"].update_many({"_id": {"$in": ids}}, back, session=session)
        return len(ids)

    def _item(self, document: Document) -> SetAside:
        detail = self._keys.open_detail("QUARANTINE", document["_id"], document["detail"])
        names = ("source", "batch", "code", "where", "received_at", "size", "times", "readable", "state")
        return SetAside(document["_id"], message=detail["message"], **{name: document[name] for name in names})


def _filter(**wanted: Any) -> Document:
    return {name: value for name, value in wanted.items() if value is not None}
