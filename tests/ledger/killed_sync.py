"""A process that catches up from one node and is killed with SIGKILL before its n-th command that writes."""

from __future__ import annotations

import sys
from pathlib import Path

from killed import KilledBefore
from killed_apply import READS, NoEnvelopes
from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.node import Node
from ledger.sync.catching_up import CatchUp
from ledger.sync.peer import Peer, network


def main() -> None:
    uri, database, genesis, url, left = sys.argv[1:]
    chain = Genesis.load(Path(genesis).read_bytes())
    client: MongoClient[dict[str, object]] = MongoClient(uri, event_listeners=[KilledBefore(int(left), READS)])
    node = Node(chain, "nursing-home", None, Replica(client[database], chain), None, NoEnvelopes(), lambda: 0)
    with network() as through:
        CatchUp(node, [Peer("hospital-east", url, through)], through).run()


if __name__ == "__main__":
    main()
