"""Ledger entries as the outbox keeps them: fixed-width records, one after the other."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from schemas.records import Entry

#: rid, version, ct_digest, key_commit, summary_digest, ct_len, resource_type
RECORD: Final = struct.Struct(">16sI32s32s32sQH")
NO_SUMMARY: Final = bytes(32)


def locator(rid: bytes, version: int) -> str:
    """Return the ``_id`` of an envelope: the rid in hex, a dot, the version."""
    return f"{rid.hex()}.{version}"


def versions_of(rid: bytes) -> dict[str, dict[str, str]]:
    """Return the query for all versions of a record, which lie together in the order of ``_id``."""
    return {"_id": {"$gte": f"{rid.hex()}.", "$lt": f"{rid.hex()}/"}}


def pack(entries: Iterable[Entry]) -> bytes:
    """Return 126 bytes for each entry; the locator follows from rid and version."""
    return b"".join(
        RECORD.pack(
            one.rid, one.version, one.ct_digest, one.key_commit, one.summary_digest, one.ct_len, one.resource_type
        )
        for one in entries
    )


def unpack(packed: bytes) -> list[Entry]:
    """Return what `pack` was given."""
    return [
        Entry(rid, version, digest, commit, summary, length, number, locator(rid, version))
        for rid, version, digest, commit, summary, length, number in RECORD.iter_unpack(packed)
    ]


def locators(packed: bytes) -> list[str]:
    """Return the locators alone."""
    return [locator(fields[0], fields[1]) for fields in RECORD.iter_unpack(packed)]
