"""Airflow's interface answers 500 while its SQLite is locked; whoever asks gets the answer that comes after."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from console.region.airflow import PatientTransport


def test_an_interface_that_is_busy_twice_is_asked_a_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientTransport, "pause_seconds", 0.0)
    bodies: list[bytes] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if len(bodies) < 3 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Busy)
    Thread(target=server.serve_forever, daemon=True).start()
    with httpx.Client(transport=PatientTransport()) as client:
        answer = client.post(f"http://127.0.0.1:{server.server_port}/x", json={"a": 1})
    server.shutdown()
    server.server_close()
    assert answer.status_code == 200
    assert len(bodies) == 3
    assert set(bodies) == {b'{"a":1}'}
