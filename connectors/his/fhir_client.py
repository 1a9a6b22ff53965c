"""HTTP to one FHIR server: bounded answers, bounded patience, its own origin only, certificates always verified.

What goes wrong is told by what happens next: Retry where the server may do better later, Stop where a person must act,
Gone where an address that the server itself gave is no more.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from connectors.errors import Retry, Stop
from connectors.his.fhir_access import Access, refused_for_long, retry_after
from connectors.his.fhir_settings import FhirSettings
from schemas.errors import ConfigurationError

# httpx writes every address it asks for into the log; a server's paging links may hold anything.
logging.getLogger("httpx").setLevel(logging.WARNING)

#: Answers after which the same request may do better.
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_REDIRECTS: Final = 3
_LONGEST_ADDRESS: Final = 8_192
_CHUNK: Final = 64 * 1024
#: One answer may take so many times ``timeout_seconds`` in all: a byte now and then keeps nobody waiting for ever.
_LONGEST_ANSWER: Final = 5


class Gone(Exception):
    """An address that the server gave is no more: its page, export or file has expired."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole.

    Attributes:
        status: HTTP status.
        headers: Names in small letters.
        content: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class FhirClient:
    """Asks one server.

    Args:
        name: The source's id, for messages.
        settings: The server's.
        home: Folder that ``ca_file`` starts from.
        secret: Returns the secret of a name.
        now: Our clock.
        sleep: Waits.
    """

    def __init__(
        self,
        name: str,
        settings: FhirSettings,
        home: Path,
        secret: Callable[[str], str],
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.settings = name, settings
        self._now, self._sleep = now, sleep
        self._own = _origin(settings.base)
        self._files = {self._own, *map(_origin, settings.file_origins)}
        self.access = Access(name, settings, secret, self._ask_token, now)
        self._http = httpx.Client(
            verify=_trust(home, settings), timeout=settings.timeout_seconds, follow_redirects=False, trust_env=False
        )

    def close(self) -> None:
        """No connection is open any more."""
        self._http.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
        """Return the answer to a request of the server's own origin, whatever its status but those retried.

        Raises:
            Retry: The server did not answer, or would not within ``patience_seconds``.
            Stop: It is another origin, it refuses the credentials, or its certificate is not trusted.
        """
        for _ in range(_REDIRECTS + 1):
            self._check_origin(url)
            with self._asked(method, url, dict(headers or {}), True) as response:
                if response.status_code not in _MOVED:
                    return self._whole(response)
                url = urljoin(url, response.headers.get("location", ""))
        raise Stop(f"{self.name}: the server redirects without end; correct settings.base")

    def json(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[Answer, Any]:
        """Return an answer with what its JSON says.

        Raises:
            Retry: What came is no JSON, besides what ``get`` raises.
        """
        answer = self.get(url, {"Accept": "application/fhir+json", **(headers or {})})
        return answer, self.parsed(answer)

    def parsed(self, answer: Answer) -> Any:
        """Return what the JSON of an answer says; None where it is empty."""
        if not answer.content.strip():
            return None
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError):
            raise Retry(
                f"{self.name}: expected FHIR JSON (HTTP {answer.status}), got {_kind(answer)}; see that settings.base "
                "is the FHIR endpoint and no page of a proxy or login stands before it"
            ) from None

    @contextmanager
    def stream(self, url: str, token: bool) -> Generator[Iterator[bytes], None, None]:
        """Give the chunks of a file of an export; a broken connection raises ``httpx.TransportError`` in between.

        Args:
            url: As the manifest gives it; at the server's own origin or one that ``file_origins`` lists.
            token: Whether the file needs the access token.

        Raises:
            Gone: The file is no more.
            Retry, Stop: As ``get``.
        """
        if _origin(url) not in self._files or len(url) > _LONGEST_ADDRESS:
            raise Stop(
                f"{self.name}: the export's files lie at another origin than the server; where that is right, list it "
                "in settings.file_origins"
            )
        with self._asked("GET", url, {"Accept": "application/fhir+ndjson"}, token, expiring=True) as response:
            if response.status_code != 200:
                raise self.unexpected(response.status_code, "a file of the export")
            yield response.iter_bytes(_CHUNK)

    def _check_origin(self, url: str) -> None:
        if len(url) > _LONGEST_ADDRESS:
            raise Stop(f"{self.name}: the server gave an address of more than {_LONGEST_ADDRESS} characters")
        if _origin(url) != self._own:
            raise Stop(
                f"{self.name}: the server points at another origin than settings.base; it is not followed, because "
                "credentials and data must not go there; correct settings.base or the server's own address"
            )

    @contextmanager
    def _asked(
        self, method: str, url: str, headers: dict[str, str], token: bool, expiring: bool = False
    ) -> Generator[httpx.Response, None, None]:
        """Give the first answer that is not worth another try; its body is not read yet."""
        waited, renewed = 0.0, False
        for attempt in range(1, self.settings.attempts + 1):
            last = attempt == self.settings.attempts
            signed = {**headers, **(self.access.header() if token else {})}
            try:
                response = self._http.send(self._http.build_request(method, url, headers=signed), stream=True)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                self._give_up(error, last)
                waited = self._wait(waited, attempt, None)
                continue
            if response.status_code == 401 and token and not renewed and self.access.renew():
                renewed = True
                response.close()
                continue
            if response.status_code in (401, 403) and not (expiring and response.status_code == 403):
                response.close()
                raise self.unexpected(response.status_code, "the request")
            if expiring and response.status_code in (403, 404, 410):
                response.close()
                raise Gone
            if response.status_code in _LATER and not last:
                asked = retry_after(response.headers, self._now())
                response.close()
                waited = self._wait(waited, attempt, asked)
                continue
            try:
                if response.status_code in _LATER:
                    raise Retry(f"{self.name}: the server answers HTTP {response.status_code} again and again")
                yield response
            finally:
                response.close()
            return
        raise Retry(f"{self.name}: the server refuses every new token (HTTP 401); run again later")

    def _give_up(self, error: Exception, last: bool) -> None:
        """Raise where another try is no use."""
        if _is_distrust(error):
            raise Stop(
                f"{self.name}: the server's certificate is not trusted; have one issued for its name, or name the "
                "authority's file in settings.ca_file"
            ) from None
        if isinstance(error, httpx.InvalidURL):
            raise Stop(f"{self.name}: the server gave an address that is none") from None
        if last:
            # `from None`: the text of the library's error may hold an address.
            raise Retry(
                f"{self.name}: no answer ({type(error).__name__}); see that the server runs and this machine reaches it"
            ) from None

    def _wait(self, waited: float, attempt: int, asked: float | None) -> float:
        seconds = self.settings.backoff_seconds * 2 ** (attempt - 1) if asked is None else asked
        if waited + seconds > self.settings.patience_seconds:
            raise refused_for_long(self.name, seconds)
        self._sleep(seconds)
        return waited + seconds

    def _whole(self, response: httpx.Response) -> Answer:
        held, ends = bytearray(), time.monotonic() + _LONGEST_ANSWER * self.settings.timeout_seconds
        try:
            for chunk in response.iter_bytes(_CHUNK):
                held += chunk
                if time.monotonic() > ends:
                    raise Retry(f"{self.name}: an answer goes on for too long; lower count, or raise timeout_seconds")
                if len(held) > self.settings.answer_bytes:
                    raise Stop(
                        f"{self.name}: an answer is larger than answer_bytes ({self.settings.answer_bytes}); lower "
                        "count, or raise the limit"
                    )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Retry(f"{self.name}: an answer broke off ({type(error).__name__}); run again") from None
        return Answer(response.status_code, response.headers, bytes(held))

    def unexpected(self, status: int, what: str) -> Exception:
        """Return the error of an answer that cannot be used."""
        if status == 401:
            return Stop(f"{self.name}: the server refuses the credentials (HTTP 401); correct the secret or the client")
        if status == 403:
            return Stop(f"{self.name}: no right to read {what} (HTTP 403); have the server grant it")
        if status in (400, 404, 405, 406, 410, 422):
            return Stop(f"{self.name}: the server does not take {what} (HTTP {status}); correct base, types or export")
        return Retry(f"{self.name}: HTTP {status} came for {what}; run again, then ask the server's operator")

    def _ask_token(self, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], Any]:
        headers = {"Accept": "application/json"}
        method = "POST" if form is not None else "GET"
        for attempt in range(1, self.settings.attempts + 1):
            try:
                with self._http.stream(method, url, data=form, headers=headers) as response:
                    if response.status_code not in _LATER:
                        answer = self._whole(response)
                        return answer.status, answer.headers, _object(answer.content)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                self._give_up(error, attempt == self.settings.attempts)
            self._wait(0.0, attempt, None)
        raise Retry(f"{self.name}: the token endpoint answers with errors again and again; run again later")


def _object(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return {}


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", "", 0


def _kind(answer: Answer) -> str:
    media = answer.headers.get("content-type", "nothing that is named").partition(";")[0].strip()
    return media if media.isascii() and media.isprintable() and len(media) < 80 else "something else"


def _is_distrust(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _trust(home: Path, settings: FhirSettings) -> ssl.SSLContext:
    """Return who is trusted: the system's authorities, or the one that the settings name."""
    try:
        return ssl.create_default_context(cafile=str(home / settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError):
        raise ConfigurationError("settings: ca_file cannot be read as certificates (PEM)") from None
