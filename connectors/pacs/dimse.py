"""An archive asked over DIMSE: C-FIND to list, C-GET or C-MOVE to fetch (PS3.4 annex C, PS3.7, PS3.8).

C-GET needs nothing but a way out to the archive. C-MOVE needs the archive to know our AE title, address and port,
for it opens a second connection to deliver; only what was just asked for is taken there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from connectors.contract import Finding, Found
from connectors.errors import ConnectorError, Retry, Stop
from connectors.pacs.answers import answer, query
from connectors.pacs.archive import ArchiveConnector, Session
from connectors.pacs.connecting import (
    STORED,
    TAKEN,
    UNCOMPRESSED,
    Peer,
    client_tls,
    server_tls,
    storage_contexts,
    storage_roles,
)
from connectors.pacs.instances import Taking
from connectors.pacs.reception import received, receives
from connectors.pacs.settings import ArchiveSettings
from connectors.pacs.studies import (
    INSTANCE,
    OBJECT_KEYS,
    SERIES,
    SERIES_KEYS,
    STUDY,
    STUDY_DATE,
    STUDY_KEYS,
    Answer,
    Object,
    Series,
    Study,
    is_uid,
)
from schemas.errors import ConfigurationError

log = logging.getLogger(__name__)

_ECHO: Final = UID("1.2.840.10008.1.1")
_FIND: Final = UID("1.2.840.10008.5.1.4.1.2.2.1")
_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
_GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
_PENDING: Final = frozenset((0xFF00, 0xFF01))
#: Character sets that answers are wished in, by the source's; UTF-8 where it leaves that open.
_WISHED: Final = {"gb18030": "GB18030", "gbk": "GBK", "gb2312": "GBK"}
#: SOP classes that one association is made for, where possible: more leave no room for compressed syntaxes.
_CLASSES: Final = 6
_UNKNOWN_DESTINATION: Final = 0xA801


@dataclass(frozen=True, slots=True, kw_only=True)
class DimseSettings(ArchiveSettings):
    """Settings of an archive that speaks DIMSE.

    Attributes:
        host: Its name or address.
        port: Its port.
        called_ae: Its AE title.
        calling_ae: Ours, as it is registered there.
        retrieve: get, or move where the archive must connect to us.
        move_host: Address we listen at for move.
        move_port: Port we listen at for move.
        tls: Whether TLS is spoken.
        tls_authority: PEM file of who signed the archive's certificate; the system's authorities where it is left out.
        tls_certificate: PEM file of our certificate, where the archive asks for one.
        tls_key: PEM file of its key.
        user: User name, where the archive asks for one.
        password_secret: Name of the secret with the user's password.
    """

    host: str
    port: int = 11112
    called_ae: str
    calling_ae: str = "XINGLIN"
    retrieve: str = "get"
    move_host: str = "127.0.0.1"
    move_port: int = 11113
    tls: bool = False
    tls_authority: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    user: str | None = None
    password_secret: str | None = None

    def __post_init__(self) -> None:
        ArchiveSettings.__post_init__(self)
        if not self.host:
            raise ValueError("host is empty; write the archive's name or address")
        for name in ("called_ae", "calling_ae"):
            title = getattr(self, name)
            if not (len(title.strip()) > 0 and len(title) <= 16 and title.isascii() and title.isprintable()):
                raise ValueError(f"{name} must be 1 to 16 printable ASCII characters")
        if self.retrieve not in ("get", "move"):
            raise ValueError("retrieve must be get or move")
        if self.retrieve == "move" and self.tls and self.tls_certificate is None:
            raise ValueError("tls_certificate is missing; the archive connects to us for move and needs one")
        if not (0 < self.port < 65536 and 0 <= self.move_port < 65536):
            raise ValueError("port and move_port must be from 1 to 65535")


class DimseConnector(ArchiveConnector):
    """Pulls studies over DIMSE."""

    shape: ClassVar[type[ArchiveSettings]] = DimseSettings

    @property
    def settings(self) -> DimseSettings:
        """The source's settings."""
        return cast(DimseSettings, self.options)

    def session(self) -> Session:
        """Return a session; nothing is connected before it is used."""
        return DimseSession(self._peer(), self.settings, self._path, self.source.charset)

    def _path(self, name: str | None) -> Path | None:
        return None if name is None else self.home / name

    def _peer(self) -> Peer:
        one = self.settings
        tls = None
        if one.tls:
            tls = client_tls(self._path(one.tls_authority), self._path(one.tls_certificate), self._path(one.tls_key))
        password = self.secret(one.password_secret) if one.password_secret else ""
        return Peer(one.host, one.port, one.called_ae, one.calling_ae, one.seconds, tls, one.user, password)

    def check(self) -> tuple[Finding, ...]:
        """Return what C-ECHO, a C-FIND for today and the archive's answer to C-GET or C-MOVE tell."""
        try:
            peer = self._peer()
            _echo(peer)
        except (ConnectorError, ConfigurationError) as error:
            return (Finding("connection", False, str(error)),)
        connected = Finding("connection", True, f"the archive {peer.called} answers C-ECHO")
        session = DimseSession(peer, self.settings, self._path, self.source.charset)
        try:
            found = session.studies(self.now().astimezone(self.zone).date())
            session.may_retrieve()
        except ConnectorError as error:
            return (connected, Finding("rights", False, str(error)))
        finally:
            session.close()
        verb = self.settings.retrieve.upper()
        sets = sorted({one.answer.text(0x00080005) or "none" for one in found}) or ["not known, no study today"]
        return (
            connected,
            Finding("rights", True, f"it lists {len(found)} studies of today and takes C-{verb}"),
            Finding("clock", True, "DICOM has no way to ask for the archive's clock; days are read by ours"),
            Finding("charset", True, f"character sets of today's studies: {', '.join(sets)}"),
        )


def _echo(peer: Peer) -> None:
    association = peer.connect([build_context(_ECHO)])
    try:
        _judge(association.send_c_echo(), "C-ECHO")
    finally:
        association.release()


def _judge(status: Dataset, what: str) -> int:
    """Return a status of success or warning (PS3.7 annex C).

    Raises:
        Retry: None came, or the archive is short of something.
        Stop: It will not do this however often it is asked.
    """
    code = status.get("Status")
    if code is None:
        raise Retry(f"{what}: the archive fell silent or hung up; see whether it runs and lets our AE title do this")
    if code == _UNKNOWN_DESTINATION:
        raise Stop(f"{what}: the archive does not know our AE title as a destination; have it registered")
    if code == 0x0124:
        raise Stop(f"{what}: the archive says that we may not; have the right to query and retrieve given")
    if code in (0x0000, 0xB000, 0xFE00) or code in _PENDING:
        return int(code)
    if 0xA700 <= code < 0xA800 or 0xC000 <= code < 0xD000:
        raise Retry(f"{what}: the archive answered 0x{code:04X}, it cannot at the moment")
    raise Stop(f"{what}: the archive answered 0x{code:04X}; have its log looked at")


class DimseSession:
    """Associations with one archive, made when they are first needed."""

    def __init__(
        self, peer: Peer, settings: DimseSettings, path: Callable[[str | None], Path | None], charset: str = "auto"
    ) -> None:
        self._peer = peer
        self._charset = _WISHED.get(charset.lower().replace("-", ""), "ISO_IR 192")
        self._settings = settings
        self._path = path
        self._query: Association | None = None
        self._retrieve: Association | None = None
        self._classes: frozenset[str] = frozenset()
        self._server: ThreadedAssociationServer | None = None
        self._asked: dict[str, Callable[[], Taking]] = {}
        self._came: dict[str, Found] = {}
        self._error: Exception | None = None
        self._wait: Callable[[], None] = lambda: None

    def studies(self, day: date) -> list[Study]:
        """Return the studies of a StudyDate."""
        wanted = {STUDY_DATE: f"{day:%Y%m%d}"}
        found = self._find("STUDY", STUDY_KEYS, wanted)
        return sorted((Study(one.text(STUDY), one) for one in found), key=lambda one: one.order)

    def contents(self, study: Study) -> Study:
        """Return the study with its series and objects, those of the wanted modalities."""
        found = self._find("SERIES", SERIES_KEYS, {STUDY: study.uid})
        series = [Series(one.text(SERIES), one) for one in found]
        chosen = [one for one in series if self._settings.takes(one.modality)]
        full = [replace(one, objects=self._objects(study, one)) for one in sorted(chosen, key=lambda one: one.order)]
        return replace(study, series=tuple(full))

    def _objects(self, study: Study, series: Series) -> tuple[Object, ...]:
        if not is_uid(series.uid):
            return (Object("", series.uid, series.answer),)
        found = self._find("IMAGE", OBJECT_KEYS, {STUDY: study.uid, SERIES: series.uid})
        return tuple(sorted((Object(one.text(INSTANCE), series.uid, one) for one in found), key=lambda one: one.order))

    def _find(self, level: str, keys: Sequence[int], wanted: dict[int, str]) -> list[Answer]:
        if self._query is None or not self._query.is_established:
            self._query = self._peer.connect([build_context(_FIND, list(UNCOMPRESSED))])
        try:
            responses = self._query.send_c_find(query(level, keys, wanted, self._charset), _FIND)
        except ValueError:
            raise Stop("the archive does not take C-FIND from us; have the right to query given") from None
        found = []
        for status, identifier in responses:
            if _judge(status, "C-FIND") in _PENDING:
                if identifier is None:  # passing over it would lose a study without a word
                    raise Stop("the archive answered C-FIND with what is no data set; have its log looked at")
                found.append(answer(identifier, keys))
        return found

    def may_retrieve(self) -> None:
        """The archive accepts associations for fetching.

        Raises:
            Retry: It is not there.
            Stop: It accepts none.
        """
        self._connect(frozenset(("1.2.840.10008.5.1.4.1.1.7",)))

    def _connect(self, classes: frozenset[str]) -> Association:
        if self._retrieve is not None and self._retrieve.is_established and classes <= self._classes:
            return self._retrieve
        self._release(self._retrieve)
        if len(both := classes | self._classes) <= _CLASSES:
            classes = both
        if self._settings.retrieve == "move":
            contexts, roles, model = [build_context(_MOVE, list(UNCOMPRESSED))], [], _MOVE
        else:
            storage = storage_contexts(sorted(classes - {""}))
            contexts, roles, model = [build_context(_GET, list(UNCOMPRESSED)), *storage], storage_roles(storage), _GET
        self._retrieve = self._peer.connect(contexts, roles, self._handlers())
        self._classes = classes
        if not any(one.abstract_syntax == model for one in self._retrieve.accepted_contexts):
            other = "get" if model == _MOVE else "move"
            raise Stop(
                f"the archive does not take C-{self._settings.retrieve.upper()} from us; have the right to it given, "
                f"or set retrieve: {other}"
            )
        return self._retrieve

    def _handlers(self) -> list[Any]:
        return [(evt.EVT_CONN_OPEN, receives(self._taking)), (evt.EVT_C_STORE, self._stored)]

    def _taking(self, uid: str) -> Taking | None:
        """How an arriving object is taken; None where nobody asked for it, or it has come already."""
        asked = self._asked.pop(uid, None)
        return asked() if asked else None

    def _stored(self, event: evt.Event) -> int:
        """Answer a C-STORE once what it brought is durable."""
        reception = received(event)
        if reception is None:
            return 0xA900
        try:
            found = reception.result()
        except Exception as error:  # noqa: BLE001  the archive is told only that it failed; who fetches gets the error
            self._error = error
            return 0xA700
        if found is None:
            return 0x0124  # nobody asked for it
        self._came[found.native_id] = found
        self._wait()
        return 0x0000

    def fetch(self, study: Study, objects: Sequence[Object], take: Callable[[Object], Taking]) -> Iterator[Found]:
        """Yield those of these objects, all of one series, that the archive hands over."""
        association = self._connect(frozenset(one.sop_class for one in objects))
        if self._settings.retrieve == "move":
            self._listen()
        self._asked = {one.uid: self._paced(one, take) for one in objects}
        self._wait = take(objects[0]).wait
        self._came, self._error = {}, None
        wanted = {STUDY: study.uid, SERIES: objects[0].series, INSTANCE: [one.uid for one in objects]}
        identifier = query("IMAGE", (), wanted)
        if self._settings.retrieve == "move":
            responses = association.send_c_move(identifier, self._peer.calling, _MOVE)
        else:
            responses = association.send_c_get(identifier, _GET)
        fault: ConnectorError | None = None
        try:
            for status, _ in responses:
                _delivered(status, f"C-{self._settings.retrieve.upper()}")
        except ConnectorError as error:
            fault = error
        self._asked = {}
        yield from self._came.values()
        if self._error is not None:
            raise self._error
        if fault is not None:
            raise fault

    def _paced(self, one: Object, take: Callable[[Object], Taking]) -> Callable[[], Taking]:
        return lambda: take(one)

    def _listen(self) -> None:
        """The archive can connect to us."""
        if self._server is not None:
            return
        entity, one = self._peer.entity(), self._settings
        tls = None
        if one.tls and (certificate := self._path(one.tls_certificate)) is not None:
            tls = server_tls(self._path(one.tls_authority), certificate, self._path(one.tls_key))
        contexts = [build_context(known, list(TAKEN)) for known in STORED]
        entity.require_called_aet = True
        try:
            server = entity.start_server(
                (one.move_host, one.move_port), False, tls, self._handlers(), one.calling_ae, contexts
            )
        except OSError as error:
            raise Stop(
                f"cannot listen at {one.move_host}:{one.move_port} ({error.strerror}); change move_host or move_port"
            ) from None
        self._server = cast(ThreadedAssociationServer, server)

    def _release(self, association: Association | None) -> None:
        if association is not None and association.is_established:
            association.release()

    def close(self) -> None:
        """Nothing is connected, and nobody can connect."""
        self._release(self._query)
        self._release(self._retrieve)
        self._query = self._retrieve = None
        if self._server is not None:
            self._server.shutdown()
            self._server = None


def _delivered(status: Dataset, what: str) -> None:
    """Judge a status of a fetch: that objects could not be sent is no fault of the connection, they just did not come.

    Raises:
        Retry: The archive fell silent.
        Stop: It will not send, however often it is asked.
    """
    code = status.get("Status")
    if code is None or code in (_UNKNOWN_DESTINATION, 0x0122, 0x0124):
        _judge(status, what)
    if code not in _PENDING and code != 0x0000:
        failed = status.get("NumberOfFailedSuboperations", "some")
        log.warning("%s ended with 0x%04X; %s of the objects asked for did not come", what, code, failed)
