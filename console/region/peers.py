"""The simulated systems that the demonstration's sources ask: one process, started before whoever asks them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from console.region.errors import RegionError
from console.region.processes import Process, running, start
from schemas.home import REPOSITORY, Home
from schemas.source import Source, load_sources
from simulators.days import is_simulated
from simulators.peers import serves, status

START_SECONDS = 60.0


def simulated(home: Home) -> bool:
    """Whether the sources of this home are the demonstration's, which ask nobody real."""
    return home.sources == REPOSITORY / "sources" or is_simulated(home.path)


def address(source: Source) -> tuple[str, int]:
    """Return where a simulated system of this source answers."""
    settings = source.settings
    for name in ("url", "base"):
        if name in settings:
            return "127.0.0.1", urlsplit(str(settings[name])).port or 80
    return "127.0.0.1", int(settings["port"])


def start_peers(home: Home, environment: dict[str, str]) -> Process | None:
    """The simulated systems answer; None where nothing is simulated.

    Raises:
        RegionError: They do not within a minute.
    """
    if not simulated(home) or not serves(load_sources(home.sources)):
        return None
    folder = home.path / "peers"
    if (process := running("peers", folder)) is not None:
        return process
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").unlink(missing_ok=True)
    process = start("peers", [sys.executable, "-m", "simulators.peers"], folder, environment)
    _await(process, home, folder)
    return process


def _await(process: Process, home: Home, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not status(home.path):
        if not process.alive() or time.monotonic() > deadline:
            raise RegionError(f"the simulated systems do not start; see {folder / 'peers.log'}")
        time.sleep(0.1)
