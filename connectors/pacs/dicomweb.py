"""An archive asked over HTTP: QIDO-RS to list, WADO-RS to fetch (PS3.18 sections 10.6 and 10.4)."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, cast

import httpx

from connectors.contract import Finding, Found
from connectors.errors import ConnectorError, Retry, Stop
from connectors.pacs.answers import json_answer
from connectors.pacs.archive import ArchiveConnector, Session
from connectors.pacs.instances import Taking, take_file
from connectors.pacs.multipart import Malformed, Parts, boundary
from connectors.pacs.settings import ArchiveSettings
from connectors.pacs.studies import (
    INSTANCE,
    OBJECT_KEYS,
    SERIES,
    SERIES_KEYS,
    STUDY,
    STUDY_KEYS,
    Answer,
    Object,
    Series,
    Study,
    is_uid,
)
from schemas.errors import ConfigurationError

# The library logs every address it asks, and UIDs stand in them.
logging.getLogger("httpx").setLevel(logging.WARNING)

log = logging.getLogger(__name__)

_JSON: Final = "application/dicom+json"
_FILE: Final = 'multipart/related; type="application/dicom"'
#: Largest answer to a query, bytes; entries asked for at a time.
_ANSWER: Final = 64 * 1024 * 1024
_PAGE: Final = 500
_READ: Final = 64 * 1024
#: Longest wait that an archive may ask for before it is asked again, seconds.
_WAIT: Final = 30.0
_BUSY: Final = frozenset((429, 503))
#: Our clock and the archive's may differ by so much, seconds.
_SKEW: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomwebSettings(ArchiveSettings):
    """Settings of an archive that speaks DICOMweb.

    Attributes:
        url: Where it answers, such as https://pacs.example/dicom-web.
        user: User name for basic authentication.
        password_secret: Name of the secret with the user's password.
        token_secret: Name of the secret with a bearer token.
        tls_authority: PEM file of who signed the archive's certificate; the system's authorities where it is left out.
    """

    url: str
    user: str | None = None
    password_secret: str | None = None
    token_secret: str | None = None
    tls_authority: str | None = None

    def __post_init__(self) -> None:
        ArchiveSettings.__post_init__(self)
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            raise ValueError("url must be such as https://pacs.example/dicom-web") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if url.userinfo or url.query or url.fragment:
            raise ValueError("url must hold neither credentials nor ? nor #; use user and password_secret")
        if (self.user is None) != (self.password_secret is None):
            raise ValueError("user and password_secret belong together")
        if self.user is not None and self.token_secret is not None:
            raise ValueError("give user and password_secret, or token_secret, not both")


class DicomwebConnector(ArchiveConnector):
    """Pulls studies over DICOMweb."""

    shape: ClassVar[type[ArchiveSettings]] = DicomwebSettings

    @property
    def settings(self) -> DicomwebSettings:
        """The source's settings."""
        return cast(DicomwebSettings, self.options)

    def session(self) -> Session:
        """Return a session; nothing is connected before it is used."""
        return self._session()

    def _session(self) -> DicomwebSession:
        one, headers = self.settings, {"Accept-Encoding": "identity"}
        auth = None
        if one.user is not None and one.password_secret is not None:
            auth = httpx.BasicAuth(one.user, self.secret(one.password_secret))
        if one.token_secret is not None:
            headers["Authorization"] = f"Bearer {self.secret(one.token_secret)}"
        try:
            trust: ssl.SSLContext | bool = True
            if one.tls_authority is not None:
                trust = ssl.create_default_context(cafile=self.home / one.tls_authority)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("tls_authority cannot be read; give a PEM file") from None

        def connect() -> httpx.Client:
            url, wait = one.url.rstrip("/"), one.seconds
            return httpx.Client(base_url=url, auth=auth, headers=headers, verify=trust, timeout=wait, trust_env=False)

        return DicomwebSession(connect, one)

    def check(self) -> tuple[Finding, ...]:
        """Return what a query for one study tells."""
        try:
            session = self._session()
        except ConfigurationError as error:
            return (Finding("connection", False, str(error)),)
        try:
            found, told = session.look()
        except Stop as error:
            return (Finding("connection", True, "the archive answers"), Finding("rights", False, str(error)))
        except ConnectorError as error:
            return (Finding("connection", False, str(error)),)
        finally:
            session.close()
        return (
            Finding("connection", True, "the archive answers QIDO-RS"),
            Finding(
                "rights", True, f"studies may be listed; {'one' if found else 'none'} came of at most one asked for"
            ),
            _clock(told, self.now()),
            Finding("charset", True, "QIDO-RS answers in UTF-8; objects say their own"),
        )


def _clock(told: str, now: datetime) -> Finding:
    try:
        theirs = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return Finding("clock", True, "the archive does not tell its time")
    apart = abs((now - theirs.astimezone(UTC)).total_seconds())
    if apart > _SKEW:
        return Finding("clock", False, f"its clock and ours are {apart:.0f} s apart; set both by NTP")
    return Finding("clock", True, f"its clock and ours are {apart:.0f} s apart")


class DicomwebSession:
    """Queries and retrievals of one archive."""

    def __init__(self, connect: Callable[[], httpx.Client], settings: DicomwebSettings) -> None:
        self._connect = connect
        self._client: httpx.Client | None = None
        self._settings = settings
        self._any_syntax = True

    def close(self) -> None:
        """Nothing is connected; what is asked afterwards connects anew."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def look(self) -> tuple[int, str]:
        """Return how many studies came of at most one asked for, and the archive's HTTP date."""
        with self._ask("/studies", {"limit": "1"}, _JSON) as response:
            return len(_listed(response)), response.headers.get("Date", "")

    def studies(self, day: date) -> list[Study]:
        """Return the studies of a StudyDate."""
        found = self._query("/studies", STUDY_KEYS, {"StudyDate": f"{day:%Y%m%d}"}, STUDY)
        return sorted((Study(one.text(STUDY), one) for one in found), key=lambda one: one.order)

    def contents(self, study: Study) -> Study:
        """Return the study with its series and objects, those of the wanted modalities."""
        found = self._query(f"/studies/{study.uid}/series", SERIES_KEYS, {}, SERIES)
        series = [Series(one.text(SERIES), one) for one in found]
        chosen = sorted((one for one in series if self._settings.takes(one.modality)), key=lambda one: one.order)
        return replace(study, series=tuple(replace(one, objects=self._objects(study, one)) for one in chosen))

    def _objects(self, study: Study, series: Series) -> tuple[Object, ...]:
        if not is_uid(series.uid):
            return (Object("", series.uid, series.answer),)
        found = self._query(f"/studies/{study.uid}/series/{series.uid}/instances", OBJECT_KEYS, {}, INSTANCE)
        return tuple(sorted((Object(one.text(INSTANCE), series.uid, one) for one in found), key=lambda one: one.order))

    def _query(self, path: str, keys: Sequence[int], wanted: Mapping[str, str], unique: int) -> list[Answer]:
        """Return all answers, page by page, each once."""
        found: dict[str, Answer] = {}
        fields = ",".join(f"{tag:08X}" for tag in keys)
        while True:
            page = {**wanted, "includefield": fields, "limit": str(_PAGE), "offset": str(len(found))}
            with self._ask(path, page, _JSON) as response:
                answers = [json_answer(one, keys) for one in _listed(response)]
            before = len(found)
            found.update((one.text(unique), one) for one in answers)
            if len(answers) < _PAGE or len(found) == before:  # an archive that pays no heed to offset repeats itself
                return list(found.values())

    def fetch(self, study: Study, objects: Sequence[Object], take: Callable[[Object], Taking]) -> Iterator[Found]:
        """Yield those of these objects that the archive hands over."""
        for one in objects:
            taking = take(one)
            taking.wait()
            found = self._retrieve(f"/studies/{study.uid}/series/{one.series}/instances/{one.uid}", one.uid, taking)
            if found is not None:
                yield found

    def _retrieve(self, path: str, uid: str, taking: Taking) -> Found | None:
        accept = _FILE + "; transfer-syntax=*" if self._any_syntax else _FILE
        with self._ask(path, {}, accept, (404, 406, 410, 415, 500)) as response:
            if response.status_code == 200:
                return _object(response, uid, taking)
            refused_syntax = response.status_code in (406, 415) and self._any_syntax
        if refused_syntax:  # archives of before 2018 do not know the wildcard
            self._any_syntax = False
            return self._retrieve(path, uid, taking)
        return None

    @contextmanager
    def _ask(
        self, path: str, parameters: Mapping[str, str], accept: str, also: Sequence[int] = ()
    ) -> Iterator[httpx.Response]:
        """Open one answer of status 200, 204 or one of ``also``; a busy archive is asked again after its time.

        Raises:
            Retry: It is not there, or stays busy.
            Stop: It refuses us.
        """
        client = self._client = self._client or self._connect()
        try:
            for attempt in range(1, self._settings.attempts + 1):
                with client.stream("GET", path, params=parameters, headers={"Accept": accept}) as response:
                    if response.status_code not in _BUSY or attempt == self._settings.attempts:
                        _judge(response, also)
                        yield response
                        return
                    wait = _wait(response, attempt)
                time.sleep(wait)
        except httpx.TransportError as error:
            raise Retry(
                f"the archive at {client.base_url.host} fell silent or hung up ({type(error).__name__}); see that it "
                "runs, that url and certificate are right, that nothing between blocks it"
            ) from None


def _wait(response: httpx.Response, attempt: int) -> float:
    told = response.headers.get("Retry-After", "")
    return min(_WAIT, float(told) if told.isdecimal() else 0.5 * 2**attempt)


def _judge(response: httpx.Response, also: Sequence[int]) -> None:
    code = response.status_code
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise Stop("the archive compresses its answers though it was asked not to; switch that off for DICOMweb")
    if code in (200, 204, *also):
        return
    if code in (401, 403):
        raise Stop(f"the archive refuses us ({code}); check user, password or token, and their rights")
    if code in _BUSY or code >= 500:
        raise Retry(f"the archive answered {code}; it cannot at the moment")
    raise Stop(f"the archive answered {code} where 200 was expected; check url")


def _listed(response: httpx.Response) -> list[Mapping[str, Any]]:
    """Return the entries of an answer to a query.

    Raises:
        Stop: It is no JSON of DICOM's model, or larger than ``_ANSWER``.
    """
    if response.status_code == 204:
        return []
    body = bytearray()
    for piece in response.iter_raw(_READ):
        body += piece
        if len(body) > _ANSWER:
            raise Stop(f"the archive's answer to a query is larger than {_ANSWER} bytes")
    try:
        found = json.loads(bytes(body) or b"[]")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Stop(f"expected a list of {_JSON} as answer to a query; check that url is the root of QIDO-RS")
    return found


def _object(response: httpx.Response, uid: str, taking: Taking) -> Found | None:
    """Return the object of an answer to a retrieval: one part of a multipart body, or all of the body.

    None where the body is no such thing, or ends early: then nothing was delivered.
    """
    pieces = response.iter_raw(_READ)
    try:
        mark = boundary(response.headers.get("Content-Type", ""))
        if mark is None:
            return take_file(pieces, uid, taking)
        for part in Parts(pieces, mark):
            return take_file(part, uid, taking)
    except Malformed as fault:
        log.warning("an answer to a retrieval is no DICOM file: %s", fault)
    return None
