"""deploy/healthy.py tells a working process from one that is not, and says why."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthy.py"


class Report(BaseHTTPRequestHandler):
    """Answers as Airflow's API server does."""

    def do_GET(self) -> None:
        body = json.dumps({"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}).encode()
        self.send_response(200 if self.path == "/api/v2/monitor/health" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is enough."""


@pytest.fixture
def api_server() -> Iterator[str]:
    """Address of something that answers like the API server."""
    with HTTPServer(("127.0.0.1", 0), Report) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def check(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the check as a container does; return exit code and what it says."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_healthy_part_of_airflow_is_healthy(api_server: str) -> None:
    assert check("airflow", "scheduler", XINGLIN_API_SERVER=api_server) == (0, "")


@pytest.mark.parametrize(("part", "why"), [("triggerer", "triggerer is unhealthy"), ("dag_processor", "is None")])
def test_a_part_that_the_api_server_does_not_call_healthy_is_not(api_server: str, part: str, why: str) -> None:
    code, said = check("airflow", part, XINGLIN_API_SERVER=api_server)
    assert code == 1
    assert why in said


def test_a_listening_port_is_healthy_and_a_closed_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert check("listen", str(port)) == (0, "")
    code, said = check("listen", str(port))
    assert code == 1
    assert "refused" in said


def test_a_worker_that_serves_no_logs_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, said = check("worker", AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(port))
    assert code == 1
    assert "not healthy" in said


def test_a_node_is_healthy_as_long_as_something_listens_at_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    assert check("node", str(path))[0] == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        assert check("node", str(path))[0] == 0
    assert check("node", str(path))[0] == 1, "a killed node leaves its socket's file"
