"""Every refusal in one shape: rule, section, sentence (section 13). A client's mistake is 4xx, never 5xx."""

from __future__ import annotations

import logging
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from ledger.errors import LedgerError, Refused
from ledger.sync.state_chunks import TooMuch

log = logging.getLogger(__name__)


class Fault(BaseModel):
    """Why there is no answer.

    Attributes:
        rule: Short name of the rule.
        section: Section of the ledger's design that states it.
        message: What was expected, and what to do.
    """

    rule: str
    section: str
    message: str


class Refusal(BaseModel):
    """The body of every answer that is none."""

    error: Fault


#: For the OpenAPI document of every route.
REFUSALS: Final[dict[int | str, dict[str, object]]] = {
    400: {"model": Refusal, "description": "A parameter is not as documented."},
    404: {"model": Refusal, "description": "This node does not hold it."},
    429: {"model": Refusal, "description": "Too many requests of one client; `Retry-After` says when."},
    503: {"model": Refusal, "description": "The node's own store fails, or it is halted."},
}


class Missing(Refused):
    """What was asked for is not held here."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(rule, "13", message)


def refusal(status: int, rule: str, message: str, section: str = "13", **headers: str) -> JSONResponse:
    """Return an answer that refuses."""
    body = Refusal(error=Fault(rule=rule, section=section, message=message))
    return JSONResponse(body.model_dump(), status, headers=headers)


def install(app: FastAPI) -> None:
    """Every error of the application is answered in the one shape."""

    @app.exception_handler(Missing)
    def missing(_: Request, error: Missing) -> JSONResponse:
        return refusal(404, error.rule, str(error), error.section)

    @app.exception_handler(TooMuch)
    def large(_: Request, error: TooMuch) -> JSONResponse:
        return refusal(413, error.rule, str(error), error.section)

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        return refusal(400, error.rule, str(error), error.section)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        # Names of parameters only: what came may be long, and is the sender's.
        named = sorted({str(one["loc"][-1]) for one in error.errors()})
        return refusal(400, "parameter", f"{', '.join(named)}: not as /openapi.json documents it")

    @app.exception_handler(HTTPException)
    def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, "path", "there is nothing here; /openapi.json lists what is")

    @app.exception_handler(LedgerError)
    def failed(_: Request, error: LedgerError) -> JSONResponse:
        log.error("the replica fails: %s", error)
        return refusal(503, type(error).__name__, "this node's replica needs a person; ask another node")

    @app.exception_handler(PyMongoError)
    def away(_: Request, error: PyMongoError) -> JSONResponse:
        log.error("the database fails: %s", type(error).__name__)  # its text may hold the address
        return refusal(
            503, "database", "this node's database does not answer; ask another node", **{"Retry-After": "5"}
        )
