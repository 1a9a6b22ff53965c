"""The interface put together: routes, the one shape of refusals, and the guard before them."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from ledger.serving import chain, people, proofs, tiling
from ledger.serving.faults import install
from ledger.serving.guard import Guard, Limits
from ledger.serving.parameters import only_documented
from ledger.serving.served import Served

_ABOUT = """What one institution's node holds of the consortium's chain. Read-only. Nothing here has to be believed:
headers carry certificates, content is bound by headers, and every proof is checked by who asked for it. Bytes and
limits: docs/formats/http.md of the project."""


def make_app(served: Served, limits: Limits | None = None) -> FastAPI:
    """Return the interface of one node.

    Args:
        served: What it reads from.
        limits: Bounds; the defaults where None.
    """
    app = FastAPI(
        title="Xinglin ledger node",
        version="1",
        description=_ABOUT,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.served = served
    for one in (people, chain, proofs, tiling):
        app.include_router(one.router, dependencies=[Depends(only_documented)])
    install(app)
    _document(app)
    app.add_middleware(Guard, limits=limits or Limits())
    return app


def _document(app: FastAPI) -> None:
    """The OpenAPI document names the one shape of refusals; FastAPI's own 422 is never answered."""
    document = app.openapi()
    for methods in document["paths"].values():
        for route in methods.values():
            route["responses"].pop("422", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
