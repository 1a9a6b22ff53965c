"""A real mongod on this machine as a one-node replica set, owned by this process or kept by its pid file."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from console.region.errors import RegionError
from console.region.processes import Process, start

WAYS_OUT = (
    "Ways out: set MONGODB_URI to a MongoDB 6 or newer replica set, or put a mongod on PATH "
    "(the embedded one needs x86-64 Linux with libcurl 4 and libssl 3)."
)
REPLICA_SET = "xinglin"
START_SECONDS = 60.0


def find_mongod() -> Path:
    """Return a mongod that runs here: the one on PATH, or the one of the ``embedded`` extra.

    Raises:
        RegionError: There is none, or it does not start; the message names ``MONGODB_URI`` and PATH.
    """
    on_path = shutil.which("mongod")
    binary = Path(on_path) if on_path else _embedded()
    if binary is None:
        raise RegionError(
            f"No mongod for {platform.system()} {platform.machine()}: none on PATH and the embedded one is not "
            f"installed. {WAYS_OUT}"
        )
    probe = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False)
    if probe.returncode:
        fault = (probe.stderr or probe.stdout).strip().splitlines()
        raise RegionError(f"mongod does not run on this machine: {fault[-1] if fault else 'no output'}. {WAYS_OUT}")
    return binary


def _embedded() -> Path | None:
    """The wheel's binary, found without importing the wheel (which would run its code)."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    spec = importlib.util.find_spec("fiftyone")
    for root in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(root) / "db" / "bin" / "mongod"
        if binary.is_file():
            return binary
    return None


def free_port() -> int:
    """Return a TCP port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Mongod:
    """A running one-node replica set; ``uri`` is what clients connect to."""

    process: Process
    uri: str

    def stop(self, *, kill: bool = False) -> None:
        """The server has ended; with ``kill`` by SIGKILL, as a power cut would."""
        self.process.stop(kill=kill)


def start_mongod(folder: Path, port: int, *, cache_gb: float = 1.0) -> Mongod:
    """Start a mongod with its data in ``folder`` and wait until it is the primary of its replica set.

    Args:
        folder: Holds ``data/``, ``mongod.log`` and ``mongod.pid``; made where missing.
        port: On 127.0.0.1.
        cache_gb: WiredTiger cache in GiB.

    Raises:
        RegionError: It does not start within a minute; the message names the log.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    arguments = [
        str(find_mongod()), "--replSet", REPLICA_SET, "--bind_ip", "127.0.0.1", "--port", str(port),
        "--dbpath", str(folder / "data"), "--wiredTigerCacheSizeGB", str(cache_gb), "--oplogSize", "512",
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # What a killed writer left open is dropped soon, so that its successor need not wait a minute.
        "--setParameter", "transactionLifetimeLimitSeconds=15", "--nounixsocket",
    ]  # fmt: skip
    process = start("mongod", arguments, folder)
    uri = f"mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"
    try:
        _await_primary(process, port, folder)
    except BaseException:
        process.stop()
        raise
    return Mongod(process, uri)


def _await_primary(process: Process, port: int, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with MongoClient[dict[str, object]](
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500
    ) as client:
        while time.monotonic() < deadline:
            if not process.alive():
                raise RegionError(f"mongod ended while starting; see {folder / 'mongod.log'}. {WAYS_OUT}")
            with suppress(PyMongoError):  # not listening yet: ask again
                if client.admin.command("hello").get("isWritablePrimary"):
                    return
                _initiate(client, port)
            time.sleep(0.1)
    raise RegionError(f"mongod is not primary after {START_SECONDS:.0f} s; see {folder / 'mongod.log'}. {WAYS_OUT}")


def _initiate(client: MongoClient[dict[str, object]], port: int) -> None:
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    try:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
    except OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized: an earlier start did it
            raise
