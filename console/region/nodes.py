"""The nodes of the embedded region over HTTP: one process shows every replica of this machine, read-only.

    python -m console.region.nodes

In a region each institution runs `xinglin node serve` beside its own database.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from console.region.errors import RegionError
from console.region.founding import institutions_here
from console.region.mongod import free_port
from console.region.processes import Process, running, start, write
from schemas.home import Home
from schemas.region import load_region

START_SECONDS = 60.0


def node_urls(home: Home) -> dict[str, str]:
    """Return the address of each institution's node that was given a port here, in order of id."""
    kept = _kept(home)
    ports = json.loads(kept.read_text(encoding="ascii")) if kept.exists() else {}
    return {name: f"http://127.0.0.1:{port}" for name, port in sorted(ports.items())}


def _kept(home: Home) -> Path:
    return home.path / "nodes" / "ports.json"


def start_nodes(home: Home, environment: dict[str, str]) -> Process:
    """Every node of this home answers, at the ports it has had since its first start.

    Raises:
        RegionError: They do not within a minute.
    """
    folder = home.path / "nodes"
    folder.mkdir(parents=True, exist_ok=True)
    process = running("nodes", folder)
    if process is None:
        known = {name: int(url.rpartition(":")[2]) for name, url in node_urls(home).items()}
        ports = {name: known.get(name) or free_port() for name in institutions_here(home, load_region(home.region))}
        write(_kept(home), json.dumps(ports).encode())
        process = start("nodes", [sys.executable, "-m", "console.region.nodes"], folder, environment)
    _await(process, home, folder)
    return process


def _await(process: Process, home: Home, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = list(node_urls(home).values())
    with httpx.Client(timeout=5, trust_env=False) as client:
        while waiting:
            if not process.alive() or time.monotonic() > deadline:
                raise RegionError(f"the nodes' HTTP interfaces do not answer; see {folder / 'nodes.log'}")
            try:
                if client.get(f"{waiting[0]}/v1/status").status_code == httpx.codes.OK:
                    del waiting[0]
            except httpx.HTTPError:
                time.sleep(0.1)


def main() -> None:
    """Serve until SIGTERM."""
    from dags.steps.site import Site
    from ledger.serving.application import make_app
    from ledger.serving.opening import open_served
    from ledger.serving.server import Listening, make_server
    from ledger.serving.server import running as serving

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    home = Home.from_environment()
    at = Site(home)
    with ExitStack() as stack:
        for name, url in node_urls(home).items():
            served = open_served(home, name, at.client, at.exchange)
            where = Listening(port=int(url.rpartition(":")[2]))
            stack.enter_context(serving(make_server(make_app(served), where)))
        stop.wait()


if __name__ == "__main__":
    main()
