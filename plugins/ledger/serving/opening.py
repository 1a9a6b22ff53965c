"""What a machine serves of an institution: its replica, its checkpoints, what waits in the exchange."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient

from ledger.chain.replica import Replica
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.exchange import Exchange
from ledger.opening import load_genesis, replica_database
from ledger.proofs.checkpoints import Checkpoints
from ledger.serving.served import Served
from schemas.home import Home

_PAIR = 2 * 64 + 1


def open_served(home: Home, institution: str, client: MongoClient[dict[str, Any]], exchange: Exchange) -> Served:
    """Return an institution's node as its HTTP interface shows it; no key is opened.

    Raises:
        ConfigurationError: There is no genesis here.
        Halted: The database holds another chain.
    """
    database = replica_database(home, institution, client)
    replica = Replica(database, load_genesis(home))
    return Served(institution, replica, Checkpoints(database, replica), lambda: offered(exchange))


def offered(exchange: Exchange) -> Iterator[bytes]:
    """Yield the transactions offered, without their leaves."""
    for pair in exchange.read("submissions", _PAIR):
        tx = exchange.get(pair.decode("ascii", "replace").partition("\n")[0], MAX_TRANSACTION)
        if tx is not None:
            yield tx
