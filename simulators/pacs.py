"""An archive on loopback: DIMSE (C-ECHO, C-FIND, C-GET, C-MOVE) and DICOMweb (QIDO-RS, WADO-RS) of the same studies."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt
from pynetdicom.transport import ThreadedAssociationServer

from simulators.dicomweb import Web
from simulators.imaging import days, studies
from simulators.sent import Sent

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

_ZONE: Final = ZoneInfo("Asia/Shanghai")
_ECHO: Final = UID("1.2.840.10008.1.1")
_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
_GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
_PLAIN: Final[list[str | UID]] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
#: Level of a query and the unique key of each level above and at it.
_KEYS: Final = {
    "STUDY": ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}


class Holdings:
    """What an archive holds, found by its keys. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, Dataset] = {}

    def add(self, objects: Iterable[Dataset]) -> None:
        """These objects are held; one held before is replaced."""
        with self._lock:
            self._objects.update((str(one.SOPInstanceUID), one) for one in objects)

    def remove(self, uid: str) -> None:
        """The object is not held any more."""
        with self._lock:
            self._objects.pop(uid, None)

    def all(self) -> list[Dataset]:
        """Return every object, in the order of arrival."""
        with self._lock:
            return list(self._objects.values())

    def matching(self, wanted: Dataset) -> list[Dataset]:
        """Return the objects that fit the keys of a query (PS3.4 C.2.2.2)."""
        return [one for one in self.all() if all(_fits(one, element.keyword, element.value) for element in wanted)]

    def answers(self, level: str, wanted: Dataset) -> Iterator[Dataset]:
        """Yield one answer a study, series or object that fits."""
        seen = set()
        for one in self.matching(wanted):
            key = tuple(str(one.get(name)) for name in _KEYS[level])
            if key not in seen:
                seen.add(key)
                yield self._answer(one, level, wanted)

    def _answer(self, one: Dataset, level: str, wanted: Dataset) -> Dataset:
        found = Dataset()
        found.SpecificCharacterSet = one.SpecificCharacterSet
        for element in wanted:
            if element.keyword in one:
                found[element.tag] = one[element.tag]
        if level != "IMAGE":
            inside = [other for other in self.all() if other.StudyInstanceUID == one.StudyInstanceUID]
            if level == "STUDY":
                found.NumberOfStudyRelatedInstances = len(inside)
                found.NumberOfStudyRelatedSeries = len({other.SeriesInstanceUID for other in inside})
                found.ModalitiesInStudy = sorted({str(other.Modality) for other in inside})
            else:
                mine = [other for other in inside if other.SeriesInstanceUID == one.SeriesInstanceUID]
                found.NumberOfSeriesRelatedInstances = len(mine)
        return found


def _fits(one: Dataset, keyword: str, value: Any) -> bool:
    if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet") or value in ("", None) or not keyword:
        return True
    own = str(one.get(keyword, ""))
    values = [value] if isinstance(value, str) else list(value)
    if keyword == "StudyDate" and "-" in str(values[0]):
        first, _, last = str(values[0]).partition("-")
        return (not first or first <= own) and (not last or own <= last)
    return keyword.startswith("NumberOf") or keyword == "ModalitiesInStudy" or own in map(str, values)


def _at_once(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]


@dataclass(slots=True)
class Pacs:
    """An archive that runs while it is entered.

    Attributes:
        seed: Its patients are those of the other simulators of the same seed.
        hospital: The institution's name.
        ae_title: Its AE title; other called titles are refused.
        callers: Calling AE titles it knows; none means all.
        destinations: Address of each AE title it moves objects to.
        password: What DICOMweb's user ``pacs`` must give, or "" for anybody.
        token: What DICOMweb's bearer must give, or "".
        gets: Whether it takes C-GET.
        holdings: What it holds.
        damaged: UIDs of objects that it lists and cannot send.
        drop_after: Objects after which it hangs up once, in the middle of a request; None never.
        busy: DICOMweb answers that come first, by status (429, 503), before the right one.
        fetched: How often each object was sent.
        port: DIMSE's port; 0 for a free one, known once it runs.
        web_port: DICOMweb's port, as above.
    """

    seed: int = 7
    hospital: str = "东城医院"
    ae_title: str = "SIMPACS"
    callers: tuple[str, ...] = ()
    destinations: dict[str, tuple[str, int]] = field(default_factory=dict)
    password: str = ""
    token: str = ""
    gets: bool = True
    holdings: Holdings = field(default_factory=Holdings)
    damaged: set[str] = field(default_factory=set)
    drop_after: int | None = None
    busy: list[int] = field(default_factory=list)
    fetched: dict[str, int] = field(default_factory=dict)
    port: int = 0
    web_port: int = 0
    tls: Any = None
    _server: ThreadedAssociationServer | None = None
    _web: Web | None = None

    def fill(self, days: Iterable[date], studies_a_day: int, first: int = 0) -> Sent:
        """Return what a reader must get of it: a manifest a study and every object.

        The same days and numbers give the same studies however often they are filled.
        """
        sent = Sent()
        for day in days:
            for objects in studies(self.seed, self.hospital, day, studies_a_day, first):
                self.holdings.add(objects)
                sent += Sent(sealed=1 + len(objects))
        return sent

    def __enter__(self) -> Pacs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where DICOMweb is served."""
        return f"http://127.0.0.1:{self.web_port}/dicom-web"

    def start(self) -> None:
        """It answers, at the ports it had before where it ran before."""
        entity = AE(self.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.callers)
        entity.add_supported_context(_ECHO)
        for model in (_FIND, _MOVE, *((_GET,) if self.gets else ())):
            entity.add_supported_context(model, _PLAIN)
        for one in AllStoragePresentationContexts:
            entity.add_supported_context(str(one.abstract_syntax), _PLAIN, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, _at_once), (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move),
        ]  # fmt: skip
        server = entity.start_server(("127.0.0.1", self.port), False, self.tls, handlers)
        assert server is not None
        self._server, self.port = server, server.server_address[1]
        self._web = Web(self, self.web_port)
        self.web_port = self._web.port

    def stop(self) -> None:
        """It is gone; associations are aborted."""
        if self._server is not None:
            for association in self._server.active_associations:
                association.abort()
            self._server.shutdown()
            self._server = None
        if self._web is not None:
            self._web.stop()
            self._web = None

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        for found in self.holdings.answers(str(wanted.QueryRetrieveLevel), wanted):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, found

    def _get(self, event: evt.Event) -> Iterator[Any]:
        found = self.holdings.matching(event.identifier)
        yield len(found)
        yield from self._send(found, event)

    def _move(self, event: evt.Event) -> Iterator[Any]:
        found = self.holdings.matching(event.identifier)
        address = self.destinations.get((event.move_destination or "").strip())
        if address is None:
            yield None, None
            return
        contexts = [build_context(one, _PLAIN) for one in dict.fromkeys(str(each.SOPClassUID) for each in found)]
        yield *address, {"contexts": contexts, "ae_title": event.move_destination}
        yield len(found)
        yield from self._send(found, event)

    def _send(self, found: list[Dataset], event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for one in found:
            uid = str(one.SOPInstanceUID)
            if uid in self.damaged:
                # pynetdicom counts what is no dataset as a failed sub-operation.
                yield 0xFF00, Dataset()
                continue
            if self.dropping():
                event.assoc.abort()
                return
            self.sent(uid)
            yield 0xFF00, one

    def dropping(self) -> bool:
        """Whether the connection is to be cut now, once."""
        if self.drop_after is None:
            return False
        self.drop_after -= 1
        if self.drop_after < 0:
            self.drop_after = None
            return True
        return False

    def sent(self, uid: str) -> None:
        """Count an object as sent."""
        self.fetched[uid] = self.fetched.get(uid, 0) + 1


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:  # noqa: ARG001  (as every simulator's)
    """Yield what the pages of docs/onboarding call an archive that holds three days of studies.

    ``PACS_HOST``, ``PACS_PORT``, ``PACS_AE`` and ``PACS_URL``, ``PACS_USER``, ``PACS_PASSWORD``; ``PACS_SINCE`` is the
    first day.
    """
    held = days(datetime.now(_ZONE).date(), 3)
    with Pacs(seed=20261101, password="pilot-password") as pacs:  # noqa: S106  (invented)
        pacs.fill(held, 4)
        yield {
            "PACS_HOST": "127.0.0.1", "PACS_PORT": str(pacs.port), "PACS_AE": pacs.ae_title, "PACS_URL": pacs.url,
            "PACS_USER": "pacs", "PACS_PASSWORD": pacs.password, "PACS_SINCE": held[0].isoformat(),
        }  # fmt: skip
