"""Bulk Data export: asked for, waited for across runs, its files streamed, taken up in the middle of a file.

The cursor holds the server's address of the running export, the file and the line that comes next; the server's
manifest is asked for again when reading goes on. Where export or files have expired, a new export is asked for from the
same time on. The job is deleted at the server when its last line has come. Source: Bulk Data Access IG 2.0, Export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx

from connectors.contract import DigestFactory, Found, Mark, oversize
from connectors.errors import Retry, Stop
from connectors.his.fhir_access import retry_after
from connectors.his.fhir_client import FhirClient, Gone
from connectors.his.fhir_lines import Lines
from connectors.his.fhir_search import native_id
from schemas.records import Refusal

#: Exports that one read asks for, at most: the first, and one for each that expired while it was read.
_EXPORTS: Final = 3
#: Lines between two cursors within a file.
_LINES_PER_MARK: Final = 1_000
#: Waits between two looks at an export, where the server does not say: from, to, seconds.
_LOOKS: Final = (1.0, 60.0)
_FILES: Final = 100_000


@dataclass(frozen=True, slots=True)
class _File:
    """One file of an export.

    Attributes:
        url: Where it lies.
        kind: Whether its lines are resources, bundles of deletions, or the export's own errors.
        count: Lines that the server counts, or None.
    """

    url: str
    kind: Literal["output", "deleted", "error"]
    count: int | None


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a finished export says."""

    at: str
    token: bool
    files: tuple[_File, ...]

    @property
    def expected(self) -> int | None:
        """How many lines the server counts in all; None where it does not."""
        counts = [one.count for one in self.files if one.kind != "error"]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)


class Bulk:
    """Reads one server by exports."""

    def __init__(
        self,
        client: FhirClient,
        record_bytes: int,
        digest: DigestFactory,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self._client, self._settings = client, client.settings
        self._record_bytes, self._digest = record_bytes, digest
        self._now, self._sleep = now, sleep

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield what an export from the cursor on holds.

        Cursor: ``{"bulk": {"since": <transactionTime>, "job": {"url", "at", "file", "line"}}}``; ``job`` only while an
        export runs or is read.
        """
        state: dict[str, Any] = dict(cursor.get("bulk", {}))
        job: dict[str, Any] = dict(state.get("job", {}))
        since = state.get("since", "")
        for _ in range(_EXPORTS):
            if not job:
                job = {"url": self._kick_off(since)}
                yield self._mark(since, job, waiting=1)
            try:
                manifest = self._manifest(job["url"])
                if manifest is None:
                    yield self._mark(since, job, waiting=1)
                    return
                whole = job.get("at") != manifest.at
                if whole:
                    job = {"url": job["url"], "at": manifest.at, "file": 0, "line": 0}
                yield from self._files(since, job, manifest)
            except Gone:
                job = {}
                continue
            self._forget(job["url"])
            yield Mark({"bulk": {"since": manifest.at}}, expected=manifest.expected if whole else None)
            return
        raise Retry(f"{self._client.name}: exports expire before their files are read; run again, or keep them longer")

    def _mark(self, since: str, job: Mapping[str, Any], waiting: int = 0) -> Mark:
        return Mark({"bulk": {**({"since": since} if since else {}), "job": dict(job)}}, waiting)

    def _kick_off(self, since: str) -> str:
        """Ask for an export; return the address at which to look for it."""
        query = {"_outputFormat": "application/fhir+ndjson", "_type": ",".join(self._settings.types)}
        if since:
            before = datetime.fromisoformat(since) - timedelta(minutes=self._settings.overlap_minutes)
            query["_since"] = before.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        url = f"{self._settings.base.rstrip('/')}/{self._settings.export}?{urlencode(query)}"
        answer = self._client.get(url, {"Accept": "application/fhir+json", "Prefer": "respond-async"})
        address = answer.headers.get("content-location", "")
        if answer.status != 202 or not address:
            raise self._client.unexpected(answer.status if answer.status != 202 else 404, self._settings.export)
        return address

    def _manifest(self, url: str) -> _Manifest | None:
        """Return what the export says once it is ready; None where it is not within ``poll_seconds``."""
        ends, wait = monotonic() + self._settings.poll_seconds, _LOOKS[0]
        while True:
            answer, body = self._client.json(url, {"Accept": "application/json"})
            if answer.status in (404, 410):
                raise Gone
            if answer.status == 200:
                return self._read_manifest(body)
            if answer.status != 202:
                raise self._client.unexpected(answer.status, "the state of the export")
            asked = retry_after(answer.headers, self._now())
            pause = wait if asked is None else asked
            if monotonic() + pause > ends:
                return None
            self._sleep(pause)
            wait = min(wait * 2, _LOOKS[1])

    def _read_manifest(self, body: Any) -> _Manifest:
        try:
            at = body["transactionTime"]
            datetime.fromisoformat(at)
            files = tuple(_file(one, kind) for kind in _KINDS for one in body.get(kind, ()))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Retry(
                f"{self._client.name}: expected a manifest with transactionTime and output; ask the server's operator"
            ) from None
        if len(files) > _FILES:
            raise Stop(f"{self._client.name}: the export has more than {_FILES} files; export fewer types at a time")
        return _Manifest(at, body.get("requiresAccessToken", True) is not False, files)

    def _files(self, since: str, job: dict[str, Any], manifest: _Manifest) -> Iterator[Found | Mark]:
        for number in range(int(job["file"]), len(manifest.files)):
            file = manifest.files[number]
            for line in self._lines(file, manifest.token, int(job["line"])):
                position = f"line {job['line'] + 1} of file {number} of the export of {manifest.at}"
                job["line"] += 1
                if (found := self._found(line, file.kind, position)) is not None:
                    yield found
                if job["line"] % _LINES_PER_MARK == 0:
                    yield self._mark(since, job)
            job.update(file=number + 1, line=0)
            yield self._mark(since, job)

    def _lines(self, file: _File, token: bool, done: int) -> Iterator[Found | bytes]:
        """Yield the lines of a file behind the first ``done``; a broken connection is taken up again.

        One over the source's limit comes as what is kept of it.
        """
        without_progress = 0
        while True:
            number = 0
            try:
                with self._client.stream(file.url, token) as chunks:
                    for number, line in enumerate(Lines(chunks, self._record_bytes, self._digest), 1):
                        if number > done:
                            done, without_progress = number, 0
                            yield line
                return
            except (httpx.TransportError, httpx.DecodingError) as error:
                without_progress += 1
                if without_progress >= self._settings.attempts:
                    raise Retry(
                        f"{self._client.name}: a file of the export breaks off ({type(error).__name__}) after line "
                        f"{done}; run again"
                    ) from None
                self._sleep(self._settings.backoff_seconds)

    def _found(self, line: Found | bytes, kind: str, position: str) -> Found | None:
        if isinstance(line, Found):
            refusal = oversize(self._record_bytes, position)
            return Found(line.content, position, "", refusal, line.size, line.digest)
        if not line.strip():
            return None
        try:
            body = json.loads(line)
        except (ValueError, RecursionError):
            body = None
        if kind == "error":
            return _reported(line, body, position)
        name = native_id(body) if isinstance(body, dict) else ""
        return Found(line, position, f"deleted {position}" if kind == "deleted" else name)

    def _forget(self, url: str) -> None:
        """The server may delete the export; that it cannot is no fault."""
        try:
            self._client.get(url, method="DELETE")
        except (Retry, Stop):
            return


_KINDS: Final[tuple[Literal["output", "deleted", "error"], ...]] = ("output", "deleted", "error")


def _file(one: Mapping[str, Any], kind: Literal["output", "deleted", "error"]) -> _File:
    url, count = one["url"], one.get("count")
    if not isinstance(url, str):
        raise TypeError
    return _File(url, kind, count if type(count) is int and count >= 0 else None)


def _reported(line: bytes, body: Any, position: str) -> Found | None:
    """Return what the export itself says went wrong, as something that could not be handed over."""
    issues = body.get("issue", ()) if isinstance(body, dict) else ({"severity": "error"},)
    listed = issues if isinstance(issues, list) else ()
    severities = {one.get("severity") for one in listed if isinstance(one, dict)}
    if severities and severities <= {"information", "success", "warning"}:
        return None
    told = "the export reports an error of its own here; ask the server's operator what was left out"
    return Found(line, position, "", Refusal("source_error", position, told))
