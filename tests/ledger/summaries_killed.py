"""Follows the chain with a store of summaries in child processes, each killed before another of its commands.

Started by test_ledger_summaries.py as a process of its own, so that it forks before any client exists. Every store and
board has a database of its own, by number. Writes one JSON list: what each kill and the undisturbed run after it left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from killed import KilledBefore
from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.messages.sealed_summary import Bundle
from ledger.messages.summary_board import MongoBoard
from ledger.messages.summary_store import SummaryStore

#: More than either way has commands that change anything.
STORES = 16
READS = frozenset({"find", "getMore", "endSessions", "distinct", "aggregate", "hello", "count"})


class NoVault:
    def sealed(self, records: Sequence[bytes]) -> Iterator[bytes]:
        return iter(())


def in_child(uri: str, kill_before: int, work: Callable[[MongoClient[dict[str, Any]]], None]) -> bool:
    """Work in a child that is killed before a command, 0 for none; returns whether it came to its end."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in (0, -signal.SIGKILL):
            raise SystemExit(f"the child failed with {status}")
        return status == 0
    listener = KilledBefore(0, READS)
    with MongoClient[dict[str, Any]](uri, event_listeners=[listener], tz_aware=True) as client:
        client.admin.command("ping")
        listener.left = kill_before
        work(client)
        listener.left = 0
    os._exit(0)


def store(client: MongoClient[dict[str, Any]], replica: Replica, name: str, institution: str) -> SummaryStore:
    return SummaryStore(client[name], replica, institution, MongoBoard(client[f"{name}_board"]), NoVault())


def left(client: MongoClient[dict[str, Any]], name: str) -> dict[str, Any]:
    """What stands in a store and on its board, without what differs by time."""
    database, board = client[name], client[f"{name}_board"]
    return {
        "here": sorted(one["_id"].hex() for one in database["summaries"].find()),
        "gone": sorted(one["_id"].hex() for one in database["summaries_gone"].find()),
        "wanted": database["summaries_wanted"].count_documents({}),
        "cursor": (database["summaries_meta"].find_one() or {}).get("height"),
        "board": board["summaries"].count_documents({}),
        "asked": board["summaries_asked"].count_documents({}),
    }


def main() -> None:
    uri, replica_name, genesis_file, institution, prefix, stage, bundle_file = sys.argv[1:]
    genesis = Genesis.load(Path(genesis_file).read_bytes())
    bundle = Path(bundle_file).read_bytes()
    found: list[Any] = []
    for number in range(1, STORES):
        name = f"{prefix}{number:02}"

        def follow(client: MongoClient[dict[str, Any]], name: str = name) -> None:
            store(client, Replica(client[replica_name], genesis), name, institution).follow()

        def prepare(client: MongoClient[dict[str, Any]], name: str = name) -> None:
            MongoBoard(client[f"{name}_board"]).put(Bundle.decode(bundle).tx_id, bundle)

        if stage == "fill":
            in_child(uri, 0, prepare)
        ended = in_child(uri, number, follow)
        report = Path(f"{bundle_file}.{number}")

        def go_on(client: MongoClient[dict[str, Any]], name: str = name, report: Path = report) -> None:
            store(client, Replica(client[replica_name], genesis), name, institution).follow()
            report.write_text(json.dumps(left(client, name)), encoding="utf-8")

        in_child(uri, 0, go_on)
        found.append(json.loads(report.read_text(encoding="utf-8")) | {"ended": ended})
        if stage == "purge" and ended:
            break
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
