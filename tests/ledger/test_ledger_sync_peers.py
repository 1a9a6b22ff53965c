"""Catching up over HTTP: every lie, delay and flood of a peer costs that peer its place, and the replica nothing."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed import run_apart
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation
from served_region import certified, lying, serving

from ledger.agreement.certificate import PREPARE
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.replica import FinalBlock
from ledger.errors import Behind, Diverged, Halted
from ledger.node import Node
from ledger.sync.catching_up import CatchUp, Caught, enough
from ledger.sync.header_chain import CertifiedHeader, decode_headers, encode_headers
from ledger.sync.peer import Patience, Peer, network

pytestmark = pytest.mark.mongo
QUICK = Patience(connect=1.0, silence=1.0, answer=2.0)
AWAY = "nursing-home"
Lie = Callable[[str, bytes], bytes | None]


@pytest.fixture(scope="module")
def grown(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    """Five blocks; one member was away for the last three."""
    region = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}")
    region.grow(2)
    region.grow(3, count=2, absent=[AWAY])
    yield region
    region.close()


@pytest.fixture(scope="module")
def honest(grown: RegionSimulation) -> Iterator[str]:
    """Address of an honest node that has all blocks."""
    with serving(grown, "hospital-east") as url:
        yield url


@pytest.fixture
def away(grown: RegionSimulation) -> Iterator[Node]:
    """The one that was away, at height 2; what it catches up is undone after the test."""
    database = grown.mongo[grown.database_name(AWAY)]
    kept = {name: list(database[name].find()) for name in database.list_collection_names()}
    yield grown.open(AWAY)
    for name in database.list_collection_names():
        database[name].delete_many({})
        if kept.get(name):
            database[name].insert_many(kept[name])


def caught(node: Node, *addresses: tuple[str, str], patience: Patience = QUICK) -> Caught:
    """Catch up from these nodes, the first of them the first source."""
    with network(patience) as through:
        return CatchUp(node, [Peer(*one, through) for one in addresses], through, shuffle=lambda _: None).run()


def stored(grown: RegionSimulation, institution: str = AWAY) -> dict[str, Any]:
    return {key: value for key, value in grown.snapshot().items() if key.startswith(institution)}


def test_who_was_away_ends_with_the_very_replica_of_the_others(
    grown: RegionSimulation, away: Node, honest: str
) -> None:
    with serving(grown, "hospital-west") as two:
        found = caught(away, ("hospital-east", honest), ("hospital-west", two))
    assert (found.applied, found.height, found.final, found.dropped) == (3, 5, 5, {})
    mine, others = stored(grown), stored(grown, "hospital-east")
    assert {key.removeprefix(AWAY): one for key, one in mine.items() if "votes" not in key} == {
        key.removeprefix("hospital-east"): one for key, one in others.items() if "votes" not in key
    }
    assert away.verify_chain().ok
    assert caught(away).applied == 0


def headers_lie(change: Callable[[list[CertifiedHeader]], list[CertifiedHeader]]) -> Lie:
    return lambda path, body: encode_headers(change(decode_headers(body))) if path.startswith("/v1/headers") else None


def final_lie(change: Callable[[FinalBlock], FinalBlock]) -> Lie:
    return lambda path, body: change(FinalBlock.decode(body)).encode() if path.endswith("/final") else None


def altered(number: int, **changes: Any) -> Callable[[list[CertifiedHeader]], list[CertifiedHeader]]:
    def change(shown: list[CertifiedHeader]) -> list[CertifiedHeader]:
        if len(shown) <= number:
            return shown
        one = shown[number]
        header = replace(one.header, **{key: value(one.header) for key, value in changes.items()})
        return [*shown[:number], CertifiedHeader(header, one.commit_qc), *shown[number + 1 :]]

    return change


def re_certified(region: RegionSimulation, **how: int) -> Callable[[list[CertifiedHeader]], list[CertifiedHeader]]:
    return lambda shown: [CertifiedHeader(one.header, certified(region, one.header, **how)) for one in shown]


def swapped_leaves(final: FinalBlock) -> FinalBlock:
    leaves = Leaves.decode(final.bodies[0])
    return replace(final, bodies=(Leaves.join([leaves.record(1), leaves.record(0)]).encode(),))


def lies(region: RegionSimulation) -> dict[str, Lie]:
    return {
        "nothing": lambda *_: b"",
        "rubbish": lambda *_: b"\xff" * 999,
        "text": lambda *_: b"<html>",
        "one bit of all": lambda _, body: body[:-1] + bytes([body[-1] ^ 1]) if body else None,
        "cut short": lambda _, body: body[:-1],
        "something behind": lambda _, body: body + b"\0",
        "other headers": headers_lie(lambda shown: shown[1:]),
        "headers backwards": headers_lie(lambda shown: shown[::-1] if len(shown) > 1 else shown * 2),
        "headers twice": headers_lie(lambda shown: shown * 2),
        "a gap": headers_lie(lambda shown: shown[:1] + shown[2:] if len(shown) > 2 else []),
        "another state": headers_lie(altered(1, state_root=lambda _: bytes(32))),
        "another time": headers_lie(altered(1, timestamp_ms=lambda one: one.timestamp_ms + 1)),
        "another chain": headers_lie(altered(1, chain_id=lambda _: bytes(32))),
        "another history": headers_lie(altered(1, history_root=lambda _: bytes(32))),
        "other voters next": headers_lie(altered(1, next_validators_hash=lambda _: bytes(32))),
        "PrepareQCs": headers_lie(re_certified(region, type_=PREPARE)),
        "two signers": headers_lie(re_certified(region, who=2)),
        "certificates of one another": headers_lie(
            lambda shown: (
                [CertifiedHeader(one.header, shown[at - 1].commit_qc) for at, one in enumerate(shown)]
                if len(shown) > 1
                else []
            )
        ),
        "content of another block": lambda path, body: b"" if path.endswith("/4/final") else None,
        "swapped leaves": final_lie(swapped_leaves),
        "no leaves": final_lie(lambda final: replace(final, bodies=())),
        "no transactions": final_lie(
            lambda final: replace(final, block=replace(Block.decode(final.block), transactions=()).encode())
        ),
        "evidence of nothing": final_lie(
            lambda final: replace(final, block=replace(Block.decode(final.block), evidence=(b"x",)).encode())
        ),
    }


@pytest.mark.parametrize("what", lies(None))  # type: ignore[arg-type]
def test_a_lying_peer_is_dropped_and_an_honest_one_serves(
    grown: RegionSimulation, away: Node, honest: str, what: str
) -> None:
    before = stored(grown)
    with lying(grown, "hospital-west", lies(grown)[what]) as (liar, _):
        try:
            alone = caught(away, ("hospital-west", liar))
        except Behind:
            assert 2 <= away.height < 5
        else:
            assert alone.height < 5 and "hospital-west" in alone.dropped
        assert away.replica.conflict() is None
        if away.height == 2:
            assert stored(grown) == before
        found = caught(away, ("hospital-west", liar), ("hospital-east", honest))
    assert found.height == 5 and "hospital-east" not in found.dropped
    assert away.verify_chain().ok


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each connection whatever ``answer`` does."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                stack.callback(client.close)
                threading.Thread(target=_quietly, args=(answer, client), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()


def _quietly(answer: Callable[[socket.socket], None], client: socket.socket) -> None:
    try:
        client.recv(4_096)
        answer(client)
    except OSError:
        pass


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"


def endless(client: socket.socket) -> None:
    client.sendall(OK + b"\r\n")
    while True:
        client.sendall(bytes(1 << 20))


def trickling(client: socket.socket) -> None:
    client.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    for _ in range(1_000):
        client.sendall(b"x")
        time.sleep(0.1)


def trickling_head(client: socket.socket) -> None:
    for one in OK * 9:
        client.sendall(bytes([one]))
        time.sleep(0.1)


def endless_head(client: socket.socket) -> None:
    client.sendall(OK)
    while True:
        client.sendall(b"X-More: " + b"y" * 60_000 + b"\r\n")


def silent(client: socket.socket) -> None:
    time.sleep(30)


RUDE: dict[str, Callable[[socket.socket], None]] = {
    "endless": endless,
    "trickling": trickling,
    "trickling head": trickling_head,
    "endless head": endless_head,
    "silent": silent,
    "hangs up": lambda client: client.close(),
    "not HTTP": lambda client: client.sendall(b"\x16\x03\x01" * 99),
    "a redirect": lambda client: client.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
    "an error": lambda client: client.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
    "later, always": lambda client: client.sendall(
        b"HTTP/1.1 429 L\r\nRetry-After: 999\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ),
    "less than it says": lambda client: (client.sendall(OK + b"Content-Length: 99\r\n\r\nx"), client.close())[0],
    "a bomb": lambda client: client.sendall(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"),
}


@pytest.mark.parametrize("what", RUDE)
def test_a_slow_endless_or_broken_peer_is_left_in_bounded_time(grown: RegionSimulation, away: Node, what: str) -> None:
    quick = Patience(connect=0.5, silence=0.3, answer=0.6)
    before = stored(grown)
    with raw_server(RUDE[what]) as rude:
        begun = time.monotonic()
        found = caught(away, ("hospital-west", rude), patience=quick)
        assert time.monotonic() - begun < 4
    assert found.applied == 0 and list(found.dropped) == ["hospital-west"] and stored(grown) == before


def test_nobody_listening_is_no_harm(away: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    found = caught(away, ("hospital-west", f"http://127.0.0.1:{port}"), ("hospital-east", "http://127.0.0.1:1"))
    assert found.height == 2 and len(found.dropped) == 2


def test_sources_that_hide_the_newest_headers_are_found_out_by_the_others(
    grown: RegionSimulation, away: Node, honest: str
) -> None:
    hide = headers_lie(lambda shown: [one for one in shown if one.header.height <= 3])
    with lying(grown, "hospital-west", hide) as (one, _), lying(grown, "lab-centre", hide) as (two, _):
        found = caught(away, ("hospital-west", one), ("lab-centre", two), ("hospital-east", honest))
    assert found.height == 5 and found.withheld >= {"hospital-west", "lab-centre"}


def test_a_witness_is_asked_for_one_header_and_no_content(grown: RegionSimulation, away: Node, honest: str) -> None:
    with serving(grown, "hospital-west") as two, lying(grown, AUDITOR, lambda *_: None) as (witness, seen):
        caught(away, ("hospital-east", honest), ("hospital-west", two), (AUDITOR, witness))
    assert seen.asked and all("/headers?" in one and one.endswith("count=1") for one in seen.asked)


def test_content_that_one_source_holds_back_comes_from_another(
    grown: RegionSimulation, away: Node, honest: str
) -> None:
    hold = lambda path, body: b"" if path.endswith("/4/final") else None  # noqa: E731
    with lying(grown, "lab-centre", hold) as (one, _), lying(grown, "hospital-west", hold) as (two, _):
        with pytest.raises(Behind, match="block 4 is final"):
            caught(away, ("lab-centre", one), ("hospital-west", two))
        assert away.height == 3 and away.replica.conflict() is None
        found = caught(away, ("lab-centre", one), ("hospital-west", two), ("hospital-east", honest))
    assert found.height == 5 and set(found.dropped) == {"lab-centre", "hospital-west"}


def test_sources_together_weigh_more_than_a_third(grown: RegionSimulation) -> None:
    with network(QUICK) as through:
        peers = [Peer(one, "http://node", through) for one in grown.nodes]
        validators = grown.genesis.validators
        by_name = {one.institution: one for one in peers}
        order = [by_name[one] for one in (AUDITOR, "nursing-home", "hospital-east", "hospital-west", "lab-centre")]
        assert enough(order, validators) == order[:4]
        assert enough(order[:2], validators) == order[:2]


def fork(region: RegionSimulation, height: int) -> tuple[CertifiedHeader, FinalBlock]:
    """Another block of a height that all voters signed: what only a dishonest third can make."""
    final = region.node(AUDITOR).replica.final(height)
    assert final is not None
    block = Block.decode(final.block)
    other = replace(block, header=replace(block.header, timestamp_ms=block.header.timestamp_ms + 1))
    qc = certified(region, other.header)
    return CertifiedHeader(other.header, qc), FinalBlock(other.encode(), qc, final.bodies)


@pytest.mark.parametrize("with_content", [True, False])
def test_another_certified_block_at_the_head_halts_the_node_and_both_are_kept(
    grown: RegionSimulation, away: Node, honest: str, with_content: bool
) -> None:
    header, final = fork(grown, 2)

    def lie(path: str, _: bytes) -> bytes | None:
        if path.startswith("/v1/headers?from=2"):
            return encode_headers([header])
        return final.encode() if with_content and path.endswith("/2/final") else None

    before = stored(grown)
    with lying(grown, "hospital-west", lie) as (liar, _):
        with pytest.raises(Diverged, match="both are kept"):
            caught(away, ("hospital-west", liar), ("hospital-east", honest))
        [kept] = grown.mongo[grown.database_name(AWAY)]["conflicts"].find()
        assert kept["_id"] == header.header.block_id and Block.decode(kept["block"]).header == header.header
        after = stored(grown)
        assert {key: one for key, one in after.items() if "conflicts" not in key} == before
        with pytest.raises(Halted):
            caught(away, ("hospital-east", honest))
    assert away.height == 2


def test_two_certified_blocks_above_the_head_halt_the_node_before_either_is_taken(
    grown: RegionSimulation, away: Node, honest: str
) -> None:
    header, _ = fork(grown, 4)
    forked = headers_lie(lambda shown: [*[one for one in shown if one.header.height < 4], header])
    lie = lambda path, body: forked(path, body) if "from=3" in path else None  # noqa: E731
    with lying(grown, "hospital-west", lie) as (liar, _), pytest.raises(Diverged, match="height 4"):
        caught(away, ("hospital-west", liar), ("hospital-east", honest))
    kept = {bytes(one["_id"]) for one in grown.mongo[grown.database_name(AWAY)]["conflicts"].find()}
    true = grown.node(AUDITOR).replica.header(4)
    assert kept == {header.header.block_id, true.block_id} and away.height == 2


def test_a_certified_block_that_executes_to_another_state_halts_the_node(grown: RegionSimulation, away: Node) -> None:
    final = grown.node(AUDITOR).replica.final(3)
    assert final is not None
    block = Block.decode(final.block)
    wrong = replace(block, header=replace(block.header, state_root=bytes(32)))
    qc = certified(grown, wrong.header)

    def lie(path: str, body: bytes) -> bytes | None:
        if path.startswith("/v1/headers?from=3"):
            return encode_headers([CertifiedHeader(wrong.header, qc)])
        return FinalBlock(wrong.encode(), qc, final.bodies).encode() if path.endswith("/3/final") else None

    with lying(grown, "hospital-west", lie) as (liar, _), pytest.raises(Diverged, match="state_root"):
        caught(away, ("hospital-west", liar))
    assert away.height == 2 and away.replica.conflict()


def test_catching_up_killed_anywhere_goes_on_from_its_head(
    grown: RegionSimulation, away: Node, honest: str, mongo_uri: str
) -> None:
    genesis = grown.folder / "genesis"
    genesis.write_bytes(grown.genesis.encode())
    script = Path(__file__).with_name("killed_sync.py")
    heights = [away.height]
    for left in (1, 13, 0):
        done = run_apart(script, mongo_uri, grown.database_name(AWAY), genesis, honest, left)
        assert done.returncode == (0 if left == 0 else -9), done.stderr
        heights.append(away.height)
        assert away.verify_chain().ok and away.replica.conflict() is None
    assert heights == [2, 2, 3, 5]
    assert stored(grown)[f"{AWAY}/meta"] == stored(grown, "hospital-east")["hospital-east/meta"]
