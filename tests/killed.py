"""Processes that are killed by SIGKILL right before one of their commands to MongoDB."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pymongo import monitoring

TESTS = Path(__file__).parent
ROOT = TESTS.parent


class KilledBefore(monitoring.CommandListener):
    """Kills this process when it is about to send its n-th command; never where n is 0.

    Args:
        number: n.
        uncounted: Commands that are not counted, by name.
    """

    def __init__(self, number: int, uncounted: frozenset[str] = frozenset()) -> None:
        self.left = number
        self._uncounted = uncounted

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in self._uncounted:
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


def child_environment() -> dict[str, str]:
    """This process's, and where a script finds the packages; tests/ last, whose folders bear their names."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "plugins", TESTS)))}


def run_apart(script: Path, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script of the tests in a process of its own; returns what became of it."""
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout, env=child_environment(),
    )  # fmt: skip
