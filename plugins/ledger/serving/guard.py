"""What stands before every request: reads only, so many a client, so many at once, so long and no longer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.serving.faults import refusal

MAX_QUERY = 1_024
MAX_PATH = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the interface.

    Attributes:
        per_second: Requests of one client address, on average.
        burst: Requests it may have saved up.
        clients: Addresses remembered; the one not seen for longest is forgotten first.
        at_once: Requests of all clients under way together.
        at_once_each: Of them, one client's.
        answer_seconds: From the request to the last byte of the answer.
        request_seconds: From the connection, or the last answer, to a whole request.
    """

    per_second: float = 200.0
    burst: int = 1_000
    clients: int = 10_000
    at_once: int = 64
    at_once_each: int = 16
    answer_seconds: float = 60.0
    request_seconds: float = 10.0


class Buckets:
    """A bucket of tokens for each client; one is full when the client has been quiet.

    Args:
        limits: Rate, burst, and how many clients are remembered.
        clock: Seconds that only go forward.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token; return 0, or the seconds until there is one."""
        now, limits = self._clock(), self._limits
        left, seen = self._left.pop(client, (float(limits.burst), now))
        left = min(float(limits.burst), left + (now - seen) * limits.per_second)
        wait = 0.0 if left >= 1 else (1 - left) / limits.per_second
        self._left[client] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > limits.clients:
            self._left.popitem(last=False)
        return wait


class Guard:
    """ASGI middleware that lets a request in or answers it at once.

    Args:
        app: What it guards.
        limits: The bounds.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._buckets = Buckets(limits)
        self._busy: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = str((scope.get("client") or ("unknown",))[0])
        if (answer := self._refusal(scope, client)) is not None:
            await answer(scope, receive, send)
            return
        self._busy[client] = self._busy.get(client, 0) + 1
        try:
            await self._bounded(scope, receive, send)
        finally:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]

    def _refusal(self, scope: Scope, client: str) -> ASGIApp | None:
        headers = dict(scope["headers"])
        if scope["method"] not in ("GET", "HEAD"):
            return refusal(405, "method", "this interface is read-only: GET and HEAD", Allow="GET, HEAD")
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            return refusal(413, "body", "a reading request has no body", Connection="close")
        if len(scope["query_string"]) > MAX_QUERY or len(scope["path"]) > MAX_PATH:
            return refusal(414, "size", f"a path has at most {MAX_PATH} characters, a query {MAX_QUERY}")
        if (wait := self._buckets.take(client)) > 0:
            return refusal(
                429, "rate", "too many requests of this client; wait", **{"Retry-After": str(max(1, round(wait)))}
            )
        if self._busy.get(client, 0) >= self._limits.at_once_each or sum(self._busy.values()) >= self._limits.at_once:
            return refusal(429, "at once", "too many requests at the same time; wait", **{"Retry-After": "1"})
        return None

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                await self._app(scope, receive, sending)
        except TimeoutError:
            if begun:
                return  # the server closes the connection of an answer that was not ended
            late = refusal(503, "time", "the answer took too long; ask another node", **{"Retry-After": "5"})
            await late(scope, receive, send)
