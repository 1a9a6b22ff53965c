"""The web application of the page: one document, its style, its script; read-only, and nothing from outside.

Who may see it is decided by the caller's dependency: inside Airflow that is Airflow's own login. The application
imports nothing of Airflow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from ledger.page.addresses import VARIABLE, NodeAddress, WrongAddresses, node_addresses
from ledger.page.answers import CreditEpoch
from ledger.page.asking import Nodes
from ledger.page.overview import Overview, look
from ledger.page.picture import credit_picture

#: Readers who come within this time see the same answers: many readers cost the nodes no more than one.
KEPT_SECONDS: Final = 2.0
FOLDER: Final = Path(__file__).parent
#: Everything from this server, scripts and styles as files only, shown in frames of this server's own pages only.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_ENTRANCE = {401: "login", 403: "forbidden"}


class Looking:
    """Asks the nodes for an overview, at most once in ``KEPT_SECONDS`` for each teller."""

    def __init__(self, addresses: tuple[NodeAddress, ...]) -> None:
        self.addresses = addresses
        self._kept: dict[str | None, tuple[float, Overview]] = {}
        self._turn = asyncio.Lock()

    async def overview(self, wanted: str | None) -> Overview:
        """Return the region as its nodes describe it, by the account of ``wanted`` where it is one of them."""
        known = wanted if any(one.institution == wanted for one in self.addresses) else None
        async with self._turn:
            since, found = self._kept.get(known, (-KEPT_SECONDS, None))
            if found is None or time.monotonic() - since >= KEPT_SECONDS:
                nodes = Nodes.opened()
                try:
                    found = await look(nodes, self.addresses, known)
                finally:
                    await nodes.close()
                self._kept[known] = (time.monotonic(), found)
            return found


def page_application(allowed: Callable[..., Any], environment: Mapping[str, str]) -> FastAPI:
    """Return the application that serves ``/ledger``.

    Args:
        allowed: Dependency that raises HTTPException 401 or 403 for who may not see the page.
        environment: Holds ``XINGLIN_NODE_URLS``; a wrong one is said on the page, not here.
    """
    problem: str | None = None
    addresses: tuple[NodeAddress, ...] = ()
    try:
        addresses = node_addresses(environment)
    except WrongAddresses as wrong:
        problem = str(wrong)
    app = FastAPI(title="Xinglin ledger page", docs_url=None, redoc_url=None, openapi_url=None)
    looking, templates = Looking(addresses), _templates()

    @app.get("/ledger", dependencies=[Depends(allowed)])
    async def ledger(node: str | None = None) -> HTMLResponse:
        seen = None if problem else await looking.overview(node)
        return _html(templates, "page.html", seen=seen, problem=problem, variable=VARIABLE, picture=_picture(seen))

    @app.get("/ledger.css")
    async def style() -> Response:
        return Response((FOLDER / "page.css").read_bytes(), media_type="text/css", headers=HEADERS)

    @app.get("/ledger.js")
    async def script() -> Response:
        return Response((FOLDER / "page.js").read_bytes(), media_type="text/javascript", headers=HEADERS)

    async def refuse(_: Request, error: Exception) -> HTMLResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return _html(templates, "closed.html", status, reason=_ENTRANCE.get(status, "other"), status=status)

    app.add_exception_handler(HTTPException, refuse)
    return app


def _picture(seen: Overview | None) -> object:
    """Return the picture of whose credit counts: a regulator's never changes anything."""
    if seen is None:
        return None
    regulators = {one.id for one in seen.members if one.class_ == "R"}
    return credit_picture(
        [
            CreditEpoch(epoch.epoch, {name: score for name, score in epoch.scores.items() if name not in regulators})
            for epoch in seen.credit
        ]
    )


def _html(templates: jinja2.Environment, name: str, code: int = 200, **values: object) -> HTMLResponse:
    now = datetime.now(UTC).astimezone()
    return HTMLResponse(templates.get_template(name).render(now=now, **values), code, HEADERS)


def _templates() -> jinja2.Environment:
    """Return the templates: everything escaped, and a name that is missing is an error, not an empty place."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(moment=moment, age=age, thousands=lambda number: f"{number:,}")
    return found


def moment(milliseconds: int) -> str:
    """Return a time in the zone of this server; what no calendar has is given as the number that came."""
    with suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{milliseconds} ms"


def age(milliseconds: int, now: datetime) -> tuple[str, str]:
    """Return how long ago a time was, in Chinese and English; a clock ahead of ours is said, not hidden."""
    seconds = int(now.timestamp()) - milliseconds // 1000
    if seconds < 0:
        return "在本机时间之后", "later than this server's clock"
    for size, zh, en in ((86_400, "天", "d"), (3_600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= size:
            return f"{seconds // size} {zh}前", f"{seconds // size} {en} ago"
    return f"{seconds} 秒前", f"{seconds} s ago"
