"""The home of a node that runs as a process of its own, and the process, as an institution would start it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from killed import child_environment
from region_simulation import RegionSimulation

from ledger.agreement.votes import VoteStore
from ledger.errors import Unreachable
from ledger.opening import KEY_FILE, VOTES_FILE
from ledger.remote.client import RemoteNode

PASSWORD = b"correct horse"
#: A user with no rights; a node never is root, where the tests are.
NOBODY = 65_534


class NodeHome:
    """A home with one institution's key, and the commands that concern its node."""

    def __init__(self, region: RegionSimulation, institution: str, path: Path, mongo_uri: str) -> None:
        self.institution, self.path, self.genesis = institution, path, region.genesis
        self.keys = path / "keys" / institution
        self.keys.mkdir(parents=True, mode=0o700)
        self.socket = path / "node" / "node.sock"
        self.votes = self.keys / VOTES_FILE
        (self.keys / KEY_FILE).write_bytes(region.keys[institution].to_pem(PASSWORD))
        (self.keys / "password").write_bytes(PASSWORD)
        VoteStore.create(self.votes, region.keys[institution].public).close()
        (path / "genesis.bin").write_bytes(region.genesis.encode())
        for one in self.keys.iterdir():
            one.chmod(0o600)
        self.environment = {
            **child_environment(),
            "XINGLIN_HOME": str(path),
            "XINGLIN_NODE": institution,
            "MONGODB_URI": mongo_uri,
        }
        self.ends: list[int] = []  # how the processes that ran here ended
        self.give()

    def give(self) -> None:
        """Everything belongs to the user that the node becomes."""
        if os.geteuid() == 0:
            for one in (self.path, *self.path.rglob("*")):
                os.chown(one, NOBODY, NOBODY)

    def command(self, *arguments: str) -> list[str]:
        user = ["--user", str(NOBODY)] if os.geteuid() == 0 and arguments[0] == "run" else []
        return [sys.executable, "-m", "console.main", "node", *arguments, *user]

    def ended(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), env={**self.environment, **environment},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def client(self, patience: float = 20.0) -> RemoteNode:
        return RemoteNode(self.socket, self.institution, self.genesis.chain_id, patience=patience, seconds=60.0)

    @contextmanager
    def running(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """The node runs and answers; whatever is left of it is gone afterwards."""
        process = subprocess.Popen(
            self.command("run", *arguments), env={**self.environment, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            self._await(process)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=30)
            self.ends.append(process.returncode)

    def _await(self, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            if process.poll() is not None:
                raise AssertionError(f"the node ended: {process.stdout.read() if process.stdout else ''}")
            try:
                _ = self.client(patience=0.0).height
            except Unreachable:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the node did not answer in time")


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that any user reaches, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="xn"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        rmtree(folder)
