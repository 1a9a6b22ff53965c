"""A real HTTP server on loopback that answers as a test says, however a node should not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Answer = Callable[[BaseHTTPRequestHandler], None]
CHAIN, BLOCK = "c" * 64, "b" * 64


def status(**changes: object) -> dict[str, Any]:
    """A status that reads well, with some fields changed."""
    return {
        "institution": "hospital-east", "region": "杏林示范区", "chain_id": CHAIN, "height": 2, "block_id": BLOCK,
        "timestamp_ms": 1_793_462_400_000, "epoch": 0, "next_producer": "lab-centre", "halted": None, **changes,
    }  # fmt: skip


def block(height: int = 2, **changes: object) -> dict[str, Any]:
    """A line of a block that reads well, with some fields changed."""
    return {
        "height": height, "block_id": BLOCK, "timestamp_ms": 1_793_462_400_000, "epoch": 0, "builder": "lab-centre",
        "build_round": 0, "entries": 3, "transactions": 1, "evidence": 0, "signers": ["hospital-east"],
        "absent": ["nursing-home"], "weight": 11, "of": 12, **changes,
    }  # fmt: skip


def member(**changes: object) -> dict[str, Any]:
    """A member that reads well, with some fields changed."""
    return {
        "id": "hospital-east", "name": "东城医院", "class": "A", "role": "producer", "weight": 3, "standing": "active",
        "credit": 600, **changes,
    }  # fmt: skip


def whole(**changes: Any) -> dict[str, Any]:
    """Every answer the page asks for, by path; ``changes`` name them by the last word of their path."""
    made = {
        "status": status(),
        "blocks": {"blocks": [block(1), block(2)]},
        "members": {"members": [member()]},
        "credit": {"epochs": [{"epoch": 0, "scores": {"hospital-east": 600}}]},
        "pending": {"batches": []},
    } | changes
    return {f"/v1/{name}": value for name, value in made.items()}


def says(value: object, code: int = 200) -> Answer:
    """An answer of this JSON, or of these bytes."""
    data = value if isinstance(value, bytes) else orjson.dumps(value)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An answer that never ends, as fast as it is taken."""
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while True:
            handler.wfile.write(b"[" * 65_536)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """An answer of a byte now and then: no single wait is long."""
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        for _ in range(300):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)


def elsewhere(address: str) -> Answer:
    """A redirect to another address."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def node(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield a server's address and what it was asked; it answers by path, with JSON values or as functions do."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = answers.get(self.path.partition("?")[0])
            answer = found if callable(found) else says({"error": {}}, 404) if found is None else says(found)
            answer(self)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
