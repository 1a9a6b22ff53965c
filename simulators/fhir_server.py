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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Final

import jwt

from simulators.fhir_http import Handler
from simulators.fhir_records import BEGAN, Body, expected, resources, stamp
from simulators.sent import Sent

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
class Job:
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
        self._jobs: dict[str, Job] = {}
        self._tokens: dict[str, int] = {}
        self._assertions: set[str] = set()
        self._at = BEGAN
        for body, _ in resources(seed, patients):
            self.put(body)
        handler = type("OwnHandler", (Handler,), {"server_of": self})
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
        bounds = {one[:2]: one[2:] for one in query.get("_lastUpdated", "").split(" ")}
        found = self.current([type_], bounds.get("ge", ""))
        if end := bounds.get("lt"):
            found = [one for one in found if _moment(one["meta"]["lastUpdated"]) < _moment(end)]
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
            self._jobs[name] = Job(self.moods.polls, stamp(self._at), files)
        return name

    def job(self, name: str) -> Job | None:
        """Return an export that is still known."""
        return self._jobs.get(name)

    def manifest(self, name: str, job: Job) -> Body:
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


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:  # noqa: ARG001  (as every simulator's)
    """Yield what the page of docs/onboarding calls it: ``FHIR_BASE``, and ``FHIR_TOKEN`` that lets in."""
    with FhirServer(20261101, 30, access=Access("bearer", password="pilot-token")) as server:  # noqa: S106  (invented)
        yield {"FHIR_BASE": server.base, "FHIR_TOKEN": server.access.password}
