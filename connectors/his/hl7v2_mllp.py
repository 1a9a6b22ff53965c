"""HL7 v2 over MLLP: a listener that acknowledges a message only once it is durable.

A message that is refused is answered AE or AR and stays with its sender; only one whose bytes cannot be
decoded is kept as well, for whoever repairs it. When landing fails (the database is away) the connection is
closed without an answer: HL7 would allow AR for a system that is down and leaves open whether the sender
tries again, and many senders then go on to their next message; an unanswered message is sent again by all of
them.

What one peer can take is bounded: the size of a message, the time for one, the time in silence, the memory of
all open messages, the number of connections. Messages of one connection are answered in order; those that
arrive together are landed together.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from connectors.contract import Finding, oversize, utc_now
from connectors.errors import Stop
from connectors.his.acknowledge import acknowledge
from connectors.his.header import native_id
from connectors.his.mllp import Deframer, Frame, frame
from connectors.his.mllp_settings import MllpSettings, tls_context
from connectors.landing import GroupLanding, LandMany
from connectors.listening import Inspect, Refused, serve
from connectors.settings import read_settings
from schemas.records import RawRecord, Refusal
from schemas.source import Source

__all__ = ["Inspect", "Listener", "ListenerCounts", "Refused", "serve"]

log = logging.getLogger(__name__)

#: Refusals whose bytes are kept although the sender is told: they may be all that is left of a finding.
KEPT: Final = frozenset({"charset"})
_READ_BYTES: Final = 64 * 1024
_HANDSHAKE_SECONDS: Final = 10.0
#: An oversize message is read to its end, so that its sender reads the answer; beyond so many times the limit
#: the connection is closed instead.
_SKIP_TIMES: Final = 32
_TRUNCATED: Final = Refusal("truncated", "", "expected the message's end, another message began; send it again")


@dataclass(slots=True)
class ListenerCounts:
    """What a listener has done since it started.

    Attributes:
        landed: Messages that became durable and were new.
        repeats: Messages that were durable already.
        refused: Messages answered AE or AR and not kept, by reason.
        failed: Messages not answered because they could not be made durable.
        turned_away: Connections closed at once because there were too many, or closed for memory.
        timed_out: Connections closed for silence or slowness.
        lost: Connections whose peer went away without closing them.
        ignored_bytes: Bytes outside of messages.
    """

    landed: int = 0
    repeats: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    turned_away: int = 0
    timed_out: int = 0
    lost: int = 0
    ignored_bytes: int = 0


class _Closing(Exception):
    """The connection must be closed without an answer."""


@dataclass(eq=False, slots=True)
class _Connection:
    """One peer.

    Attributes:
        busy: Whether complete messages of it are being landed and answered.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    deframer: Deframer
    task: asyncio.Task[None] | None
    busy: bool = False


class Listener:
    """Listens for one source.

    Args:
        source: The source's checked file.
        home: Folder that relative paths in its settings start from.
        land_many: Makes records durable; see :data:`connectors.his.landing.LandMany`.
        inspect: Looks at a message before it is acknowledged.
        refused: Told the reason of each message refused and not kept.
        now: The clock.

    Raises:
        ConfigurationError: The settings cannot be used.
    """

    def __init__(
        self,
        source: Source,
        home: Path,
        land_many: LandMany,
        inspect: Inspect,
        refused: Refused,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.source = source
        self.settings = read_settings(source, MllpSettings)
        self.counts = ListenerCounts()
        self._tls = tls_context(source, self.settings, home)
        self._landing = GroupLanding(land_many)
        self._inspect = inspect
        self._refused = refused
        self._now = now
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the listener is not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            Stop: The address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(
                self._accept,
                self.settings.host,
                self.settings.port,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if self._tls else None,
                limit=_READ_BYTES,
            )
        except OSError as error:
            raise Stop(
                f"{self.source.id}: cannot listen on {self.settings.host} port {self.settings.port} "
                f"({type(error).__name__} {error.errno}); free the port or change settings.port"
            ) from None
        log.info("%s: listening on port %d", self.source.id, self.port)

    async def stop(self, grace_seconds: float = 30.0) -> None:
        """Stop listening; finish and answer the messages in hand, then close every connection."""
        self._stopping = True
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            if not connection.busy:
                connection.writer.close()
        tasks = [one.task for one in self._connections if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        for connection in list(self._connections):
            connection.writer.transport.abort()
        await self._landing.close()
        await self._server.wait_closed()
        log.info("%s: stopped; %d landed, %d repeats", self.source.id, self.counts.landed, self.counts.repeats)

    def check(self) -> tuple[Finding, ...]:
        """Return whether the address is free to listen on; senders have nothing to be asked."""
        address = (self.settings.host, self.settings.port)
        try:
            with socket.create_server(address):
                return (Finding("connection", True, f"port {address[1]} is free to listen on"),)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _answers(address):
                said = f"somebody listens on port {address[1]} already; that is right if `xinglin listen` does"
                return (Finding("connection", True, said),)
            message = f"port {address[1]} cannot be listened on ({type(error).__name__} {error.errno})"
            return (Finding("connection", False, f"{message}; change settings.host or settings.port"),)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopping or len(self._connections) >= self.settings.max_connections:
            self.counts.turned_away += 1
            writer.transport.abort()
            return
        _keep_alive(writer.get_extra_info("socket"))
        deframer = Deframer(self.source.record_bytes)
        connection = _Connection(reader, writer, deframer, asyncio.current_task())
        self._connections.add(connection)
        try:
            await self._serve(connection)
        except _Closing:
            log.debug("%s: connection closed on purpose", self.source.id)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not take the others' connections down
            log.error("%s: connection closed by %s", self.source.id, type(error).__name__)
        finally:
            self.counts.ignored_bytes += deframer.ignored
            await _close(writer)
            self._connections.discard(connection)

    async def _serve(self, connection: _Connection) -> None:
        try:
            await self._talk(connection)
        except TimeoutError:
            self.counts.timed_out += 1
        except OSError:
            self.counts.lost += 1
        if connection.deframer.in_frame and not self._stopping:
            await self._refuse("truncated")

    async def _talk(self, connection: _Connection) -> None:
        """Read and answer until the peer has no more to say."""
        loop, deframer = asyncio.get_running_loop(), connection.deframer
        since = loop.time()
        while not self._stopping:
            was_open = deframer.in_frame
            limit = self.settings.frame_seconds if was_open else self.settings.idle_seconds
            async with asyncio.timeout_at(since + limit):
                data = await connection.reader.read(_READ_BYTES)
            if not data:
                break
            frames = deframer.feed(data)
            if frames:
                await self._handle(connection, frames)
            if frames or deframer.in_frame != was_open:
                since = loop.time()
            await self._bound(deframer)

    async def _bound(self, deframer: Deframer) -> None:
        """Close the connection where its message, or all open messages together, take too much."""
        if deframer.size > self.source.record_bytes * _SKIP_TIMES:
            await self._refuse("oversize")
            raise _Closing
        if deframer.held and sum(one.deframer.held for one in self._connections) > self.settings.memory_bytes:
            self.counts.turned_away += 1
            raise _Closing

    async def _handle(self, connection: _Connection, frames: list[Frame]) -> None:
        connection.busy = True
        try:
            answers = await self._answers(frames)
            connection.writer.write(b"".join(frame(one) for one in answers if one is not None))
            async with asyncio.timeout(self.settings.answer_seconds):
                await connection.writer.drain()
        finally:
            connection.busy = False

    async def _answers(self, frames: list[Frame]) -> list[bytes | None]:
        """Return the acknowledgement of each message once every one that is to be kept is durable."""
        verdicts = [(one.content, self._verdict(one)) for one in frames]
        kept = [self._land(content) for content, refusal in verdicts if refusal is None or refusal.code in KEPT]
        for outcome in await asyncio.gather(*kept, return_exceptions=True):
            if isinstance(outcome, BaseException):
                self.counts.failed += 1
                log.warning("%s: a message could not be landed: %s", self.source.id, type(outcome).__name__)
                raise _Closing
            self.counts.landed += outcome
            self.counts.repeats += not outcome
        for _, refusal in verdicts:
            if refusal is not None and refusal.code not in KEPT:
                await self._refuse(refusal.code)
        charset, enhanced = self.source.charset, self.settings.enhanced
        return [acknowledge(content, refusal, charset, enhanced) for content, refusal in verdicts]

    def _verdict(self, one: Frame) -> Refusal | None:
        if one.fault == "oversize":
            return oversize(self.source.record_bytes, "")
        if one.fault == "truncated":
            return _TRUNCATED
        return self._inspect(one.content)

    def _land(self, content: bytes) -> asyncio.Future[bool]:
        identity = native_id(content, self.source.charset)
        return self._landing.land(RawRecord(self.source.id, identity, content, "hl7v2", self._now(), "mllp"))

    async def _refuse(self, code: str) -> None:
        self.counts.refused[code] += 1
        await self._landing.call(self._refused, code)


def _answers(address: tuple[str, int]) -> bool:
    """Return whether a connection is taken there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _keep_alive(peer: socket.socket | None) -> None:
    """Let the kernel find out about a peer that is gone without a word, in about two minutes."""
    if peer is None:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close the connection; a peer that does not take the last bytes within a second loses them."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    writer.transport.abort()
