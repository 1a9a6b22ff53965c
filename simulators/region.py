"""A day of the synthetic region: what every source of the demonstration gets, and what must become of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from schemas.source import Source
from simulators.his import Hospital
from simulators.hisdb import HisDatabase
from simulators.lis import Laboratory
from simulators.peers import SEED, archive_day, server_day, status
from simulators.sent import Sent
from simulators.wearables import NursingHome, Phones

Step = Callable[[], None]
#: How long the peers may take to grow by a day, and subscribers to subscribe.
_READY_SECONDS: Final = 60.0
#: Right messages of a nursing home's devices a day.
_VITALS: Final = 120


class Day:
    """One day.

    Args:
        home: The region's home; relative folders of sources start there.
        number: Which day, from 0.
        on: Its date.
        messages: Right messages of each hospital.
        names: Names of the institutions.
    """

    def __init__(self, home: Path, number: int, on: date, messages: int, names: Mapping[str, str]) -> None:
        self.home = home
        self.number = number
        self.on = on
        self.messages = messages
        self.names = names

    def steps(self, source: Source) -> int:
        """Return how often ``send`` calls its ``step``, about."""
        return self.messages if source.kind == "his.hl7v2_mllp" else 0

    def send(self, source: Source, step: Step) -> Sent:
        """Return what a source got, or holds now for whoever asks it."""
        sent = _SENDERS[source.kind](self, source, step)
        return replace(sent, reread=source.kind != "his.hl7v2_mllp")

    def _mllp(self, source: Source, step: Step) -> Sent:
        plain = source.charset != "gb18030"
        hospital = Hospital(
            SEED, source.id, charset="utf-8" if plain else "gb18030", declares=plain,
            name=self.names[source.institution], record_bytes=source.record_bytes,
        )  # fmt: skip
        host, port = str(source.settings.get("host", "127.0.0.1")), int(source.settings["port"])
        return hospital.send(host, port, self.messages, day=self.number, connections=4, progress=step)

    def _files(self, source: Source, _: Step) -> Sent:
        laboratory = Laboratory(SEED, record_bytes=source.record_bytes)
        return laboratory.drop(self._folder(source), 3, 40, day=self.number)

    def _documents(self, source: Source, _: Step) -> Sent:
        from simulators.cda import Documents

        return Documents(SEED).drop(self._folder(source), 12, day=self.number)

    def _database(self, source: Source, _: Step) -> Sent:
        file = self.home / str(source.settings["url"]).removeprefix("sqlite:///")
        file.parent.mkdir(parents=True, exist_ok=True)
        return HisDatabase(SEED).grow(file, self.number)

    def _server(self, source: Source, _: Step) -> Sent:
        self._await(lambda: status(self.home).get("day") == self.number)
        return server_day(source, self.number)

    def _archive(self, source: Source, _: Step) -> Sent:
        self._await(lambda: status(self.home).get("day") == self.number)
        return archive_day(source, self.number, self.on)

    def _bedside(self, source: Source, _: Step) -> Sent:
        self._await(lambda: status(self.home).get("subscribers", {}).get(source.id, 0) > 0)
        home = NursingHome(SEED, record_bytes=source.record_bytes)
        return home.publish("127.0.0.1", int(source.settings["port"]), _VITALS, day=self.number)

    def _phones(self, source: Source, _: Step) -> Sent:
        return Phones(SEED).drop(self._folder(source), day=self.number)

    def _folder(self, source: Source) -> Path:
        return self.home / str(source.settings["folder"])

    @staticmethod
    def _await(ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError("the simulated systems are not ready; see peers/peers.log of the home")
            time.sleep(0.1)


_SENDERS: Final[Mapping[str, Callable[[Day, Source, Step], Sent]]] = {
    "his.hl7v2_mllp": Day._mllp,
    "his.hl7v2_files": Day._files,
    "his.cda_documents": Day._documents,
    "his.sql_tables": Day._database,
    "his.fhir_rest": Day._server,
    "pacs.dimse": Day._archive,
    "pacs.dicomweb": Day._archive,
    "wearables.mqtt": Day._bedside,
    "wearables.files": Day._phones,
}
