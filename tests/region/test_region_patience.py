"""Airflow's interface answers 500, or nothing, while its SQLite is locked; whoever asks gets the answer that comes."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from threading import Event, Thread

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


@pytest.mark.parametrize(("method", "asked"), [("PATCH", 2), ("POST", 1)])
def test_silence_is_asked_again_unless_the_question_may_have_been_heard(method: str, asked: int) -> None:
    heard: list[str] = []
    go_on = Event()

    class Silent(BaseHTTPRequestHandler):
        def answer(self) -> None:
            heard.append(self.command)
            self.rfile.read(int(self.headers["Content-Length"]))
            if len(heard) == 1:
                go_on.wait(5)
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PATCH = do_POST = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    with httpx.Client(transport=PatientTransport(), timeout=0.3) as client:
        try:
            answered = client.request(method, f"http://127.0.0.1:{server.server_port}/x", json={"a": 1}).status_code
        except httpx.ReadTimeout:
            answered = 0
    go_on.set()
    server.shutdown()
    server.server_close()
    assert answered == (200 if asked == 2 else 0)
    assert heard == [method] * asked
