"""Search, type by type, from a watermark on; and what was deleted, from each type's history.

The watermark of a type is the newest ``meta.lastUpdated`` that came, never beyond the server's own clock, and it moves
only when the last page of the type has come; between pages the cursor holds the server's link to the next one. Where
that link has expired, the type is read again from its watermark: what was landed lands once. Source: FHIR R4, 3.1.1
(search), 3.1.1.5.11 (paging), 3.1.0.8 (history).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from connectors.contract import Found, Mark
from connectors.errors import Retry, Stop
from connectors.his.fhir_access import server_time
from connectors.his.fhir_client import Answer, FhirClient, Gone
from connectors.his.fhir_pages import Malformed, Page, Piece, cut
from schemas.records import Refusal

#: Times that a type is begun anew within one read after its links expired.
_ANEW: Final = 2
#: Pages in a row that may hold nothing that has not come before.
_NOTHING_NEW: Final = 5
#: A resource may be dated so far ahead of the server's own clock.
_AHEAD: Final = timedelta(minutes=5)
_EXPIRED: Final = frozenset({400, 404, 410})


class Search:
    """Reads one server by search."""

    def __init__(self, client: FhirClient, now: Callable[[], datetime]) -> None:
        self._client, self._settings, self._now = client, client.settings, now
        self._base = client.settings.base.rstrip("/")

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield the resources of every type from the cursor on.

        Cursor: ``{"types": {<type>: {"since": <watermark>, "high": <newest so far>, "next": <link>}}}``; ``high`` and
        ``next`` only within a type.
        """
        types: dict[str, dict[str, str]] = {name: dict(one) for name, one in cursor.get("types", {}).items()}
        counted: int | None = 0
        for type_ in self._settings.types:
            before = types.get(type_, {}).get("since")
            total = yield from self._type(type_, types)
            if self._settings.deletions and before:
                try:
                    yield from self._deletions(type_, self._since(before))
                except Gone:
                    raise Retry(f"{self._client.name}: links into the history of {type_} expire; run again") from None
            counted = counted + total if counted is not None and total is not None else None
            yield _mark(types, counted)

    def _type(self, type_: str, types: dict[str, dict[str, str]]) -> Any:
        """Yield one type's resources; return how many the server counts, or None."""
        state = types.setdefault(type_, {})
        for _ in range(_ANEW + 1):
            try:
                return (yield from self._pages(type_, state, types))
            except Gone:
                state.pop("next", None)
                state.pop("high", None)
        raise Retry(f"{self._client.name}: links to the next page of {type_} expire too soon; run again")

    def _pages(self, type_: str, state: dict[str, str], types: dict[str, dict[str, str]]) -> Any:
        since, high, total = state.get("since", ""), state.get("high", ""), None
        resumed = "next" in state
        for number, answer, page in self._walk(state.get("next") or self._first(type_, since), type_, resumed):
            if number == 0 and not resumed:
                total = self._count(type_, since) if page.total is None else page.total
            high = max(high, self._newest(page, answer), key=_moment)
            yield from self._found(page.pieces, type_, number)
            if page.following:
                state.update({"high": high, "next": page.following} if high else {"next": page.following})
                yield _mark(types)
        state.clear()
        state["since"] = max(since, high, key=_moment)
        return total

    def _walk(self, url: str, what: str, following: bool = False) -> Iterator[tuple[int, Answer, Page]]:
        """Yield number, answer and content of each page from an address on.

        Raises:
            Gone: The link to a page has expired.
            Stop: The pages never end.
        """
        seen: set[bytes] = set()
        stale = 0
        for number in range(self._settings.pages):
            answer = self._client.get(url, {"Accept": "application/fhir+json"})
            page = self._page(answer, what, following or number > 0)
            yield number, answer, page
            if not page.following:
                return
            stale = stale + 1 if self._is_known(page, seen) else 0
            if stale >= _NOTHING_NEW or page.following == url:
                raise Stop(f"{self._client.name}: the pages of {what} never end; have the server's paging repaired")
            url = page.following
        raise Stop(f"{self._client.name}: more than {self._settings.pages} pages of {what}; raise pages or count")

    def past(self, begin: datetime, end: datetime) -> Iterator[Found]:
        """Yield the resources that the server last changed from ``begin`` to before ``end``."""
        for type_ in self._settings.types:
            window = [("_count", str(self._settings.count))]
            window += [("_lastUpdated", f"ge{_instant(begin)}"), ("_lastUpdated", f"lt{_instant(end)}")]
            try:
                for number, _, page in self._walk(f"{self._base}/{type_}?{urlencode(window)}", type_):
                    yield from self._found(page.pieces, type_, number)
            except Gone:
                raise Retry(f"{self._client.name}: links to the next page of {type_} expire; run again") from None

    def _first(self, type_: str, since: str) -> str:
        query = {"_count": str(self._settings.count)}
        if since:
            query["_lastUpdated"] = f"ge{self._since(since)}"
        return f"{self._base}/{type_}?{urlencode(query)}"

    def _since(self, watermark: str) -> str:
        return _instant(_moment(watermark) - timedelta(minutes=self._settings.overlap_minutes))

    def _count(self, type_: str, since: str) -> int | None:
        """Return how many the server counts where its pages do not say."""
        query = {"_summary": "count", **({"_lastUpdated": f"ge{self._since(since)}"} if since else {})}
        answer, body = self._client.json(f"{self._base}/{type_}?{urlencode(query)}")
        total = body.get("total") if isinstance(body, dict) and answer.status == 200 else None
        return total if type(total) is int else None

    def _page(self, answer: Answer, type_: str, following: bool) -> Page:
        if following and answer.status in _EXPIRED:
            raise Gone
        if answer.status != 200:
            raise self._client.unexpected(answer.status, type_)
        try:
            return cut(answer.content)
        except Malformed as error:
            self._client.parsed(answer)  # says better what came where it is no JSON at all
            raise Retry(f"{self._client.name}: for {type_} {error}; run again, then ask the operator") from None

    def _found(self, pieces: list[Piece], type_: str, number: int) -> Iterator[Found]:
        for position, piece in enumerate(pieces):
            place = f"entry {position} of page {number} of {type_}"
            search = piece.entry.get("search")
            mode = search.get("mode") if isinstance(search, dict) else None
            if mode not in (None, "match"):
                continue
            if not isinstance(piece.resource, dict):
                refusal = Refusal("not_fhir", place, "expected an entry with a resource; repair the server's answer")
                yield Found(piece.content, place, "", refusal)
            else:
                yield Found(piece.content, place, native_id(piece.resource))

    def _newest(self, page: Page, answer: Answer) -> str:
        """Return the newest ``lastUpdated`` of a page that the server's clock allows, or ``""``."""
        limit = (server_time(answer.headers) or self._now()) + _AHEAD
        times = [moment for piece in page.pieces if (moment := _updated(piece.resource)) is not None]
        allowed = [one for one in times if one <= limit]
        return _instant(max(allowed)) if allowed else ""

    def _is_known(self, page: Page, seen: set[bytes]) -> bool:
        """Whether nothing of the page is new; an empty page is not."""
        mark = sha256(b"\0".join(piece.content for piece in page.pieces)).digest()[:12] if page.pieces else b""
        known = mark in seen or not mark
        seen.add(mark)
        return known

    def _deletions(self, type_: str, since: str) -> Iterator[Found]:
        """Yield what a type's history says was deleted, as bundles of the entry as the server wrote it."""
        url = f"{self._base}/{type_}/_history?{urlencode({'_since': since, '_count': str(self._settings.count)})}"
        met: set[str] = set()
        for number, _, page in self._walk(url, f"{type_}/_history"):
            for position, piece in enumerate(page.pieces):
                request = piece.entry.get("request")
                told = request if isinstance(request, dict) else {}
                name = _named(piece, told)
                # The newest version comes first: what was made again after its deletion is there.
                if name not in met and told.get("method") == "DELETE":
                    content = b'{"resourceType":"Bundle","type":"history","entry":[' + piece.content + b"]}"
                    yield Found(content, f"entry {position} of page {number} of {type_}/_history", f"{name} deleted")
                met.add(name)


def _mark(types: Mapping[str, Mapping[str, str]], expected: int | None = None) -> Mark:
    return Mark({"types": {name: dict(one) for name, one in types.items()}}, expected=expected)


def native_id(resource: Mapping[str, Any]) -> str:
    """Return the sender's id of a version of a resource: type, id and version, as far as they are there."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    parts = [resource.get("resourceType"), resource.get("id"), version]
    return "/".join(one[:64] for one in parts if isinstance(one, str))


def _named(piece: Piece, request: Mapping[str, Any]) -> str:
    if isinstance(piece.resource, dict):
        return "/".join(native_id(piece.resource).split("/")[:2])
    return "/".join(str(request.get("url", "")).rstrip("/").split("/")[-2:])[:130]


def _updated(resource: Any) -> datetime | None:
    meta = resource.get("meta") if isinstance(resource, dict) else None
    told = meta.get("lastUpdated") if isinstance(meta, dict) else None
    if not isinstance(told, str) or "T" not in told:
        return None
    try:
        found = datetime.fromisoformat(told)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _moment(watermark: str) -> datetime:
    return datetime.fromisoformat(watermark) if watermark else datetime.min.replace(tzinfo=UTC)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
