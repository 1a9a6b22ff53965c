"""A small MQTT broker for the demonstration and the tests: 3.1.1 and 5, QoS 0 and 1, sessions that outlive connections.

It keeps what a subscriber missed, sends again what was not acknowledged (with DUP), never sends more than the
subscriber takes at a time, and carries its sessions over a restart, as a broker with persistence does. It does not keep
retained messages, wills or QoS 2. Why not a broker from PyPI: docs/decisions. The tests of the listener run against
Mosquitto as well.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from simulators import mqtt_packets as wire

#: What a subscriber of MQTT 3.1.1 gets at a time (Mosquitto's default).
_IN_FLIGHT: Final = 20
_FIVE: Final = 5
_BAD_CREDENTIALS: Final = {4: 4, 5: 134}


@dataclass(slots=True)
class Session:
    """What the broker keeps of one client.

    Attributes:
        filters: Topic filters and the QoS granted.
        waiting: Messages not sent yet, as (topic, payload).
        sent: Messages sent and not acknowledged, by packet id, in order.
        peer: The connection, or None.
        keep: Whether it outlives its connection.
    """

    filters: dict[str, int] = field(default_factory=dict)
    waiting: deque[tuple[str, bytes]] = field(default_factory=deque)
    sent: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    peer: _Peer | None = None
    keep: bool = False
    last_id: int = 0


@dataclass(eq=False, slots=True)
class _Peer:
    """One connection."""

    writer: asyncio.StreamWriter
    version: int
    in_flight: int
    session: Session


class Broker:
    """Runs in a thread of its own, on the loopback.

    Args:
        port: TCP port; 0 for any free one.
        users: Names and passwords that may connect; None for everybody.
        tls: How connections are encrypted, or None.
        sessions: Of an earlier broker that was stopped: this one goes on with them.

    Attributes:
        published: QoS 1 messages taken from publishers.
        delivered: QoS 1 messages acknowledged by subscribers.
        broken: Connections that ended without a DISCONNECT, by how.
    """

    def __init__(
        self,
        port: int = 0,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        sessions: dict[str, Session] | None = None,
    ) -> None:
        self.sessions = sessions if sessions is not None else {}
        self.published = self.delivered = 0
        self.broken: Counter[str] = Counter()
        self.port = port
        self._users = users
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="broker", daemon=True)
        self._ready = threading.Event()
        self._subscribed = threading.Condition()
        self._peers: set[_Peer] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """It listens."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Every connection is cut; ``sessions`` stay as they are."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def await_subscriber(self, client_id: str, seconds: float = 30.0) -> bool:
        """Return whether a client has subscribed, waiting for it: what nobody has subscribed to is lost."""
        with self._subscribed:
            return self._subscribed.wait_for(lambda: bool(self.sessions.get(client_id, Session()).filters), seconds)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for peer in self._peers:
            peer.session.peer = None
            peer.writer.transport.abort()
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        peer = None
        try:
            peer = await self._connect(reader, writer)
            while peer is not None and peer.session.peer is peer:
                packet = await wire.read(reader)
                if packet.kind == wire.DISCONNECT:
                    break
                self._handle(peer, packet)
                await writer.drain()
        except (OSError, wire.Malformed, asyncio.IncompleteReadError, asyncio.CancelledError) as ended:
            self.broken[type(ended).__name__] += 1
        finally:
            self._handlers.discard(task)
            if peer is not None:
                self._leave(peer)
            with suppress(OSError):
                writer.close()

    def _leave(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        if peer.session.peer is not peer:
            return
        peer.session.peer = None
        if not peer.session.keep:
            for name in [name for name, one in self.sessions.items() if one is peer.session]:
                del self.sessions[name]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Peer | None:
        packet = await wire.read(reader)
        if packet.kind != wire.CONNECT or packet.text() != "MQTT":
            raise wire.Malformed
        version, flags = packet.number(1), packet.number(1)
        packet.number()  # keep alive
        properties = packet.properties() if version == _FIVE else {}
        name = packet.text()
        user = packet.text() if flags & 0x80 else None
        password = packet.binary().decode("utf-8", "replace") if flags & 0x40 else None
        known = self._users is None or (user is not None and self._users.get(user) == password)
        session, present = self._session(name, bool(flags & 2)) if known else (Session(), False)
        code = 0 if known else _BAD_CREDENTIALS[version]
        body = bytes([int(present), code]) + (b"\0" if version == _FIVE else b"")
        writer.write(wire.packet(wire.CONNACK, body))
        if not known:
            await writer.drain()
            return None
        session.keep = properties.get(wire.SESSION_EXPIRY, 0) > 0 if version == _FIVE else not flags & 2
        in_flight = properties.get(wire.RECEIVE_MAXIMUM, 65_535) if version == _FIVE else _IN_FLIGHT
        peer = session.peer = _Peer(writer, version, in_flight, session)
        self._peers.add(peer)
        for id_, (topic, payload) in session.sent.items():
            writer.write(_publish(peer, topic, payload, id_, again=True))
        self._send(session)
        return peer

    def _session(self, name: str, clean: bool) -> tuple[Session, bool]:
        earlier = self.sessions.get(name)
        if earlier is not None and earlier.peer is not None:
            earlier.peer.writer.transport.abort()  # the same client connects anew (MQTT 5, 3.1.4)
            self._peers.discard(earlier.peer)
        if earlier is None or clean:
            self.sessions[name] = Session()
        return self.sessions[name], earlier is not None and not clean

    def _handle(self, peer: _Peer, packet: wire.Packet) -> None:
        if packet.kind == wire.PUBLISH:
            self._published(peer, packet)
        elif packet.kind == wire.PUBACK:
            if peer.session.sent.pop(packet.number(), None) is not None:
                self.delivered += 1
            self._send(peer.session)
        elif packet.kind == wire.SUBSCRIBE:
            self._subscribe(peer, packet)
        elif packet.kind == wire.PINGREQ:
            peer.writer.write(wire.packet(wire.PINGRESP, b""))
        else:
            raise wire.Malformed

    def _published(self, peer: _Peer, packet: wire.Packet) -> None:
        qos, topic = packet.flags >> 1 & 3, packet.text()
        if qos > 1:
            raise wire.Malformed
        id_ = packet.number() if qos else 0
        if peer.version == _FIVE:
            packet.properties()
        payload = packet.rest
        for session in list(self.sessions.values()):
            granted = [one for filter_, one in session.filters.items() if _matches(filter_, topic)]
            if granted and qos and max(granted):
                session.waiting.append((topic, payload))
                self._send(session)
            elif granted and session.peer is not None:
                session.peer.writer.write(_publish(session.peer, topic, payload, 0))
        if qos:
            self.published += 1
            peer.writer.write(wire.packet(wire.PUBACK, struct.pack(">H", id_)))

    def _subscribe(self, peer: _Peer, packet: wire.Packet) -> None:
        id_ = packet.number()
        if peer.version == _FIVE:
            packet.properties()
        granted = bytearray()
        while packet.rest:
            filter_ = packet.text()
            granted.append(min(1, packet.number(1) & 3))
            peer.session.filters[filter_] = granted[-1]
        properties = b"\0" if peer.version == _FIVE else b""
        peer.writer.write(wire.packet(wire.SUBACK, struct.pack(">H", id_) + properties + granted))
        with self._subscribed:
            self._subscribed.notify_all()

    def _send(self, session: Session) -> None:
        """What waits is sent, as far as the subscriber takes it."""
        peer = session.peer
        while peer is not None and session.waiting and len(session.sent) < peer.in_flight:
            message = session.waiting.popleft()
            while session.last_id == 0 or session.last_id in session.sent:
                session.last_id = session.last_id % 65_535 + 1
            id_ = session.last_id
            session.last_id = id_ % 65_535 + 1
            session.sent[id_] = message
            peer.writer.write(_publish(peer, *message, id_))


def _publish(peer: _Peer, topic: str, payload: bytes, id_: int, again: bool = False) -> bytes:
    head = wire.text(topic) + (struct.pack(">H", id_) if id_ else b"") + (b"\0" if peer.version == _FIVE else b"")
    return wire.packet(wire.PUBLISH, head + payload, (8 if again else 0) | (2 if id_ else 0))


def _matches(filter_: str, topic: str) -> bool:
    wanted, levels = filter_.split("/"), topic.split("/")
    for at, one in enumerate(wanted):
        if one == "#":
            return True
        if at >= len(levels) or one not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)
