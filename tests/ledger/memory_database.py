"""As much of a MongoDB database as a replica uses, in memory: for simulations that make thousands of steps.

A step of a simulated network costs a replica about ten reads. On the server they take two thirds of the run, here next
to nothing, so the same time explores several times as many states. What is asked for that is not here raises, and
``test_the_database_in_memory_answers_as_the_server_does`` drives both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pymongo import ReplaceOne

Document = dict[str, Any]
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, wanted: value in wanted,
    "$lte": lambda value, bound: value is not None and value <= bound,
    "$lt": lambda value, bound: value is not None and value < bound,
    "$gte": lambda value, bound: value is not None and value >= bound,
    "$gt": lambda value, bound: value is not None and value > bound,
}


class MemoryDatabase:
    """Collections by name; options are taken and mean nothing, since every write is there at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._collections: dict[str, MemoryCollection] = {}

    def __getitem__(self, name: str) -> MemoryCollection:
        return self._collections.setdefault(name, MemoryCollection(name))

    def with_options(self, **_: Any) -> MemoryDatabase:
        return self

    def list_collection_names(self) -> list[str]:
        return [name for name, one in self._collections.items() if one.documents]


class Matched:
    """How many documents a write met."""

    def __init__(self, count: int) -> None:
        self.matched_count = self.deleted_count = count


class Found:
    """Documents found, in the order of their ids on demand."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)

    def sort(self, field: str, direction: int = 1) -> Found:
        return Found(sorted(self._documents, key=lambda one: one[field], reverse=direction < 0))

    def limit(self, most: int) -> Found:
        return Found(self._documents[:most] if most else self._documents)


class MemoryCollection:
    """Documents by id."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.documents: dict[Any, Document] = {}

    def with_options(self, **_: Any) -> MemoryCollection:
        return self

    def create_index(self, *_: Any, **__: Any) -> None:
        pass

    def find(self, wanted: Mapping[str, Any] | None = None, _projection: object = None) -> Found:
        return Found([_copy(one) for one in self._matching(wanted or {})])

    def find_one(self, wanted: Mapping[str, Any] | None = None, _projection: object = None) -> Document | None:
        return next((_copy(one) for one in self._matching(wanted or {})), None)

    def estimated_document_count(self) -> int:
        return len(self.documents)

    def count_documents(self, wanted: Mapping[str, Any]) -> int:
        return len(list(self._matching(wanted)))

    def replace_one(self, wanted: Mapping[str, Any], document: Document, upsert: bool = False) -> Matched:
        for one in self._matching(wanted):
            self.documents[one["_id"]] = _copy({"_id": one["_id"], **document})
            return Matched(1)
        if upsert:
            self.documents[wanted["_id"]] = _copy({"_id": wanted["_id"], **document})
        return Matched(0)

    def bulk_write(self, writes: Iterable[ReplaceOne[Any]], ordered: bool = True) -> None:
        for one in writes:
            if not isinstance(one, ReplaceOne):
                raise NotImplementedError(type(one).__name__)
            self.replace_one(one._filter, dict(one._doc), bool(one._upsert))

    def delete_many(self, wanted: Mapping[str, Any]) -> Matched:
        gone = [one["_id"] for one in self._matching(wanted)]
        for id_ in gone:
            del self.documents[id_]
        return Matched(len(gone))

    def _matching(self, wanted: Mapping[str, Any]) -> Iterable[Document]:
        id_ = wanted.get("_id")
        if isinstance(id_, Mapping) and list(id_) == ["$in"]:
            ids = [one for one in dict.fromkeys(id_["$in"]) if one in self.documents]
            candidates = [self.documents[one] for one in ids]
        elif "_id" in wanted and not isinstance(id_, Mapping):
            candidates = [self.documents[id_]] if id_ in self.documents else []
        else:
            candidates = list(self.documents.values())
        return [one for one in candidates if all(_holds(one.get(key), rule) for key, rule in wanted.items())]


def _holds(value: Any, rule: Any) -> bool:
    """Say whether a field meets a condition; a list meets it where one of its elements does."""
    values = [*value, value] if isinstance(value, list) else [value]
    if isinstance(rule, Mapping) and any(key.startswith("$") for key in rule):
        return all(any(COMPARISONS[name](one, bound) for one in values) for name, bound in rule.items())
    return any(one == rule for one in values)


def _copy(document: Mapping[str, Any]) -> Document:
    return {key: list(value) if isinstance(value, list) else value for key, value in document.items()}
