"""Asks nodes over HTTP, all at once, each bounded in time and size: an answer comes of it, or a reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from ledger.page.addresses import NodeAddress

#: For one answer of one node, from first to last byte.
ANSWER_SECONDS: Final = 3.0
MOST_BYTES: Final = 1 << 20


class Silent(Exception):
    """A node gave no answer; it says what happened instead, in Chinese and English."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.words = (zh, en)


class Nodes:
    """The nodes of the region as one HTTP client sees them.

    No proxy, no cookies, no redirects: an answer comes from the configured address or not at all.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    def opened(cls) -> Nodes:
        """Return a client of the nodes; ``close`` it."""
        plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
        return cls(httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=ANSWER_SECONDS, headers=plain))

    async def close(self) -> None:
        """No connection is open."""
        await self._client.aclose()

    async def ask(self, node: NodeAddress, path: str) -> bytes:
        """Return the body of a node's answer.

        Args:
            node: Whom to ask.
            path: Path and query below its address, with its leading ``/``.

        Raises:
            Silent: It refuses connections, takes too long, or answers with an error or without end.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._client.stream("GET", node.url + path) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise Silent(f"回答 HTTP {answer.status_code}", f"it answers HTTP {answer.status_code}")
                return await _bounded(answer)
        except (TimeoutError, httpx.TimeoutException):
            raise Silent(f"{ANSWER_SECONDS:g} 秒内没有回答", f"no answer within {ANSWER_SECONDS:g} s") from None
        except httpx.ConnectError:
            raise Silent("地址上没有程序在监听", "nothing listens at its address") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            name = type(error).__name__
            raise Silent(f"回答中断（{name}）", f"its answer broke off ({name})") from None

    async def ask_all(self, nodes: Sequence[NodeAddress], path: str) -> list[bytes | Silent]:
        """Return every node's answer or silence, in order, after the time of one."""
        return list(await asyncio.gather(*(self._answer(one, path) for one in nodes)))

    async def _answer(self, node: NodeAddress, path: str) -> bytes | Silent:
        try:
            return await self.ask(node, path)
        except Silent as silent:
            return silent


async def _bounded(answer: httpx.Response) -> bytes:
    data = bytearray()
    async for piece in answer.aiter_raw():  # not decompressed: a small answer could unfold without end
        data += piece
        if len(data) > MOST_BYTES:
            raise Silent(f"回答超过 {MOST_BYTES >> 20} MiB", f"its answer is longer than {MOST_BYTES >> 20} MiB")
    return bytes(data)
