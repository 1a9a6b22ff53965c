"""Nodes of the simulated region behind real HTTP servers on loopback, as the tests of sync and serving use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from fastapi import FastAPI
from fastapi.responses import Response
from region_simulation import RegionSimulation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class Liar:
    """The interface of a node whose answers somebody changes: what is asked for, and what it gives instead.

    Args:
        app: The honest interface.
        lie: Given path and honest body, returns the body sent, or None to leave the answer as it is.
    """

    def __init__(self, app: ASGIApp, lie: Callable[[str, bytes], bytes | None]) -> None:
        self.app, self.lie = app, lie
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: dict[str, Any] = {}
        body = bytearray()

        async def collecting(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                path = str(scope["path"])
                query = scope["query_string"].decode()
                self.asked.append(f"{path}?{query}" if query else path)
                lie = self.lie(self.asked[-1], bytes(body)) if started["status"] == 200 else None
                answer = Response(bytes(body) if lie is None else lie, started["status"])
                await answer(scope, receive, send)

        await self.app(scope, receive, collecting)


@contextmanager
def lying(
    region: RegionSimulation, institution: str, lie: Callable[[str, bytes], bytes | None]
) -> Iterator[tuple[str, Liar]]:
    """A node that answers with lies; yields its address and what it was asked."""
    liar = Liar(make_app(served(region, institution), FREE), lie)
    with running(make_server(cast("FastAPI", liar), Listening(port=0), FREE)) as port:
        yield f"http://127.0.0.1:{port}", liar
