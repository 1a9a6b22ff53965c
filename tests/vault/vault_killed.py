"""Runs the way of a few records in child processes, each killed by SIGKILL before another of its commands.

Started by test_vault_crash.py as a process of its own, so that it forks before any client exists. Writes one JSON
object: what stood in the database after each kill and the undisturbed run that followed it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from killed import KilledBefore
from pymongo import MongoClient
from vault_world import CHAIN, observation, patient, raw, refused, unreadable

from vault.batches import RecordResult
from vault.keystore import FileKeystore
from vault.store import Vault

DATA = ("landing", "batches", "records", "outbox", "submissions", "quarantine", "cursors", "patients", "counters")


def whole_way(vault: Vault) -> None:
    """What the tasks of one run do, from landing to the final block; every step may have been done before."""
    vault.landing.put_many([raw(number) for number in range(5)])
    vault.landing.put_unreadable(unreadable(1))
    vault.cursors.propose("east-his", {"at": 5})
    for batch in vault.batches.plan("east-his", 3, "run"):
        results = []
        for one in vault.batches.records(batch):
            number = one.raw.native_id[-1]
            if number == "3":
                results.append(refused(one.id))
            else:
                found = (patient("p", f"name {number}"), observation(f"o{number}", "p"))
                results.append(RecordResult(one.id, "sealed", found))
        vault.batches.settle(batch, results, "map/1")
        vault.batches.reconcile(batch)
    vault.cursors.advance("east-his")
    while (submission := vault.outbox.assign(4)) is not None:
        vault.outbox.sent(submission.id, "tx", 1, b"tx")
    for sent in vault.outbox.outstanding():
        vault.outbox.final(sent.id, 1)


def in_child(uri: str, name: str, keys: FileKeystore, way: Callable[[Vault], None], kill_before: int) -> bool:
    """Go a way in a child that is killed before a command, 0 for none; returns whether it came to its end."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in (0, -signal.SIGKILL):
            raise SystemExit(f"the child failed with {status}")
        return status == 0
    listener = KilledBefore(0)
    with MongoClient[dict[str, Any]](uri, event_listeners=[listener]) as client:
        vault = Vault(client[name], keys, "hospital-east", CHAIN)
        listener.left = kill_before
        way(vault)
    os._exit(0)


def drop_orphans(uri: str) -> None:
    """The transaction of the dead child is aborted now; mongod would do it after transactionLifetimeLimitSeconds."""
    with MongoClient[dict[str, Any]](uri) as client:
        client.admin.command("killAllSessions", [])


def state(uri: str, name: str) -> dict[str, Any]:
    """What a finished run must look like, whatever happened before it; then everything is emptied."""
    with MongoClient[dict[str, Any]](uri) as client:
        db = client[name]
        found = {
            "landed": db["landing"].count_documents({}),
            "statuses": sorted(one["status"] for one in db["landing"].find()),
            "versions": sorted((one["type"], one["version"]) for one in db["records"].find()),
            "latest": db["records"].count_documents({"latest": True}),
            "outbox": sorted(
                (one["count"], one["taken"], one["open"]) for one in db["outbox"].find() if one["taken"] == one["count"]
            ),
            "batches": sorted((one["_id"], one["state"], one["records"]) for one in db["batches"].find()),
            "final": sum(one["count"] for one in db["submissions"].find({"state": "final"})),
            "submissions": sorted({one["state"] for one in db["submissions"].find()}),
            "quarantine": sorted(one["code"] for one in db["quarantine"].find({"state": "open"})),
            "cursor": [sorted(one) for one in db["cursors"].find()],
        }
        for collection in DATA:
            db[collection].delete_many({})
        return found


if __name__ == "__main__":
    URI, NAME, FOLDER = sys.argv[1:]
    go = partial(in_child, URI, NAME, FileKeystore.open(Path(FOLDER), b"a password"), whole_way)
    go(0)
    outcomes = {"undisturbed": state(URI, NAME)}
    point = 1
    while not go(point):
        drop_orphans(URI)
        go(0)
        outcomes[f"killed before command {point}"] = state(URI, NAME)
        point += 1
    sys.stdout.write(json.dumps(outcomes))
