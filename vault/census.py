"""How much of what lies in the vault, counted by the database over blind tokens; and the last count, as it was told.

A token cannot be turned back into its code. Of tokens that enough patients share, a few records are opened to learn
which code it is; of all others nothing is looked at, and nothing is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from vault.blind_index import BlindIndex
from vault.extract import BATCH, Extract, Opened
from vault.layout import Document, Layout
from vault.settling import type_numbers

_COUNTED: Final[Document] = {"latest": True, "erased": {"$ne": True}}


@dataclass(frozen=True, slots=True)
class Counted:
    """Records of a kind, newest versions only, what was erased not among them.

    Attributes:
        type: FHIR type.
        records: How many.
        patients: Of how many different patients; 0 where they are the institution's own.
        token: Blind token that all of them have; empty where all records of the type were counted.
    """

    type: str
    records: int
    patients: int
    token: bytes = b""


class Census:
    """Counts the records of one institution."""

    def __init__(self, layout: Layout, index: BlindIndex, extract: Extract) -> None:
        self._records, self._patients, self._kept = layout["records"], layout["patients"], layout["catalogue"]
        self._index, self._extract = index, extract

    def patients(self) -> int:
        """Return how many patients are not erased."""
        return self._patients.count_documents({"salt": {"$exists": True}, "_id": {"$ne": self._index.owner(None)}})

    def types(self) -> list[Counted]:
        """Return every type, in order of name."""
        return sorted(self._counted({"type": "$type"}, [], 0), key=lambda one: one.type)

    def common(self, least: int) -> list[Counted]:
        """Return every token that at least so many patients have in records of a type, most patients first."""
        unwound: list[Document] = [{"$unwind": "$tokens"}]
        found = self._counted({"type": "$type", "token": "$tokens"}, unwound, least)
        return sorted(found, key=lambda one: (-one.patients, one.type, one.token))

    def _counted(self, by: Document, before: list[Document], least: int) -> Iterator[Counted]:
        own = self._index.owner(None)
        pipeline: list[Document] = [
            {"$match": _COUNTED},
            *before,
            {"$group": {"_id": {**by, "owner": "$owner"}, "n": {"$sum": 1}}},
            {
                "$group": {
                    "_id": {name: f"$_id.{name}" for name in by},
                    "records": {"$sum": "$n"},
                    "patients": {"$sum": {"$cond": [{"$eq": ["$_id.owner", own]}, 0, 1]}},
                }
            },
            {"$match": {"patients": {"$gte": least}}},
        ]
        names = {number: name for name, number in type_numbers().items()}
        for one in self._records.aggregate(pipeline, allowDiskUse=True):
            kind: dict[str, Any] = one["_id"]
            yield Counted(names[kind["type"]], one["records"], one["patients"], bytes(kind.get("token", b"")))

    def having(self, counted: Counted, most: int) -> list[Opened]:
        """Return up to ``most`` of the counted records, opened, in the order of their ids, which is no order."""
        wanted: Document = {"type": type_numbers()[counted.type], "tokens": counted.token}
        return [one for page in self._extract.some(wanted, most) for one in page]

    def sample(self, most: int) -> Iterator[list[Opened]]:
        """Yield up to ``most`` records, opened, ``BATCH`` at a time: all of them, or drawn as by lot.

        Ids are made with a secret, so the first of them are anybody's.
        """
        yield from self._extract.some({}, most)

    def codes_of(self, token: bytes, codings: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those of these codings, system and code, that a token stands for: one, or none."""
        return [one for one in codings if self._index.token("code", *one) == token]

    def keep(self, told: bytes) -> None:
        """What was told last is kept: rounded counts, no more than anybody may read."""
        self._kept.replace_one({"_id": "told"}, {"told": told}, upsert=True)

    def kept(self) -> bytes | None:
        """Return what was told last, or None."""
        found = self._kept.find_one({"_id": "told"})
        return None if found is None else bytes(found["told"])


__all__ = ["BATCH", "Census", "Counted"]
