"""Exits 0 where one process of the region does its work, else 1 with a sentence; for health checks.

- ``healthy.py airflow PART``: the API server says that PART (``scheduler``, ``triggerer`` …) is healthy.
- ``healthy.py listen PORT``: something accepts connections on this container's PORT.
- ``healthy.py node SOCKET``: something accepts connections on a unix socket.
- ``healthy.py worker``: the worker's log server accepts connections, and the broker lets its account in.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

SECONDS = 5.0
WORKER_LOGS = 8793  # [logging] worker_log_server_port
BROKER = "/run/secrets/own/broker-url"


def airflow(part: str) -> None:
    """The API server calls one part of Airflow healthy.

    Raises:
        OSError: It does not, or it does not answer.
    """
    server = os.environ.get("XINGLIN_API_SERVER", "http://api-server:8080")
    with urllib.request.urlopen(f"{server}/api/v2/monitor/health", timeout=SECONDS) as answer:  # noqa: S310
        report = json.load(answer)
    if (status := report.get(part, {}).get("status")) != "healthy":
        raise OSError(f"{part} is {status}")


def listen(port: str) -> None:
    """A connection to a port of this container is accepted.

    Raises:
        OSError: It is not.
    """
    socket.create_connection(("127.0.0.1", int(port)), SECONDS).close()


def node(path: str) -> None:
    """A connection to a unix socket is accepted.

    Raises:
        OSError: It is not.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)


def worker() -> None:
    """The worker serves its logs, and the broker knows this institution's account.

    Raises:
        OSError: One of the two is not so.
    """
    listen(os.environ.get("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", str(WORKER_LOGS)))
    import redis

    url = Path(os.environ.get("XINGLIN_BROKER_URL_FILE", BROKER)).read_text(encoding="ascii").strip()
    try:
        with redis.Redis.from_url(url, socket_timeout=SECONDS) as broker:
            broker.ping()
    except redis.RedisError as error:
        raise OSError(f"broker: {type(error).__name__}") from None  # its text may hold the address


CHECKS: dict[str, Callable[..., None]] = {"airflow": airflow, "listen": listen, "node": node, "worker": worker}

if __name__ == "__main__":
    try:
        CHECKS[sys.argv[1]](*sys.argv[2:])
    except (OSError, ValueError) as fault:
        sys.exit(f"not healthy: {fault}")
