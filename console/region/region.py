"""The whole region on this machine: mongod, Airflow, listeners; started in order, stopped in reverse."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from connectors import listens_at, mode
from console.region.airflow import Airflow
from console.region.errors import RegionError
from console.region.founding import found
from console.region.mongod import free_port, start_mongod
from console.region.nodes import start_nodes
from console.region.peers import address, simulated, start_peers
from console.region.processes import Process, alone, running, start, write
from schemas.home import Home
from schemas.source import Source, load_sources
from simulators.peers import serves

Say = Callable[[str], None]
FIRST_PORTS = {"airflow": 8080, "mongo": 27117}
LISTEN_SECONDS = 60.0


def up(home: Home, say: Say) -> Airflow:
    """The region runs: database, Airflow, one listener process for all sources that send by themselves.

    What runs already stays as it is, also what another ``up`` at the same time has started. ``say`` is told each step
    as it begins. Nobody but this user may look into the home from here on.

    Raises:
        RegionError: Something does not start; what this call had started keeps running for a look.
    """
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.path.chmod(0o700)
    with alone(home.path):
        return _up(home, say)


def _up(home: Home, say: Say) -> Airflow:
    say("keys, genesis and trust anchor")
    found(home)
    _make_folders(home)
    if not {"MONGODB_URI", "MONGODB_URI_FILE"} & os.environ.keys() and running("mongod", home.path / "mongo") is None:
        say("MongoDB, a replica set of one")
        _start_mongod(home)
    airflow = Airflow(home, _port(home, "airflow"))
    if simulated(home):
        say("simulated image archives, FHIR server and broker")
        _start_peers(home, airflow.environment())
    say("the nodes' HTTP interfaces")
    start_nodes(home, airflow.environment())
    say(f"Airflow at {airflow.address}")
    if airflow.process("api-server") is None:
        _free("Airflow", ("127.0.0.1", airflow.port), home.path / "airflow.port")
    airflow.start()
    _pools(airflow, load_sources(home.sources))
    say("listeners of the sources that send by themselves")
    start_listeners(home, airflow.environment())
    return airflow


def _start_peers(home: Home, environment: dict[str, str]) -> None:
    if running("peers", home.path / "peers") is None:
        for source in serves(load_sources(home.sources)):
            _free(source.id, address(source), home.sources / f"{source.id}.yaml")
    start_peers(home, environment)


def down(home: Home) -> list[str]:
    """Nothing of the region runs; returns the names of what was stopped."""
    if not home.path.is_dir():
        return []
    with alone(home.path):
        return _down(home)


def _down(home: Home) -> list[str]:
    stopped = []
    listeners = running("listen", home.path / "listen")
    if listeners is not None:
        listeners.stop()
        stopped.append("listeners")
    airflow = Airflow(home, 0)
    if any(airflow.process(name) for name in ("scheduler", "api-server", "triggerer", "dag-processor")):
        airflow.stop()
        stopped.append("Airflow")
    others = ("nodes", "nodes", "nodes"), ("peers", "peers", "simulated systems"), ("mongod", "mongo", "MongoDB")
    for name, folder, called in others:
        if (process := running(name, home.path / folder)) is not None:
            process.stop()
            stopped.append(called)
    return stopped


def follow_sources(home: Home, listeners: bool) -> Airflow:
    """What runs of the region follows its sources as their files are now: pools, DAGs and, if asked, listeners.

    Raises:
        RegionError: Airflow does not take the pools, or a listener does not listen.
    """
    airflow = Airflow(home, _port(home, "airflow"))
    _pools(airflow, load_sources(home.sources))
    if listeners:
        if (process := running("listen", home.path / "listen")) is not None:
            process.stop()
        start_listeners(home, airflow.environment())
    with airflow.client() as client:
        found = client.get("/api/v2/dags", params={"tags": ["ingest"], "limit": 1}).json().get("dags", [])
        for dag in found:  # all of them stand in one file: Airflow reads it again now, not at its next round
            client.put(f"/api/v2/parseDagFile/{dag['file_token']}")
    return airflow


def is_up(home: Home) -> bool:
    """Whether the scheduler of this home runs."""
    return running("scheduler", home.path / "airflow") is not None


def start_listeners(home: Home, environment: dict[str, str]) -> Process | None:
    """One process listens for every source of this home that sends; None where there is no such source."""
    sources = [source for source in load_sources(home.sources) if mode(source) == "listen"]
    if not sources:
        return None
    folder = home.path / "listen"
    process = running("listen", folder)
    if process is None:
        for source in sources:
            if (address := listens_at(source)) is not None:
                _free(source.id, address, Path(f"settings.port of sources/{source.id}.yaml"))
        command = [sys.executable, "-m", "console.main", "listen", *(source.id for source in sources)]
        process = start("listen", command, folder, environment)
    _await_listening(process, sources, folder)
    return process


def _await_listening(process: Process, sources: list[Source], folder: Path) -> None:
    deadline = time.monotonic() + LISTEN_SECONDS
    for source in sources:
        address = listens_at(source)
        while address is not None and not _answers(address):
            if not process.alive() or time.monotonic() > deadline:
                raise RegionError(f"the listener of {source.id} does not listen; see {folder / 'listen.log'}")
            time.sleep(0.1)


def _free(what: str, address: tuple[str, int], kept: Path) -> None:
    """Raise RegionError where somebody answers at an address: ours would end, and theirs be taken for it."""
    if _answers(address):
        raise RegionError(f"{what}: another program listens on port {address[1]}; stop it, or change {kept}")


def _answers(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _start_mongod(home: Home) -> None:
    folder, port = home.path / "mongo", _port(home, "mongo")
    _free("MongoDB", ("127.0.0.1", port), home.path / "mongo.port")
    server = start_mongod(folder, port)
    write(folder / "uri", f"{server.uri}\n".encode())


def _make_folders(home: Home) -> None:
    """The drop folders that lie inside the home are there; those of a hospital are the hospital's to make."""
    for source in load_sources(home.sources):
        folder = source.settings.get("folder")
        if folder is not None and not Path(folder).is_absolute():
            (home.path / folder).mkdir(parents=True, exist_ok=True)


def _port(home: Home, name: str) -> int:
    """The port this home uses: as kept from its first start, else the usual one, else a free one."""
    kept = home.path / f"{name}.port"
    if kept.exists():
        return int(kept.read_text(encoding="ascii"))
    usual = int(os.environ.get(f"XINGLIN_{name.upper()}_PORT", FIRST_PORTS[name]))
    port = free_port() if _answers(("127.0.0.1", usual)) else usual
    write(kept, str(port).encode())
    return port


def _pools(airflow: Airflow, sources: tuple[Source, ...]) -> None:
    """Every source has its pool, so that one that floods cannot starve the others."""
    actions = [{"action": "create", "action_on_existence": "overwrite", "entities": pools(sources)}]
    try:
        with airflow.client() as client:
            client.patch("/api/v2/pools", json={"actions": actions}).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise RegionError(f"Airflow does not take the pools: HTTP {error.response.status_code}") from None
    except httpx.TransportError as error:
        raise RegionError(f"Airflow does not take the pools: {type(error).__name__}; see {airflow.folder}") from None


def pools(sources: tuple[Source, ...]) -> list[dict[str, object]]:
    """Return the pools that the DAGs name, as Airflow imports them; one slot keeps a source's batches in order."""
    named = [(f"source-{source.id}", f"tasks of {source.id}") for source in sources]
    return [
        {"name": name, "slots": 1, "description": what, "include_deferred": False}
        for name, what in [*named, ("backfill", "what is read again from the past, behind all that arrives")]
    ]
