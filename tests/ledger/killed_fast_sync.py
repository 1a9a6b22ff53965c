"""A process that begins with a certified state and is killed with SIGKILL before its n-th command that writes."""

from __future__ import annotations

import sys
from pathlib import Path

from killed import KilledBefore
from killed_apply import READS
from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.sync.fast_sync import fast_sync
from ledger.sync.peer import Peer, network


def main() -> None:
    uri, database, genesis, url, left = sys.argv[1:]
    chain = Genesis.load(Path(genesis).read_bytes())
    client: MongoClient[dict[str, object]] = MongoClient(uri, event_listeners=[KilledBefore(int(left), READS)])
    with network() as through:
        fast_sync(Replica(client[database], chain), [Peer("health-commission", url, through)], through)


if __name__ == "__main__":
    main()
