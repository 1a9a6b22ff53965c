"""Where request files lie: the exchange, which anybody may write to and nobody believes.

A file is looked for by the digest that stands on the chain, so that nobody can put another one in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sharing.errors import Malformed
from sharing.request.canonical import MAX_FILE
from sharing.request.reading import read_request, request_digest

if TYPE_CHECKING:
    from ledger.exchange import Exchange  # readers of request files have no database

_ALL: Final = "requests"


def post(exchange: Exchange, content: bytes) -> bytes:
    """The file lies in the exchange for holders and committee to read; returns its digest.

    Raises:
        Malformed: It is no request file.
    """
    read_request(content)
    digest = request_digest(content)
    exchange.post(_topic(digest), content)
    exchange.post(_ALL, content)
    return digest


def find(exchange: Exchange, digest: bytes) -> bytes | None:
    """Return the request file of a digest, or None where it does not lie there."""
    return next((one for one in exchange.read(_topic(digest), MAX_FILE) if request_digest(one) == digest), None)


def listing(exchange: Exchange) -> Iterator[bytes]:
    """Yield every request file that lies there, oldest first; what is none is passed over."""
    for content in exchange.read(_ALL, MAX_FILE):
        try:
            read_request(content)
        except Malformed:
            continue
        yield content


def _topic(digest: bytes) -> str:
    return f"request/{digest.hex()}"
