"""How far each export of this institution is: states and counts, for people and for whoever begins again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from vault.layout import Document, Layout

State = Literal["cutting", "packing", "offered", "delivered", "refused"]
ENDED: Final = frozenset({"delivered", "refused"})


@dataclass(frozen=True, slots=True)
class Progress:
    """One export.

    Attributes:
        request: Id of the request on the chain, hex.
        state: ``cutting`` records into parts, ``packing`` them, ``offered`` to the next block, ``delivered`` as the
            chain says, or ``refused``.
        done: Parts that are ready.
        parts: Parts in all.
        reason: Why it was refused, or "".
        since: When it began.
        at: When this was written.
        facts: Counts and digests of the package; no patient's data.
    """

    request: str
    state: State
    done: int
    parts: int
    reason: str
    since: datetime
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


class Exports:
    """The exports of one institution."""

    def __init__(self, layout: Layout) -> None:
        self._exports = layout["exports"]

    def note(
        self, request: str, state: State, *, done: int = 0, parts: int = 0, reason: str = "", **facts: Any
    ) -> None:  # fmt: skip
        """The export is this far; facts are added to those that stand."""
        now = datetime.now(UTC)
        change: Document = {"state": state, "done": done, "parts": parts, "reason": reason, "at": now}
        change |= {f"facts.{name}": value for name, value in facts.items()}
        self._exports.update_one({"_id": request}, {"$set": change, "$setOnInsert": {"since": now}}, upsert=True)

    def get(self, request: str) -> Progress | None:
        """Return how far an export is, or None where none began."""
        found = self._exports.find_one({"_id": request})
        return None if found is None else _progress(found)

    def all(self) -> list[Progress]:
        """Return every export, oldest first."""
        return [_progress(one) for one in self._exports.find().sort([("since", 1), ("_id", 1)])]


def _progress(document: Document) -> Progress:
    return Progress(
        document["_id"], document["state"], document["done"], document["parts"], document["reason"],
        document["since"], document["at"], document.get("facts", {}),
    )  # fmt: skip
