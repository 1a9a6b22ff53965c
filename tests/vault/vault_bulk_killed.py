"""Stores, replaces, deletes a large object in child processes, each killed by SIGKILL before another of its commands.

Started by test_vault_bulk.py as a process of its own. Writes a JSON list: what could be read after each kill, whether
a sweep then left exactly what is pointed at, and what an undisturbed run afterwards leaves.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from vault_killed import in_child
from vault_world import CHAIN

from vault.errors import Unknown
from vault.keystore import FileKeystore
from vault.store import Vault

COLLECTIONS = ("bulk", "bulk.files", "bulk.chunks", "bulk.unfinished")


def way(vault: Vault) -> None:
    """What is done; every step may have been done before."""
    vault.bulk.put("a", [b"old"])
    vault.bulk.put("a", [b"n", b"ew"])
    vault.bulk.put("a", [b"new"])
    vault.bulk.put("b", [b"kept"])
    vault.bulk.delete("b")


def read(vault: Vault, name: str) -> str:
    """What stands under a name, ``-`` for nothing."""
    try:
        return b"".join(vault.bulk.open(name)).decode()
    except Unknown:
        return "-"


def state(uri: str, name: str) -> dict[str, Any]:
    """What a reader sees now, and whether a sweep leaves only what it sees."""
    with MongoClient[dict[str, Any]](uri) as client:
        vault, db = Vault(client[name], KEYS, "hospital-east", CHAIN), client[name]
        at_once = [read(vault, "a"), read(vault, "b")]
        vault.bulk.sweep(timedelta(0))
        after = [read(vault, "a"), read(vault, "b")]
        held = 2 - after.count("-")
        counts = [db[one].count_documents({}) for one in COLLECTIONS]
        return {"at_once": at_once, "swept": after == at_once and counts == [held, held, held, 0]}


def finished(uri: str, name: str) -> list[Any]:
    """What an undisturbed run left; then everything is emptied."""
    with MongoClient[dict[str, Any]](uri) as client:
        vault, db = Vault(client[name], KEYS, "hospital-east", CHAIN), client[name]
        found = [read(vault, "a"), "gone" if read(vault, "b") == "-" else "there"]
        counts = [db[one].count_documents({}) for one in COLLECTIONS]
        for one in COLLECTIONS:
            db[one].delete_many({})
        return [*found, counts]


if __name__ == "__main__":
    URI, NAME, FOLDER = sys.argv[1:]
    KEYS = FileKeystore.open(Path(FOLDER), b"a password")
    go = partial(in_child, URI, NAME, KEYS, way)
    outcomes = []
    point = 1
    while not go(point):
        found = state(URI, NAME)
        go(0)
        outcomes.append({**found, "again": finished(URI, NAME)})
        point += 1
    sys.stdout.write(json.dumps(outcomes))
