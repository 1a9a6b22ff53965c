"""Whatever is asked of a node over HTTP, the answer is 200 or one shape of refusal, and nobody starves the others."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import AUDITOR, RegionSimulation
from served_region import FREE, served, serving

from ledger.serving.application import make_app
from ledger.serving.guard import Buckets, Limits
from ledger.serving.server import Listening, make_server, running

pytestmark = pytest.mark.mongo
PATHS = (
    "/v1/status", "/v1/members", "/v1/blocks", "/v1/blocks/{}", "/v1/blocks/{}/bytes", "/v1/blocks/{}/final",
    "/v1/blocks/{}/leaves/{}", "/v1/headers", "/v1/head", "/v1/genesis", "/v1/credit", "/v1/pending",
    "/v1/validators/{}", "/v1/validators/{}/bytes", "/v1/proofs/record/{}", "/v1/proofs/block/{}",
    "/v1/proofs/consistency", "/v1/proofs/transaction/{}/{}", "/v1/proofs/state/{}/{}", "/tile/{}/{}", "/tile/0/{}",
    "/tile/entries/{}", "/checkpoint", "/v1/checkpoints", "/v1/checkpoints/{}", "/openapi.json", "/{}", "/v1/{}/{}",
)  # fmt: skip
NAMES = ("from", "limit", "count", "size", "old", "new", "version", "institution", "prefix", "nobody")
ODD = (
    "0", "1", "2", "3", "-1", "+1", "01", "1.0", "1e3", " 1", "1_0", "٣", "9007199254740991", "9007199254740992",
    "18446744073709551616", "9" * 400, "", "null", "true", "NaN", "a" * 32, "0" * 32, "A" * 32, "0" * 31, "-", "..",
    "../../etc/passwd", "%2e%2e", "%00", "\x00", "\ud7ff", "x001/000", "000.p/1", "000.p/256", "' or 1=1", "$gt",
    '{"$gt":""}', "hospital-east", "01" * 41, "0" * 600, "🩺",
)  # fmt: skip


@pytest.fixture(scope="module")
def app(settled: RegionSimulation) -> FastAPI:
    return make_app(served(settled, AUDITOR), FREE)


async def ask(app: FastAPI, path: str, query: dict[str, str], method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        return await client.request(method, path, params=query or None)


values = st.one_of(st.sampled_from(ODD), st.integers(-5, 12).map(str), st.text(max_size=40))


@settings(derandomize=True, max_examples=400, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    parts=st.tuples(values, values),
    query=st.dictionaries(st.sampled_from(NAMES), values, max_size=3),
)
def test_no_parameter_gets_anything_but_an_answer_or_a_refusal(
    app: FastAPI, path: str, parts: tuple[str, str], query: dict[str, str]
) -> None:
    asked = path.format(*(quote(one, safe="/") for one in parts))
    answer = asyncio.run(ask(app, asked, query))
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (asked, query)
    if answer.status_code != 200:
        assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"rule", "section", "message"}
        assert len(answer.content) < 400
    assert len(answer.content) < 1 << 20


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/v1/blocks/0", {}, 400),
        ("/v1/blocks/01", {}, 400),
        ("/v1/blocks/3", {}, 404),
        ("/v1/blocks", {"limit": "201"}, 400),
        ("/v1/blocks", {"limit": "0"}, 400),
        ("/v1/blocks", {"from": "-1"}, 400),
        ("/v1/headers", {"count": "257"}, 400),
        ("/v1/headers", {"from": "1.0"}, 400),
        ("/v1/proofs/consistency", {}, 400),
        ("/v1/proofs/consistency", {"old": "0"}, 400),
        ("/v1/proofs/consistency", {"old": "3", "new": "2"}, 404),
        ("/v1/proofs/block/2", {"size": "2"}, 404),
        ("/v1/proofs/record/" + "0" * 32, {"version": "4294967296"}, 400),
        ("/v1/proofs/state/0/-", {}, 400),
        ("/v1/proofs/state/1/zz", {}, 400),
        ("/tile/8/000", {}, 400),
        ("/tile/0/000.p/256", {}, 400),
        ("/tile/0/000.p/4", {}, 404),
        ("/v1/status/", {}, 404),
        ("/docs", {}, 404),
    ],
)
def test_a_parameter_out_of_bounds_is_a_clients_mistake(
    app: FastAPI, path: str, query: dict[str, str], status: int
) -> None:
    assert asyncio.run(ask(app, path, query)).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_reading_is_answered(app: FastAPI, method: str, settled: RegionSimulation) -> None:
    before = settled.snapshot()
    answer = asyncio.run(ask(app, "/v1/status", {}, method))
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"
    assert settled.snapshot() == before


def test_a_refusal_repeats_nothing_of_what_was_sent(app: FastAPI) -> None:
    for path, query in (("/v1/secret-name", {}), ("/v1/blocks", {"from": "secret-name"})):
        assert "secret-name" not in asyncio.run(ask(app, path, query)).text


def test_a_client_that_asks_too_often_waits_and_others_do_not() -> None:
    now = [0.0]
    buckets = Buckets(Limits(per_second=2, burst=3, clients=2), lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert buckets.take("a") == 0 and buckets.take("a") == 0.5
    buckets.take("c")  # the longest quiet is forgotten, and begins anew: memory is bounded, nobody is locked out
    assert len(buckets._left) == 2
    now[0] += 1_000
    assert [buckets.take("a") for _ in range(4)][:3] == [0, 0, 0]


def test_too_many_requests_are_told_when_to_come_again(settled: RegionSimulation) -> None:
    with serving(settled, AUDITOR, Limits(per_second=0.5, burst=5)) as url, httpx.Client(base_url=url) as client:
        answers = [client.get("/v1/head") for _ in range(8)]
        assert [one.status_code for one in answers] == [200] * 5 + [429] * 3
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10 and answers[-1].json()["error"]["rule"] == "rate"


@pytest.mark.parametrize("query", ["first=5", "from=1&from=2", "limit=1&nobody=", "FROM=1"])
def test_a_parameter_that_is_none_or_stands_twice_is_no_question(app: FastAPI, query: str) -> None:
    answer = asyncio.run(ask(app, "/v1/blocks?" + query, {}))
    assert answer.status_code == 400 and answer.json()["error"]["rule"] == "parameter"
    assert "from, limit" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def port(settled: RegionSimulation) -> Iterator[int]:
    limits = Limits(per_second=1e6, burst=1_000_000, request_seconds=0.4, answer_seconds=1.0)
    with serving(settled, AUDITOR, limits) as url:
        yield int(url.rpartition(":")[2])


def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send bytes piece by piece; return what came until the server closed, and after how long."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        got = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            while more := sock.recv(65_536):
                got += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return got, time.monotonic() - begun


REQUEST = b"GET /v1/head HTTP/1.1\r\nHost: node\r\n"


@pytest.mark.parametrize(
    "pieces",
    [(), (b"G",), (REQUEST,), (REQUEST + b"\r\n",), (REQUEST + b"\r\n", b"GET /v1")],
    ids=["silent", "one byte", "half a head", "idle after an answer", "half a second request"],
)
def test_who_sends_no_whole_request_is_hung_up_on(port: int, pieces: tuple[bytes, ...]) -> None:
    got, seconds = exchange(port, *pieces)
    assert seconds < 5
    assert got.count(b"200 OK") == (1 if pieces and pieces[0].endswith(b"\r\n\r\n") else 0)


def test_who_trickles_a_head_byte_by_byte_is_hung_up_on(port: int) -> None:
    _, seconds = exchange(port, *(bytes([one]) for one in REQUEST), pause=0.05)
    assert seconds < 3


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        REQUEST + b"Content-Length: 5\r\n\r\nhello", REQUEST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        REQUEST + b"Content-Length: x\r\n\r\n", REQUEST + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
        b"GET /v1/head?" + b"a" * 3_000 + b" HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_node_answers_on(port: int, head: bytes) -> None:
    got, _ = exchange(port, head)
    assert got == b"" or got.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"http://127.0.0.1:{port}/v1/head", trust_env=False).status_code == 200


def test_who_does_not_read_the_answer_is_cut_off(settled: RegionSimulation) -> None:
    limits = Limits(answer_seconds=0.3)
    app = make_app(served(settled, AUDITOR), limits)

    @app.get("/v1/large")
    async def large() -> StreamingResponse:
        return StreamingResponse(bytes(1 << 20) for _ in range(1_000))

    server = make_server(app, Listening(port=0), limits)
    with running(server) as at, socket.create_connection(("127.0.0.1", at)) as sock:
        sock.sendall(b"GET /v1/large HTTP/1.1\r\nHost: node\r\n\r\n")
        _until(lambda: bool(server.server_state.connections))
        begun = time.monotonic()
        _until(lambda: not server.server_state.connections)
        assert 0.3 <= time.monotonic() - begun < 5
        assert _left(sock) < 1 << 28  # a quarter of the answer at most; the end, and nothing more ever
        assert httpx.get(f"http://127.0.0.1:{at}/v1/head", trust_env=False).status_code == 200


def _left(sock: socket.socket) -> int:
    """Count the bytes that still come before the connection ends, as it does."""
    sock.settimeout(10)
    count = 0
    with suppress(ConnectionResetError):
        while more := sock.recv(1 << 20):
            count += len(more)
    return count


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
