"""Documents of a replica's database: written under ids that follow from what they hold, so that twice is once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pymongo import ReplaceOne
from pymongo.collection import Collection as MongoCollection

Document = dict[str, Any]


def upsert(collection: MongoCollection[Document], documents: Mapping[Any, Document]) -> None:
    """Write documents under their ids, whatever stood there."""
    if not documents:
        return
    writes = [ReplaceOne({"_id": key}, {"_id": key, **document}, upsert=True) for key, document in documents.items()]
    collection.bulk_write(writes, ordered=False)


def fetch(collection: MongoCollection[Document], keys: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the data of those of these documents that stand."""
    found = collection.find({"_id": {"$in": list(keys)}}) if keys else ()
    return {bytes(one["_id"]): bytes(one["d"]) for one in found}
