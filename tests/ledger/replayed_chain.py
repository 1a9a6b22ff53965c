"""A process that replays a chain from genesis and prints what its state came to; nothing else reaches it."""

from __future__ import annotations

import sys
from pathlib import Path

from memory_database import MemoryDatabase

from ledger.chain.genesis import Genesis
from ledger.chain.replica import FinalBlock, Replica
from ledger.node import Node


class NoEnvelopes:
    def fetch(self, institution: str, locator: str) -> bytes | None:
        return None


def main() -> None:
    genesis = Genesis.load(Path(sys.argv[1]).read_bytes())
    replica = Replica(MemoryDatabase("replayed"), genesis)  # type: ignore[arg-type]
    node = Node(genesis, sys.argv[2], None, replica, None, NoEnvelopes(), lambda: 0)
    for path in sys.argv[3:]:
        final = FinalBlock.decode(Path(path).read_bytes())
        node.apply(final.block, final.commit_qc, final.bodies)
    head = replica.view.head
    sys.stdout.write(f"{head.height} {head.block_id.hex()} {head.state_root.hex()} {head.receipts_root.hex()}\n")


if __name__ == "__main__":
    main()
