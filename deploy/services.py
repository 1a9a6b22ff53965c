"""Servers of Debian for the tests marked `services`: started in a folder of their own, told by environment, stopped.

    python deploy/services.py [pytest arguments]

installs what is missing where it may (root on Debian), starts each server on a free port of the loopback as a user that
is not root, runs ``pytest -m services`` with their addresses in the environment, and stops exactly what it started. A
server more is one class more in ``SERVERS``.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).parent.parent
#: Seconds that a server may take to start or stop.
PATIENCE = 60


class Server(ABC):
    """One server.

    Args:
        folder: An empty folder of its own.
        user: Who runs it, or None for whoever runs this.
    """

    #: Debian packages that hold it, and a program that is there once they are.
    packages: ClassVar[tuple[str, ...]]
    program: ClassVar[str]
    #: Debian's user for it, taken where root runs this.
    account: ClassVar[str] = "nobody"
    #: Signal that makes it stop orderly.
    farewell: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, user: str | None = None) -> None:
        self.folder = folder
        self.user = user
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls, program: str = "") -> str | None:
        """Return where a program of the server is, or None."""
        program = program or cls.program
        found = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)]
        return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])) or next(
            iter(found), None
        )

    def prepare(self) -> None:  # noqa: B027  (not every server needs it)
        """What must stand in the folder before the first start stands there."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it in the foreground."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the variables by which tests find it."""

    def ready(self) -> bool:
        """Whether it answers."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> None:
        """It answers on its port; what it says goes to ``log`` in its folder."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, user=self.user, start_new_session=True
            )
        until = time.monotonic() + PATIENCE
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "log").read_text(errors="replace")[-2_000:]
                self.stop()
                raise RuntimeError(f"{type(self).__name__} does not start: {said}")
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """It has ended, orderly or at once; its folder stays."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else self.farewell)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def run(self, *command: str) -> None:
        """Run a program as the server's user.

        Raises:
            RuntimeError: It failed; the message ends with what it said.
        """
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, user=self.user)
        if done.returncode:
            raise RuntimeError(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-2_000:]}")


class Postgres(Server):
    """PostgreSQL, with passwords."""

    packages = ("postgresql",)
    program = "postgres"
    account = "postgres"
    farewell = signal.SIGINT  # fast shutdown: clients are sent away

    def prepare(self) -> None:
        """A cluster in UTF-8, ordered by bytes, whose superuser has a password."""
        self.password = secrets.token_urlsafe(12)
        given = self.folder / "password"
        given.write_text(self.password)
        if self.user:
            shutil.chown(given, self.user)
        self.run(
            str(self.find("initdb")), "-D", str(self.folder / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={given}", "--no-sync",
        )  # fmt: skip

    def command(self) -> list[str]:
        """Return what starts it."""
        return [
            str(self.find()), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB",
        ]  # fmt: skip

    def ready(self) -> bool:
        """Whether it takes connections; its port opens before it does."""
        program = str(self.find("pg_isready"))
        done = subprocess.run([program, "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False)
        return done.returncode == 0

    def environment(self) -> dict[str, str]:
        """Return a SQLAlchemy URL of the superuser."""
        return {
            "XINGLIN_TEST_POSTGRES_URL": f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/postgres"
        }


class MariaDb(Server):
    """MariaDB, whose superuser needs no password on its own loopback port."""

    packages = ("mariadb-server",)
    program = "mariadbd"
    account = "mysql"

    def prepare(self) -> None:
        """An empty data folder."""
        self.run(
            str(self.find("mariadb-install-db")), "--no-defaults", f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip

    def command(self) -> list[str]:
        """Return what starts it; dates of zeros are taken, as in the databases of hospitals."""
        return [
            str(self.find()), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.folder / 'socket'}", "--skip-log-bin", "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M", "--sql-mode=",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return a SQLAlchemy URL of the superuser."""
        return {"XINGLIN_TEST_MARIADB_URL": f"mysql+pymysql://root@127.0.0.1:{self.port}/mysql"}


class Orthanc(Server):
    """Orthanc, an archive that speaks DIMSE and, by its plugin, DICOMweb; its port is HTTP's."""

    packages = ("orthanc", "orthanc-dicomweb")
    program = "Orthanc"
    account = "orthanc"

    def prepare(self) -> None:
        """A configuration that knows us by AE title, with a port to which it delivers what it moves."""
        self.dicom_port, self.move_port = free_port(), free_port()
        plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
        settings = {
            "StorageDirectory": str(self.folder / "data"), "IndexDirectory": str(self.folder / "data"),
            "Plugins": [str(plugin)], "HttpPort": self.port, "DicomPort": self.dicom_port, "DicomAet": "ORTHANC",
            "DefaultEncoding": "Utf8",
            "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {"pacs": "open sesame"},
            "DicomCheckCalledAet": True, "DicomAlwaysAllowFind": False, "DicomAlwaysAllowGet": False,
            "DicomModalities": {"xinglin": ["XINGLIN", "127.0.0.1", self.move_port]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomThreadsCount": 4,
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(settings))

    def command(self) -> list[str]:
        """Return what starts it."""
        return [str(self.find()), str(self.folder / "orthanc.json")]

    def environment(self) -> dict[str, str]:
        """Return its ports: HTTP's, DICOM's, and ours that it moves to."""
        return {"XINGLIN_TEST_ORTHANC": f"{self.port} {self.dicom_port} {self.move_port}"}


#: Every server that the tests marked `services` need.
SERVERS: tuple[type[Server], ...] = (Postgres, MariaDb, Orthanc)
#: Programs that tests start themselves, again and again, by the packages of Debian that hold them.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "mosquitto": ("mosquitto",),
    "redis-server": ("redis-server",),  # the broker of a rehearsed region
}


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install(servers: tuple[type[Server], ...]) -> None:
    """The programs of these servers are on this machine.

    Raises:
        RuntimeError: They are not, and cannot be installed here.
    """
    missing = [name for one in servers if one.find() is None for name in one.packages]
    missing += [name for program, names in PROGRAMS.items() if Server.find(program) is None for name in names]
    if not missing:
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        raise RuntimeError(f"install these packages of Debian first: {' '.join(missing)}")
    sys.stdout.write(f"Installing {' '.join(missing)}\n")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The packages start servers of their own otherwise, which nobody here needs.
    policy = Path("/usr/sbin/policy-rc.d")
    held = policy.exists()
    if not held:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *command], env=quiet, check=True, stdout=subprocess.DEVNULL)
    finally:
        if not held:
            policy.unlink()


@contextmanager
def running(server: type[Server]) -> Iterator[Server]:
    """Yield one server that answers; it has ended and its folder is gone afterwards."""
    user = server.account if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="xinglin-service-") as name:
        folder = Path(name)
        if user:
            pwd.getpwnam(user)  # KeyError here says more than a refusal later
            shutil.chown(folder, user)
        one = server(folder, user)
        one.prepare()
        one.start()
        try:
            yield one
        finally:
            one.stop()


def with_servers(work: Callable[[Mapping[str, str]], int], servers: tuple[type[Server], ...] = SERVERS) -> int:
    """Return what ``work`` returns, run with the addresses of all servers in its environment."""
    install(servers)
    with ExitStack() as stack:
        environment = dict(os.environ)
        for one in servers:
            sys.stdout.write(f"Starting {one.__name__}\n")
            environment |= stack.enter_context(running(one)).environment()
        return work(environment)


def main(arguments: list[str]) -> int:
    """Run the tests marked `services`; returns pytest's exit code."""

    def tests(environment: Mapping[str, str]) -> int:
        command = [sys.executable, "-m", "pytest", "-m", "services", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    return with_servers(tests)


if __name__ == "__main__":
    # An interrupt ends the tests, and the servers with them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
