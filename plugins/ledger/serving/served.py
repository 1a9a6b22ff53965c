"""What the interface reads from, and how a route gets at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ledger.chain.header import Header
from ledger.chain.replica import Replica, ReplicaView
from ledger.proofs.checkpoints import Checkpoints
from ledger.serving.faults import Missing


def _nothing() -> Iterable[bytes]:
    return ()


@dataclass(frozen=True)
class Served:
    """One institution's node as the interface sees it; nothing here can write or sign.

    Attributes:
        institution: Whose node it is, by its id in the region's file.
        replica: Its copy of the chain.
        checkpoints: What auditors signed.
        offered: Returns the transactions that wait for a block, as far as this node knows.
    """

    institution: str
    replica: Replica
    checkpoints: Checkpoints
    offered: Callable[[], Iterable[bytes]] = _nothing

    def header(self, height: int, view: ReplicaView) -> Header:
        """Return the header of a height up to the view's head; Missing above it."""
        if height > view.head.height:
            raise Missing("height", f"the head is {view.head.height}; there is no block {height} here yet")
        return self.replica.header(height)

    def certificate(self, height: int) -> bytes:
        """Return the certificate of a height this node has; empty at genesis."""
        return self.replica.block(height)[1] if height else b""


def _served(request: Request) -> Served:
    found = request.app.state.served
    if not isinstance(found, Served):
        raise RuntimeError("the application was not made by make_app")
    return found


Here = Annotated[Served, Depends(_served)]
