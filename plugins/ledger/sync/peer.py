"""Other institutions' nodes asked over HTTP: every answer bounded in size and time, none of them believed (section 13).

What a peer gives is verified by who asked for it. What it can do beyond lying is to be slow, endless, or too large; all
of that raises ``PeerFailed``, and the peer is asked no more.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import orjson

from ledger.chain.block import MAX_TRANSACTIONS
from ledger.chain.leaves import LEAF_BYTES, MAX_LOCATOR
from ledger.chain.replica import FinalBlock
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.chain.validators import ValidatorSet
from ledger.errors import Refused, Unreachable
from ledger.sync.header_chain import MAX_HEADERS, CertifiedHeader, decode_headers

MAX_HEADERS_BYTES: Final = 8 << 20
MAX_SET_BYTES: Final = 1 << 20
MAX_NOTE_BYTES: Final = 1 << 14
#: Times a peer may say "later" before it counts as failed; it is waited for as long as it says, within the deadline.
MOST_LATERS: Final = 8
_Made = TypeVar("_Made")


class PeerFailed(Unreachable):
    """A peer gave no answer that could be true; it is dropped, and another one is asked."""


class TooLarge(PeerFailed):
    """A peer says that what was asked for is too much for one answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take.

    Attributes:
        connect: Seconds until a connection stands.
        silence: Seconds between two pieces of an answer.
        answer: Seconds for a whole answer.
    """

    connect: float = 5.0
    silence: float = 10.0
    answer: float = 60.0


class Network:
    """An event loop in a thread of its own, on which all peers are asked; made by ``network``.

    Args:
        client: Asks; without proxies, cookies or redirects.
        patience: Bounds of every answer.
    """

    def __init__(self, client: httpx.AsyncClient, patience: Patience) -> None:
        self.client = client
        self.patience = patience
        self.loop = asyncio.new_event_loop()

    def start(self, work: Coroutine[Any, Any, _Made]) -> Future[_Made]:
        """Begin some asking; its result comes when it comes."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)


@contextmanager
def network(patience: Patience | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Network]:
    """Peers can be asked meanwhile.

    Args:
        patience: Bounds of every answer.
        tls: Whom to believe behind ``https`` addresses, and this node's own certificate; the system's CAs where None.
    """
    bounds = patience or Patience()
    timeout = httpx.Timeout(bounds.silence, connect=bounds.connect)
    plain = {"Accept-Encoding": "identity"}  # a small answer could unfold without end
    verify: ssl.SSLContext | bool = True if tls is None else tls
    client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout, headers=plain, verify=verify)
    made = Network(client, bounds)
    thread = threading.Thread(target=made.loop.run_forever, name="ledger-peers", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.start(_end(client)).result(bounds.connect + 5)
        made.loop.call_soon_threadsafe(made.loop.stop)
        thread.join()
        made.loop.close()


async def _end(client: httpx.AsyncClient) -> None:
    """Nothing is asked any more."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.aclose()


class Peer:
    """One institution's node behind its address.

    Args:
        institution: Whose node it should be, by its id in the region's file.
        url: ``http://host:port`` or ``https://host:port``.
        through: The network it is asked on.
    """

    def __init__(self, institution: str, url: str, through: Network) -> None:
        self.institution = institution
        self._url = url.rstrip("/")
        self.network = through

    async def headers(self, first: int, count: int = MAX_HEADERS) -> list[CertifiedHeader]:
        """Return certified headers from a height on, unverified but consecutive; fewer where the peer has no more.

        Raises:
            PeerFailed: It answers something else, or not in time.
        """
        data = await self.read(f"/v1/headers?from={first}&count={count}", MAX_HEADERS_BYTES)
        try:
            found = decode_headers(data)
        except Refused as error:
            raise self._failed(str(error)) from None
        if len(found) > count or [one.header.height for one in found] != list(range(first, first + len(found))):
            raise self._failed("its headers are not those asked for")
        return found

    async def members(self, epoch: int) -> ValidatorSet:
        """Return what the peer says are the members of an epoch; PeerFailed as above."""
        data = await self.read(f"/v1/validators/{epoch}/bytes", MAX_SET_BYTES)
        try:
            return ValidatorSet.decode(data)
        except Refused as error:
            raise self._failed(str(error)) from None

    async def final(self, height: int, entries: int) -> FinalBlock:
        """Return what the peer says is the final block of a height; PeerFailed as above.

        Args:
            height: Height.
            entries: Records that a block of this chain holds at most; they bound the answer's size.
        """
        limit = entries * (LEAF_BYTES + MAX_LOCATOR + 4) + MAX_TRANSACTIONS * (MAX_TRANSACTION + 64) + (1 << 20)
        try:
            return FinalBlock.decode(await self.read(f"/v1/blocks/{height}/final", limit))
        except Refused as error:
            raise self._failed(str(error)) from None

    async def state_heights(self) -> list[int]:
        """Return at which heights the peer offers its state; PeerFailed as above."""
        data = await self.read("/v1/state", MAX_NOTE_BYTES)
        try:
            found = orjson.loads(data)["heights"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise self._failed("it does not say which states it offers") from None
        if not isinstance(found, list) or not all(type(one) is int and 0 < one < 1 << 53 for one in found):
            raise self._failed("the heights of its states are none")
        return found

    async def read(self, path: str, limit: int) -> bytes:
        """Return what lies under a path, at most ``limit`` bytes; PeerFailed as above."""
        try:
            async with asyncio.timeout(self.network.patience.answer):
                for _ in range(MOST_LATERS):
                    later, data = await self._ask(path, limit)
                    if later is None:
                        return data
                    await asyncio.sleep(later)
                raise self._failed("it says `later` again and again")
        except TimeoutError:
            raise self._failed("no whole answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._failed(f"its answer broke off ({type(error).__name__})") from None

    async def _ask(self, path: str, limit: int) -> tuple[float | None, bytes]:
        """Return the answer, or after how many seconds to ask again."""
        async with self.network.client.stream("GET", self._url + path) as answer:
            if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                return _seconds(answer.headers.get("retry-after", "")), b""
            if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                raise TooLarge(f"the node of {self.institution}: too much for one answer")
            if answer.status_code != httpx.codes.OK:
                raise self._failed(f"HTTP {answer.status_code}")
            data = bytearray()
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > limit:
                    raise self._failed(f"an answer of more than {limit} bytes")
            return None, bytes(data)

    def _failed(self, why: str) -> PeerFailed:
        return PeerFailed(f"the node of {self.institution}: {why}")


def _seconds(text: str) -> float:
    """Return what ``Retry-After`` says in seconds; a second where it says nothing of use."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 4 else 1.0
