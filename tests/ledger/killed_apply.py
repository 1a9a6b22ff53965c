"""A process that applies one block and is killed with SIGKILL before its n-th database command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pymongo import MongoClient, monitoring

from ledger.genesis import Genesis
from ledger.node import Node
from ledger.replica import FinalBlock, Replica


class Killer(monitoring.CommandListener):
    """Counts commands that write and dies before the n-th."""

    def __init__(self, left: int) -> None:
        self.left = left

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("find", "getMore", "endSessions"):
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


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
    watched = MongoClient(uri, event_listeners=[Killer(int(left))])
    replica = Replica(watched[database], chain)
    node = Node(chain, institution, None, replica, None, NoEnvelopes(), lambda: 0)
    node.apply(block.block, block.commit_qc, block.bodies)
    watched.close()


if __name__ == "__main__":
    main()
