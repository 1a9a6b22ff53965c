"""Nodes of the simulated region behind real HTTP servers on loopback, as the tests of sync and serving use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from region_simulation import RegionSimulation

from ledger.checkpoints import Checkpoints
from ledger.serving.application import make_app
from ledger.serving.guard import Limits
from ledger.serving.served import Served
from ledger.serving.server import Listening, make_server, running

FREE = Limits(per_second=1e6, burst=1_000_000)


def served(region: RegionSimulation, institution: str, offered: Callable[[], Iterable[bytes]] = tuple) -> Served:
    replica = region.node(institution).replica
    checkpoints = Checkpoints(region.mongo[region.database_name(institution)], replica)
    return Served(institution, replica, checkpoints, offered)


@contextmanager
def serving(region: RegionSimulation, institution: str, limits: Limits = FREE) -> Iterator[str]:
    """The interface of one institution's node; yields its address."""
    server = make_server(make_app(served(region, institution), limits), Listening(port=0), limits)
    with running(server) as port:
        yield f"http://127.0.0.1:{port}"
