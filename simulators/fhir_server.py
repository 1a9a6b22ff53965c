"""A hospital's FHIR R4 server: search with paging, history, Bulk Data export, OAuth 2.0; with bad days, if asked for.

It is a real HTTP server on the loopback. What it holds is made from a seed; ``late`` adds a resource that the server
dates before what was read last, ``delete`` takes one away. ``Moods`` says what goes wrong, counted by requests, so that
the same calls meet the same trouble. Sources: FHIR R4 3.1 (RESTful API), Bulk Data Access 2.0, SMART backend services.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import jwt

from simulators.fhir_records import BEGAN, Body, expected, resources, stamp
from simulators.sent import Sent

_JSON: Final = "application/fhir+json; charset=utf-8"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(slots=True)
class Moods:
    """What goes wrong.

    Attributes:
        throttle_every: Every so many requests one is answered 429 (0: never).
        fail_every: Every so many requests one is answered 500.
        link_life: Requests after which a paging link is gone (0: never).
        file_life: Downloads after which an export's files are gone (0: never).
        polls: Times an export says that it is not ready.
        cut_after: Bytes after which a download's connection is cut, once for each file (0: never).
        token_requests: Requests that one token is good for (0: all).
        skew_seconds: How far the server's clock is ahead.
        retry_after: What it asks for with 429 and 202.
        hostile: ``endless``, ``loop``, ``origin``, ``redirect``, ``huge``, ``json``, ``html``, or ``""``.
        no_total: Whether searches do not say how many there are.
        file_origin: Another origin that an export's files are said to lie at.
    """

    throttle_every: int = 0
    fail_every: int = 0
    link_life: int = 0
    file_life: int = 0
    polls: int = 1
    cut_after: int = 0
    token_requests: int = 0
    skew_seconds: float = 0
    retry_after: str = "0"
    hostile: str = ""
    no_total: bool = False
    file_origin: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read.

    Attributes:
        kind: ``none``, ``basic``, ``bearer`` or ``smart``.
        user: User or client id.
        password: Password, or token.
        public_key: PEM of the client's public key.
        types: Types that may be read; empty for all.
    """

    kind: str = "none"
    user: str = ""
    password: str = ""
    public_key: str = ""
    types: tuple[str, ...] = ()


@dataclass(slots=True)
class _Job:
    """One export."""

    polls: int
    at: str
    files: dict[str, bytes]
    downloads: int = 0
    cut: set[str] = field(default_factory=set)


class FhirServer:
    """One server; a context manager: ``with FhirServer(seed=1, patients=10) as server: …``."""

    def __init__(
        self, seed: int = 1, patients: int = 20, moods: Moods | None = None, access: Access | None = None, port: int = 0
    ) -> None:
        self.seed, self.patients = seed, patients
        self.moods, self.access = moods or Moods(), access or Access()
        self.asked: Counter[str] = Counter()
        self.lock = Lock()
        self._versions: dict[tuple[str, str], list[Body]] = {}
        self._deleted: dict[tuple[str, str], str] = {}
        self._links: dict[str, tuple[str, list[Body], int, int]] = {}
        self._jobs: dict[str, _Job] = {}
        self._tokens: dict[str, int] = {}
        self._assertions: set[str] = set()
        self._at = BEGAN
        for body, _ in resources(seed, patients):
            self.put(body)
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._http.server_port}"
        self.base = f"{self.origin}/fhir"

    def __enter__(self) -> FhirServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """The server answers."""
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Nothing answers any more; what it held is still known."""
        self._http.shutdown()
        self._http.server_close()

    # What it holds

    def holds(self) -> Sent:
        """Return what must become of what the server held when it was made."""
        right, reasons = expected(self.seed, self.patients)
        return Sent(sealed=right, set_aside=reasons)

    def put(self, body: Body, at: datetime | None = None) -> None:
        """The server holds this version of a resource, dated now or as said."""
        self._at += timedelta(seconds=1)
        key = (body["resourceType"], body["id"])
        with self.lock:
            known = self._versions.setdefault(key, [])
            meta = {"versionId": str(len(known) + 1), "lastUpdated": stamp(at or self._at)}
            known.append({**body, "meta": meta})
            self._deleted.pop(key, None)

    def late(self) -> None:
        """A resource appears that the server dates half a minute before the newest that it holds."""
        self.put(
            {"resourceType": "Patient", "id": f"late-{len(self._versions)}", "active": True},
            self._at - timedelta(seconds=30),
        )

    def delete(self, type_: str, id_: str) -> None:
        """The server no longer holds it, and says so to who asks for what was deleted."""
        self._at += timedelta(seconds=1)
        with self.lock:
            self._deleted[type_, id_] = stamp(self._at)

    def current(self, types: list[str], since: str = "") -> list[Body]:
        """Return the newest versions of these types (none: all) from a time on, oldest first."""
        with self.lock:
            found = [
                versions[-1]
                for key, versions in self._versions.items()
                if key not in self._deleted and (not types or key[0] in types)
            ]
        moment = _moment(since) if since else None
        chosen = [one for one in found if moment is None or _moment(one["meta"]["lastUpdated"]) >= moment]
        return sorted(chosen, key=lambda one: (one["meta"]["lastUpdated"], one["resourceType"], one["id"]))

    def gone(self, types: list[str], since: str) -> list[tuple[str, str, str]]:
        """Return type, id and time of what was deleted from a time on."""
        with self.lock:
            found = [(*key, at) for key, at in self._deleted.items() if not types or key[0] in types]
        return [one for one in found if _moment(one[2]) >= _moment(since)] if since else []

    # Answers

    def now(self) -> float:
        """Return the server's clock."""
        return time.time() + self.moods.skew_seconds

    def search(self, type_: str, query: dict[str, str]) -> Body:
        """Return the first page of a search."""
        found = self.current([type_], query.get("_lastUpdated", "").removeprefix("ge"))
        if query.get("_summary") == "count":
            return self._page([], None, None if self.moods.no_total else len(found))
        size = int(query.get("_count", "20"))
        return self._take(type_, found, 0, size)

    def page(self, token: str) -> Body | None:
        """Return a later page; None where its link is gone."""
        with self.lock:
            held = self._links.get(token)
        life = self.moods.link_life
        if held is None or (life and self.asked["all"] - int(token.split("-")[1]) > life):
            return None
        return self._take(*held)

    def _take(self, type_: str, found: list[Body], start: int, size: int) -> Body:
        more = start + size < len(found)
        link = None
        if more or self.moods.hostile in ("endless", "loop"):
            token = "loop" if self.moods.hostile == "loop" else f"{len(self._links)}-{self.asked['all']}-{self.seed}"
            following = start + size if more else start
            with self.lock:
                self._links[token] = (type_, found, following, size)
            origin = "http://127.0.0.2:9" if self.moods.hostile == "origin" else self.origin
            link = f"{origin}/fhir?_page={token}"
        return self._page(found[start : start + size], link, None if self.moods.no_total else len(found))

    def _page(self, found: list[Body], link: str | None, total: int | None) -> Body:
        entries = [
            {
                "fullUrl": f"{self.base}/{one['resourceType']}/{one['id']}",
                "resource": one,
                "search": {"mode": "match"},
            }
            for one in found
        ]
        links = [{"relation": "self", "url": self.base}, *([{"relation": "next", "url": link}] if link else [])]
        page: Body = {"resourceType": "Bundle", "type": "searchset", "link": links}
        return page | ({"total": total} if total is not None else {}) | ({"entry": entries} if entries else {})

    def history(self, type_: str, since: str) -> Body:
        """Return what changed of a type, newest first, deletions among it."""
        entries = []
        for kind, id_, at in self.gone([type_], since):
            entries.append(
                {
                    "fullUrl": f"{self.base}/{kind}/{id_}",
                    "request": {"method": "DELETE", "url": f"{kind}/{id_}"},
                    "response": {"status": "204", "lastModified": at},
                }
            )
        for one in reversed(self.current([type_], since)):
            entries.append(
                {
                    "fullUrl": f"{self.base}/{type_}/{one['id']}",
                    "resource": one,
                    "request": {"method": "PUT", "url": f"{type_}/{one['id']}"},
                    "response": {"status": "200", "lastModified": one["meta"]["lastUpdated"]},
                }
            )
        page: Body = {"resourceType": "Bundle", "type": "history", "total": len(entries)}
        return page | ({"entry": entries} if entries else {})

    def export(self, query: dict[str, str]) -> str:
        """An export begins; returns its id."""
        types = [one for one in query.get("_type", "").split(",") if one]
        since = query.get("_since", "")
        held: dict[str, list[Body]] = {}
        for one in self.current(types, since):
            held.setdefault(one["resourceType"], []).append(one)
        files = {f"{type_}.ndjson": _lines(found) for type_, found in held.items()}
        if gone := self.gone(types, since):
            deletions = [
                {
                    "resourceType": "Bundle",
                    "type": "transaction",
                    "entry": [{"request": {"method": "DELETE", "url": f"{kind}/{id_}"}}],
                }
                for kind, id_, _ in gone
            ]
            files["deleted-Bundle.ndjson"] = _lines(deletions)
        with self.lock:
            name = f"job-{len(self._jobs)}"
            self._jobs[name] = _Job(self.moods.polls, stamp(self._at), files)
        return name

    def job(self, name: str) -> _Job | None:
        """Return an export that is still known."""
        return self._jobs.get(name)

    def manifest(self, name: str, job: _Job) -> Body:
        """Return what a finished export says."""
        origin = self.moods.file_origin or self.origin

        def listed(prefix: str) -> list[Body]:
            return [
                {
                    "type": file.removesuffix(".ndjson").removeprefix("deleted-"),
                    "url": f"{origin}/bulk/file/{name}/{file}",
                    "count": content.count(b"\n"),
                }
                for file, content in job.files.items()
                if file.startswith("deleted-") is (prefix == "deleted")
            ]

        return {
            "transactionTime": job.at,
            "request": f"{self.base}/$export",
            "requiresAccessToken": self.access.kind != "none",
            "output": listed("output"),
            "deleted": listed("deleted"),
            "error": [],
        }

    def forget(self, name: str) -> bool:
        """The export's files are gone; returns whether they were there."""
        return self._jobs.pop(name, None) is not None

    # Who asks

    def token(self, form: dict[str, str]) -> tuple[int, Body]:
        """Return the answer of the token endpoint (RFC 6749 4.4, RFC 7523)."""
        refused = (400, {"error": "invalid_client"})
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != _ASSERTION:
            return 400, {"error": "unsupported_grant_type"}
        try:
            claims = jwt.decode(
                form.get("client_assertion", ""), self.access.public_key, algorithms=["RS384", "ES384"],
                audience=f"{self.origin}/token", issuer=self.access.user,
                options={"require": ["exp", "jti", "sub"], "verify_exp": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return refused
        with self.lock:
            fresh = claims["jti"] not in self._assertions and self.now() < claims["exp"] <= self.now() + 330
            if not fresh or claims["sub"] != self.access.user:
                return refused
            self._assertions.add(claims["jti"])
            name = f"token-{len(self._tokens)}"
            self._tokens[name] = self.moods.token_requests
        return 200, {"access_token": name, "token_type": "bearer", "expires_in": 300, "scope": form.get("scope", "")}

    def admits(self, header: str) -> bool:
        """Whether who sends this Authorization header may read."""
        access = self.access
        if access.kind == "none":
            return True
        if access.kind == "basic":
            return header == "Basic " + base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
        token = header.removeprefix("Bearer ")
        if access.kind == "bearer":
            return token == access.password
        with self.lock:
            if token not in self._tokens:
                return False
            if self._tokens[token]:
                self._tokens[token] -= 1
                if not self._tokens[token]:
                    del self._tokens[token]
        return True


def _lines(found: list[Body]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in found)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class _Handler(BaseHTTPRequestHandler):
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
        self._answer(self._get)

    def do_POST(self) -> None:
        size = min(int(self.headers.get("Content-Length", "0")), self._LONGEST)
        form = {key: values[0] for key, values in parse_qs(self.rfile.read(size).decode("utf-8", "replace")).items()}
        if urlsplit(self.path).path == "/token":
            self.server_of.asked["token"] += 1
            status, body = self.server_of.token(form)
            return self._json(status, body)
        return self._json(404, {"resourceType": "OperationOutcome"})

    def do_DELETE(self) -> None:
        self._answer(lambda path, _query: self._forget(path))

    def _answer(self, make: Callable[[str, dict[str, str]], None]) -> None:
        server = self.server_of
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
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
