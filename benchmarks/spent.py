"""What a piece of work cost: seconds on the wall, CPU seconds of this process and of mongod, peak memory.

CPU seconds stand beside wall seconds because a machine that others use stretches the wall and not the work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Spent:
    """Seconds of one piece of work.

    Attributes:
        wall: On the wall.
        cpu: CPU of this process, all its threads.
        mongod: CPU of the database server; what it puts off until later is not in it.
    """

    wall: float = 0.0
    cpu: float = 0.0
    mongod: float = 0.0

    @property
    def work(self) -> float:
        """CPU seconds of both."""
        return self.cpu + self.mongod

    def figures(self) -> dict[str, float]:
        """Return it as JSON shows it."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@contextmanager
def spending(mongod: int) -> Iterator[Spent]:
    """Yield what the body of the ``with`` costs; it is filled in at its end.

    Args:
        mongod: Process id of the database server.
    """
    spent = Spent()
    before = time.perf_counter(), time.process_time(), cpu_seconds(mongod)
    yield spent
    after = time.perf_counter(), time.process_time(), cpu_seconds(mongod)
    spent.wall, spent.cpu, spent.mongod = (end - begin for begin, end in zip(before, after, strict=True))


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process (proc(5), fields 14 and 15 of ``stat``)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mib() -> float:
    """Return this process's peak resident memory, MiB.

    VmHWM and not ``ru_maxrss``: the latter is handed down by fork and exec, so that a small child of a big parent
    shows the parent's.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
