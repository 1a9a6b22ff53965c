"""The interface on a port: uvicorn, with the bounds that it leaves open closed (section 13)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ledger.serving.guard import Limits

MAX_HEAD_BYTES = 16 << 10
MAX_CONNECTIONS = 256
START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the interface listens.

    Attributes:
        host: Address; this machine alone by default.
        port: 0 takes a free one.
        certificate: PEM file of a TLS certificate chain; None speaks plain HTTP.
        key: PEM file of its key.
        client_ca: PEM file; where given, only clients with a certificate of this CA are answered.
    """

    host: str = "127.0.0.1"
    port: int = 8470
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


def make_server(app: FastAPI, at: Listening, limits: Limits | None = None) -> uvicorn.Server:
    """Return a server that is not running yet."""
    bounds = limits or Limits()
    tls: dict[str, Any] = {}
    if at.certificate is not None:
        tls = {"ssl_certfile": at.certificate, "ssl_keyfile": at.key}
        if at.client_ca is not None:
            import ssl

            tls |= {"ssl_ca_certs": str(at.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=at.host,
            port=at.port,
            http=_patient_for(bounds),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=max(1, int(bounds.request_seconds)),
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            **tls,
        )
    )


def _patient_for(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with an end to its patience: a connection is cut that is not served in time.

    uvicorn waits for ever for the first request of a connection, for the rest of one begun, and for a client to read:
    256 clients that move a byte a minute would shut everybody out.
    """

    class Patient(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._within(limits.request_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                self._within(limits.answer_seconds + 1)

        def on_response_complete(self) -> None:
            self._within(limits.request_seconds)
            super().on_response_complete()

        def _within(self, seconds: float) -> None:
            self._stop()
            self._late = self.loop.call_later(seconds, self.transport.abort)

        def _stop(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return cast("type[asyncio.Protocol]", Patient)


@contextmanager
def running(server: uvicorn.Server) -> Iterator[int]:
    """The server answers in a thread of its own meanwhile; yields its port."""
    thread = threading.Thread(target=server.run, name="ledger-http", daemon=True)
    thread.start()
    try:
        yield _port(server, thread)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)


def _port(server: uvicorn.Server, thread: threading.Thread) -> int:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.02)):
        if server.started:
            return int(server.servers[0].sockets[0].getsockname()[1])
        if not thread.is_alive():
            break
        pause.wait(0.02)
    raise OSError("the interface could not listen; is its port taken?")
