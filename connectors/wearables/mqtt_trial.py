"""An MQTT subscriber under trial: one of our own with the source's settings, and the broker's end of one connection.

MQTT's sender is the broker: what it relies on is that PUBACK means that the message is kept. The broker here serves one
subscriber and nothing else; the hospital's broker and the source's session there are not touched.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Final

from connectors.conformance_listening import ListeningTrial, Memory, serving
from connectors.wearables.mqtt import MqttListener
from schemas.source import Source

_SECONDS: Final = 3.0
#: Settings of the hospital's own broker, of no use at this one.
_THEIRS: Final = ("tls", "ca", "certificate", "key_secret", "username", "password_secret", "port")
_CONNECT, _PUBACK, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 1, 4, 8, 12, 14


class _Broker:
    """Serves one subscriber of MQTT 3.1.1 (OASIS, chapter 3)."""

    def __init__(self, topic: str) -> None:
        self._topic = topic.encode()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._peer: socket.socket | None = None
        self._acknowledged: set[int] = set()
        self._changed = Condition()
        self._last = 0
        self.subscribed = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def deliver(self, record: bytes) -> bytes | None:
        """Send one message with QoS 1; return ``PUBACK`` once it is acknowledged, or None where that does not come."""
        if not self.subscribed.wait(_SECONDS) or self._peer is None:
            return None
        self._last += 1
        body = struct.pack(">H", len(self._topic)) + self._topic + struct.pack(">H", self._last) + record
        with suppress(OSError):
            self._peer.sendall(b"\x32" + _length(len(body)) + body)
        with self._changed:
            came = self._changed.wait_for(lambda: self._last in self._acknowledged, _SECONDS)
        return b"PUBACK" if came else None

    def close(self) -> None:
        """Every connection ends."""
        for one in (self._peer, self._server):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._thread.join(_SECONDS)

    def _serve(self) -> None:
        with suppress(OSError):
            self._peer, _ = self._server.accept()
            with self._peer.makefile("rb") as stream:
                while head := stream.read(1):
                    length = shift = 0
                    while True:
                        byte = stream.read(1)[0]
                        length |= (byte & 127) << shift
                        shift += 7
                        if not byte & 128:
                            break
                    self._take(head[0] >> 4, stream.read(length), self._peer)

    def _take(self, kind: int, body: bytes, peer: socket.socket) -> None:
        if kind == _CONNECT:
            peer.sendall(b"\x20\x02\x00\x00")
        elif kind == _SUBSCRIBE:
            count, at = 0, 2
            while at < len(body):
                at += 3 + int.from_bytes(body[at : at + 2], "big")
                count += 1
            peer.sendall(b"\x90" + _length(2 + count) + body[:2] + b"\x01" * count)
            self.subscribed.set()
        elif kind == _PUBACK:
            with self._changed:
                self._acknowledged.add(int.from_bytes(body[:2], "big"))
                self._changed.notify_all()
        elif kind == _PINGREQ:
            peer.sendall(b"\xd0\x00")
        elif kind == _DISCONNECT:
            peer.shutdown(socket.SHUT_RDWR)


def _length(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


@contextmanager
def trial(source: Source, home: Path) -> Iterator[ListeningTrial]:
    """Yield a subscriber of this source's settings and a broker for it on this machine."""
    settings = {name: value for name, value in source.settings.items() if name not in _THEIRS}
    filters = settings.get("topics")
    first = filters[0] if isinstance(filters, list) else str(filters)
    memory = Memory()
    with ExitStack() as stack:
        broker = _Broker(first.replace("+", "trial").replace("#", "trial"))
        stack.callback(broker.close)
        own = replace(source, settings={**settings, "host": "127.0.0.1", "port": broker.port, "version": "3.1.1"})
        listener = MqttListener(own, home, memory.land_many, lambda _: None, lambda _: None)
        stack.enter_context(serving(listener, _SECONDS))
        broker.subscribed.wait(_SECONDS)
        yield ListeningTrial(
            broker.deliver,
            lambda answer: answer == b"PUBACK",
            lambda: [_payload(one) for one in memory.contents],
            memory.break_landing,
            [b'{"a record of the trial": %d}' % number for number in range(3)],
            {},
        )


def _payload(content: bytes) -> bytes:
    """Return what was published: the user's id that a topic level says stands before it."""
    return content[content.find(b"{") :]
