"""Processes this command started: each with a pid file and a log in its folder, ended by its own id only."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id and the time it started, so that a reused id is never mistaken for it."""

    name: str
    pid: int
    started: str
    pid_file: Path

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        _reap(self.pid)
        return _started(self.pid) == self.started

    def stop(self, *, kill: bool = False) -> None:
        """It and its process group have ended: SIGTERM first, SIGKILL after half a minute or with ``kill``."""
        if self.alive():
            self._signal(signal.SIGKILL if kill else signal.SIGTERM)
            if not self._gone_within(STOP_SECONDS):
                self._signal(signal.SIGKILL)
                self._gone_within(STOP_SECONDS)
        self.pid_file.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)  # every process is started as leader of its own group
        except ProcessLookupError:
            return

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def start(name: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a process in its own group; output goes to ``<name>.log``, its id to ``<name>.pid``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    process = Process(name, child.pid, _started(child.pid), folder / f"{name}.pid")
    child.returncode = 0  # reaped by Process.alive; Popen must not warn that it still runs
    process.pid_file.write_text(f"{process.pid} {process.started}\n", encoding="ascii")
    return process


def running(name: str, folder: Path) -> Process | None:
    """Return the process that an earlier ``start`` left in ``folder``, or None where it has ended."""
    pid_file = folder / f"{name}.pid"
    try:
        pid, started = pid_file.read_text(encoding="ascii").split()
        process = Process(name, int(pid), started, pid_file)
    except (OSError, ValueError):
        return None
    return process if process.alive() else None


def _started(pid: int) -> str:
    """Start time of a live process in clock ticks since boot (proc(5), field 22), or ``""``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # another process's child, or reaped already


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else who asks the same of this folder goes on meanwhile; a killed holder holds nothing."""
    with (folder / "turn").open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The file holds ``data`` whole and durable, or is as it was."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # a leftover may have another mode
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
