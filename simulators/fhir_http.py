"""The HTTP side of the simulated FHIR server: what each request is answered, and the bad answers it was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from simulators.fhir_records import BEGAN, Body, stamp

if TYPE_CHECKING:
    from simulators.fhir_server import FhirServer

_JSON: Final = "application/fhir+json; charset=utf-8"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    #: Header and body leave together; in two packets each answer would wait for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server_of: FhirServer
    #: Longest body that it takes.
    _LONGEST: Final = 1 << 20

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the server's own clock as the Date header has it."""
        return formatdate(timestamp or self.server_of.now(), usegmt=True)

    def do_GET(self) -> None:
        """Answer what is read."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer who wants a token."""
        size = min(int(self.headers.get("Content-Length", "0")), self._LONGEST)
        form = {key: values[0] for key, values in parse_qs(self.rfile.read(size).decode("utf-8", "replace")).items()}
        if urlsplit(self.path).path == "/token":
            self.server_of.asked["token"] += 1
            status, body = self.server_of.token(form)
            return self._json(status, body)
        return self._json(404, {"resourceType": "OperationOutcome"})

    def do_DELETE(self) -> None:
        """Forget an export."""
        self._answer(lambda path, _query: self._forget(path))

    def _answer(self, make: Callable[[str, dict[str, str]], None]) -> None:
        server = self.server_of
        url = urlsplit(self.path)
        query = {key: " ".join(values) for key, values in parse_qs(url.query).items()}
        with server.lock:
            server.asked["all"] += 1
            count = server.asked["all"]
        if url.path == "/.well-known/smart-configuration" or url.path == "/fhir/.well-known/smart-configuration":
            return self._json(200, {"token_endpoint": f"{server.origin}/token"})
        if server.moods.throttle_every and count % server.moods.throttle_every == 0:
            server.asked["throttled"] += 1
            return self._json(429, _outcome("throttled"), {"Retry-After": server.moods.retry_after})
        if server.moods.fail_every and count % server.moods.fail_every == 0:
            server.asked["failed"] += 1
            return self._json(500, _outcome("exception"))
        if url.path == "/fhir/metadata":
            return self._json(200, _capabilities(server))
        if not server.admits(self.headers.get("Authorization", "")):
            server.asked["unauthorised"] += 1
            return self._json(401, _outcome("login"), {"WWW-Authenticate": "Bearer"})
        return make(url.path, query)

    def _get(self, path: str, query: dict[str, str]) -> None:
        parts = path.strip("/").split("/")
        if parts[:2] == ["bulk", "job"]:
            return self._poll(parts[2])
        if parts[:2] == ["bulk", "file"]:
            return self._file(parts[2], parts[3])
        if parts[-1] == "$export":
            return self._kick_off(query)
        if path.strip("/") == "fhir" and "_page" in query:
            return self._searched(self.server_of.page(query["_page"]))
        if len(parts) >= 2 and self.server_of.access.types and parts[1] not in self.server_of.access.types:
            return self._json(403, _outcome("forbidden"))
        if len(parts) == 3 and parts[2] == "_history":
            return self._json(200, self.server_of.history(parts[1], query.get("_since", "")))
        if len(parts) == 2 and parts[1].isalpha():
            return self._searched(self.server_of.search(parts[1], query))
        return self._json(404, _outcome("not-found"))

    def _searched(self, page: Body | None) -> None:
        self.server_of.asked["search"] += 1
        hostile = self.server_of.moods.hostile
        if page is None:
            return self._json(410, _outcome("expired"))
        if hostile == "json":
            return self._send(200, _JSON, b'{"resourceType": "Bundle", "type": "searchset", "entry": [{]')
        if hostile == "html":
            return self._send(200, "text/html", b"<html><body>Session expired, please log in</body></html>")
        if hostile == "redirect":
            return self._send(302, _JSON, b"", {"Location": "http://127.0.0.2:9/fhir"})
        if hostile == "huge":
            return self._huge()
        return self._json(200, page)

    def _huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", _JSON)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for _ in range(4096):
                self.wfile.write(b" " * 65_536)
        except OSError:
            return

    def _kick_off(self, query: dict[str, str]) -> None:
        if "respond-async" not in self.headers.get("Prefer", ""):
            return self._json(400, _outcome("required"))
        self.server_of.asked["export"] += 1
        name = self.server_of.export(query)
        return self._send(202, _JSON, b"", {"Content-Location": f"{self.server_of.origin}/bulk/job/{name}"})

    def _poll(self, name: str) -> None:
        job = self.server_of.job(name)
        self.server_of.asked["poll"] += 1
        if job is None:
            return self._json(404, _outcome("not-found"))
        if job.polls > 0:
            job.polls -= 1
            headers = {"Retry-After": self.server_of.moods.retry_after, "X-Progress": "in progress"}
            return self._send(202, _JSON, b"", headers)
        return self._json(200, self.server_of.manifest(name, job))

    def _file(self, name: str, file: str) -> None:
        server, job = self.server_of, self.server_of.job(name)
        server.asked["file"] += 1
        if job is None or file not in job.files:
            return self._json(404, _outcome("not-found"))
        job.downloads += 1
        if server.moods.file_life and job.downloads > server.moods.file_life:
            return self._json(403, _outcome("expired"))
        content = job.files[file]
        if server.moods.cut_after and file not in job.cut and len(content) > server.moods.cut_after:
            job.cut.add(file)
            self.send_response(200)
            self.send_header("Content-Type", "application/fhir+ndjson")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: server.moods.cut_after])
            self.close_connection = True
            return None
        return self._send(200, "application/fhir+ndjson", content)

    def _forget(self, path: str) -> None:
        self.server_of.asked["forgotten"] += 1
        known = self.server_of.forget(path.rstrip("/").rpartition("/")[2])
        return self._send(202 if known else 404, _JSON, b"")

    def _json(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        self._send(status, _JSON, json.dumps(body, ensure_ascii=False).encode(), headers)

    def _send(self, status: int, media: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": media, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


def _outcome(code: str) -> Body:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


def _capabilities(server: FhirServer) -> Body:
    def types() -> Iterator[Body]:
        for type_ in sorted({one["resourceType"] for one in server.current([])}):
            yield {
                "type": type_,
                "interaction": [{"code": "search-type"}, {"code": "read"}, {"code": "history-type"}],
                "searchParam": [{"name": "_lastUpdated", "type": "date"}],
            }

    definition = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": stamp(BEGAN),
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "implementation": {"description": "Xinglin's simulated hospital"},
        "rest": [
            {"mode": "server", "resource": list(types()), "operation": [{"name": "export", "definition": definition}]}
        ],
    }
