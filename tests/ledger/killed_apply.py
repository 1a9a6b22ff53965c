"""A process that applies one block and is killed with SIGKILL before its n-th database command."""

from __future__ import annotations

import sys
from pathlib import Path

from killed import KilledBefore
from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.chain.replica import FinalBlock, Replica
from ledger.node import Node

#: What changes nothing is not counted.
READS = frozenset({"find", "getMore", "endSessions"})


class NoEnvelopes:
    def fetch(self, institution: str, locator: str) -> bytes | None:
        return None


def main() -> None:
    uri, database, genesis, final, institution, left = sys.argv[1:]
    chain = Genesis.load(Path(genesis).read_bytes())
    block = FinalBlock.decode(Path(final).read_bytes())
    client: MongoClient[dict[str, object]] = MongoClient(uri)
    replica = Replica(client[database], chain)
    client.close()
    watched = MongoClient(uri, event_listeners=[KilledBefore(int(left), READS)])
    replica = Replica(watched[database], chain)
    node = Node(chain, institution, None, replica, None, NoEnvelopes(), lambda: 0)
    node.apply(block.block, block.commit_qc, block.bodies)
    watched.close()


if __name__ == "__main__":
    main()
