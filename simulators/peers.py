"""The systems of the synthetic region that are asked: image archives, a FHIR server, a broker. One process, loopback.

``python -m simulators.peers`` serves them for the sources of ``XINGLIN_SOURCES``, at the addresses that these name, and
grows with the days that the demonstration begins. ``peers/status.json`` of the home says how far it is.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from schemas.home import Home
from schemas.source import Source, load_sources
from simulators.broker import Broker
from simulators.days import days
from simulators.fhir_records import expected, resources
from simulators.fhir_server import FhirServer
from simulators.pacs import Pacs
from simulators.sent import Sent

SEED: Final = 20261101
PATIENTS: Final = 10
STUDIES: Final = 3
_PAUSE: Final = 0.2


class Peer(Protocol):
    """One system."""

    def grow(self, day: int, on: date) -> None:
        """It holds what this day brings."""

    def stop(self) -> None:
        """It answers no more."""

    @property
    def subscribers(self) -> int:
        """Who is told what comes; what nobody is told is lost."""


class Archive:
    """An image archive of one source."""

    subscribers = 0

    def __init__(self, source: Source) -> None:
        settings = source.settings
        web = urlsplit(str(settings["url"])).port if "url" in settings else None
        self._pacs = Pacs(
            seed=_seed(source), hospital=source.institution, ae_title=str(settings.get("called_ae", "SIMPACS")),
            port=int(settings.get("port", 0)), web_port=web or 0,
        )  # fmt: skip
        self._pacs.start()

    def grow(self, day: int, on: date) -> None:
        """It holds what this day brings."""
        self._pacs.fill([on], STUDIES, day * STUDIES)

    def stop(self) -> None:
        """It answers no more."""
        self._pacs.stop()


class Server:
    """A FHIR server of one source."""

    subscribers = 0

    def __init__(self, source: Source) -> None:
        port = urlsplit(str(source.settings["base"])).port
        self._server = FhirServer(seed=_seed(source), patients=PATIENTS, port=port or 0)
        self._server.start()

    def grow(self, day: int, on: date) -> None:  # noqa: ARG002  (its records are dated by themselves)
        """It holds what this day brings; the first it was made with."""
        for body, _ in resources(self._server.seed, PATIENTS, day) if day else ():
            self._server.put(body)

    def stop(self) -> None:
        """It answers no more."""
        self._server.stop()


class Bedside:
    """The broker of one source's devices."""

    def __init__(self, source: Source) -> None:
        self._broker = Broker(int(source.settings["port"]))
        self._broker.start()

    def grow(self, day: int, on: date) -> None:
        """Nothing: devices publish by themselves."""

    def stop(self) -> None:
        """It answers no more."""
        self._broker.stop()

    @property
    def subscribers(self) -> int:
        """Sessions with a subscription."""
        return sum(bool(one.filters) for one in list(self._broker.sessions.values()))


KINDS: Final[dict[str, Any]] = {
    "pacs.dimse": Archive,
    "pacs.dicomweb": Archive,
    "his.fhir_rest": Server,
    "wearables.mqtt": Bedside,
}


def serves(sources: Iterable[Source]) -> list[Source]:
    """Return those of the sources that are asked, or told, by a peer of this machine."""
    return [source for source in sources if source.kind in KINDS]


def archive_day(source: Source, day: int, on: date) -> Sent:
    """Return what a day brings to an archive, as its reader counts it."""
    return Pacs(seed=_seed(source), hospital=source.institution).fill([on], STUDIES, day * STUDIES)


def server_day(source: Source, day: int) -> Sent:
    """Return what a day brings to a FHIR server, as its reader counts it."""
    right, reasons = expected(_seed(source), PATIENTS, day)
    return Sent(sealed=right, set_aside=reasons)


def status(home: Path) -> dict[str, Any]:
    """Return what the process told last: ``day`` and, by source, ``subscribers``; ``{}`` where it told nothing."""
    try:
        told: dict[str, Any] = json.loads((home / "peers" / "status.json").read_text(encoding="ascii"))
        return told
    except (FileNotFoundError, ValueError):
        return {}


def _seed(source: Source) -> int:
    """Another seed for each source, that of the region's people in it: two archives hold different studies."""
    return SEED + sum(source.id.encode())


def serve(home: Path, sources: Iterable[Source]) -> None:
    """Serve until SIGTERM."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(1))
    peers: dict[str, Peer] = {source.id: KINDS[source.kind](source) for source in serves(sources)}
    known, told = 0, ""
    while not ended:
        for day, on in list(enumerate(days(home)))[known:]:
            for peer in peers.values():
                peer.grow(day, on)
            known = day + 1
        now = json.dumps({"day": known - 1, "subscribers": {name: one.subscribers for name, one in peers.items()}})
        if now != told:
            told = now
            _tell(home / "peers", now)
        time.sleep(_PAUSE)
    for peer in peers.values():
        peer.stop()


def _tell(folder: Path, text: str) -> None:
    (folder / "status.partial").write_text(text, encoding="ascii")
    (folder / "status.partial").replace(folder / "status.json")


if __name__ == "__main__":
    region = Home.from_environment()
    serve(region.path, load_sources(region.sources))
