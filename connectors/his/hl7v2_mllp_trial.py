"""An MLLP listener under trial: one of our own with the source's settings, and a sender with made-up messages."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from connectors.conformance_listening import ListeningTrial, Memory, serving
from connectors.his.hl7v2_mllp import Listener, log
from connectors.his.mllp import END, frame
from connectors.listening import Inspect
from schemas.source import Source

_TLS: Final = ("certificate", "key", "client_ca")
_SECONDS: Final = 5.0
_ACCEPTED: Final = (b"AA", b"CA")


@contextmanager
def trial(source: Source, home: Path, inspect: Inspect) -> Iterator[ListeningTrial]:
    """Yield a listener on a free port of this machine; where the source asks for certificates, one with TLS as well."""
    memory, plain = Memory(), {name: value for name, value in source.settings.items() if name not in _TLS}
    with ExitStack() as stack:
        port = stack.enter_context(_listening(_own(source, plain), home, memory, inspect))
        unproved: Callable[[bytes], bytes | None] | None = None
        if source.settings.get("client_ca"):
            closed = stack.enter_context(_listening(_own(source, dict(source.settings)), home, memory, inspect))
            unproved = lambda message: _deliver(closed, message, _no_certificate())  # noqa: E731
        yield ListeningTrial(
            lambda message: _deliver(port, message),
            _accepted,
            lambda: list(memory.contents),
            memory.break_landing,
            [_message(f"XL{number}", "ADT^A08^ADT_A01") for number in range(3)],
            {
                "an event that nobody mapped": _message("XL3", "ZZZ^Z99"),
                "no control id": _message("", "ADT^A08^ADT_A01"),
                "a version that HL7 never had": _message("XL4", "ADT^A08^ADT_A01", "9.9"),
                "bytes that are no HL7": b"GET / HTTP/1.1",
            },
            unproved,
        )


def _own(source: Source, settings: dict[str, object]) -> Source:
    return replace(source, settings={**settings, "host": "127.0.0.1", "port": 0})


def _message(control_id: str, event: str, version: str = "2.5") -> bytes:
    """Return a message about nobody, as hl7apy writes it."""
    from hl7apy.core import Message

    made = Message("ADT_A01", version="2.5")
    made.msh.msh_3, made.msh.msh_4 = "XINGLIN", "CERTIFY"
    made.msh.msh_7, made.msh.msh_9, made.msh.msh_10 = "20260101080000+0800", event, control_id
    made.msh.msh_11, made.msh.msh_12 = "T", version
    made.evn.evn_2 = "20260101080000+0800"
    made.pid.pid_3, made.pid.pid_5 = f"CERTIFY{control_id}^^^XINGLIN^MR", "XINGLIN^CERTIFY"
    made.pv1.pv1_2 = "O"
    return f"{made.to_er7()}\r".encode()


def _accepted(answer: bytes) -> bool:
    """Whether MSA-1 tells the sender that its message is kept."""
    codes = [line[4:6] for line in answer.split(b"\r") if line.startswith(b"MSA")]
    return bool(codes) and codes[0] in _ACCEPTED


def _no_certificate() -> ssl.SSLContext:
    """Return how a sender connects that shows no certificate and asks for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _deliver(port: int, message: bytes, tls: ssl.SSLContext | None = None) -> bytes | None:
    """Return the answer to one message on a connection of its own, or None where the listener closes without one."""
    data = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as plain, ExitStack() as stack:
            peer = plain if tls is None else stack.enter_context(tls.wrap_socket(plain))
            peer.sendall(frame(message))
            while END not in data:
                if not (chunk := peer.recv(65_536)):
                    return None
                data += chunk
    except OSError:
        return None
    return data.strip(b"\x0b\x1c\r")


@contextmanager
def _listening(source: Source, home: Path, memory: Memory, inspect: Inspect) -> Iterator[int]:
    """Yield the port of a listener that runs until the context ends; its troubles, made on purpose, are not logged."""
    listener = Listener(source, home, memory.land_many, inspect, lambda _: None)
    with serving(listener, _SECONDS) as thread:

        def others(record: logging.LogRecord) -> bool:
            return record.threadName != thread.name

        log.addFilter(others)
        try:
            yield listener.port
        finally:
            log.removeFilter(others)
