"""A replica made from a certified state: equal to the one that executed every block, whoever gave the pieces."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import run_apart
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation
from served_region import FREE, lying, served, serving, with_other_voters

from ledger.chain.leaves import Leaves
from ledger.chain.replica import FinalBlock, Replica
from ledger.chain.smt import MemoryNodes, SparseTree, value_hash
from ledger.errors import Behind, Refused
from ledger.node import Node
from ledger.serving.application import make_app
from ledger.serving.server import Listening, make_server, running
from ledger.sync import state_chunks
from ledger.sync.catching_up import CatchUp
from ledger.sync.fast_sync import MAX_CHUNKS, FastSync
from ledger.sync.header_chain import CertifiedHeader, decode_headers, encode_headers
from ledger.sync.peer import Patience, Peer, network
from ledger.sync.state_chunks import MAX_ENTRIES, StateChunk, TooMuch, read_chunk
from shangmi import sm3

pytestmark = pytest.mark.mongo
QUICK = Patience(connect=2.0, silence=5.0, answer=10.0)
Lie = Callable[[str, bytes], bytes | None]


# --- chunks ------------------------------------------------------------------------------------------------------


class Values(dict[bytes, bytes]):
    def read(self, hashes: Any) -> dict[bytes, bytes]:
        return {one: self[one] for one in hashes if one in self}


def grown_tree(entries: dict[bytes, bytes]) -> tuple[SparseTree, Values]:
    store = MemoryNodes()
    change = SparseTree(store).update({key: value_hash(value) for key, value in entries.items()})
    store.take(change)
    return SparseTree(store, change.root), Values({value_hash(value): value for value in entries.values()})


def bits(key: bytes) -> str:
    return f"{int.from_bytes(key, 'big'):0256b}"


# Few different first bytes, so that keys crowd under the same prefixes.
crowded = st.builds(
    lambda first, rest: bytes([first]) + rest,
    st.sampled_from([0, 1, 128, 129, 255]),
    st.binary(min_size=31, max_size=31),
)
states = st.dictionaries(crowded, st.binary(max_size=9), max_size=14)
prefixes = st.text("01", max_size=12)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(states, prefixes)
def test_a_chunk_holds_exactly_the_entries_of_its_prefix(entries: dict[bytes, bytes], prefix: str) -> None:
    tree, values = grown_tree(entries)
    chunk = StateChunk.decode(read_chunk(tree, values.read, prefix).encode())
    nodes = chunk.verify(tree.root, prefix)
    assert dict(chunk.entries) == {key: value for key, value in entries.items() if bits(key).startswith(prefix)}
    assert all(sm3(data) == one for one, data in nodes.items())


@settings(derandomize=True, max_examples=60, deadline=None)
@given(states, st.integers(0, 5))
def test_all_prefixes_of_a_length_together_are_the_whole_tree(entries: dict[bytes, bytes], length: int) -> None:
    tree, values = grown_tree(entries)
    store, found = MemoryNodes(), dict[bytes, bytes]()
    for number in range(1 << length):
        prefix = f"{number:0{length}b}" if length else ""
        chunk = read_chunk(tree, values.read, prefix)
        store.update(chunk.verify(tree.root, prefix))
        found |= dict(chunk.entries)
    assert found == entries
    again = SparseTree(store, tree.root)
    assert again.hashes(list(entries)) == {key: value_hash(value) for key, value in entries.items()}


@settings(derandomize=True, max_examples=100, deadline=None)
@given(states.filter(lambda one: len(one) > 2), prefixes, st.data())
def test_nothing_can_be_left_out_added_or_changed(
    entries: dict[bytes, bytes], prefix: str, data: st.DataObject
) -> None:
    tree, values = grown_tree(entries)
    chunk = read_chunk(tree, values.read, prefix)
    lies = [
        replace(chunk, entries=(*chunk.entries, (data.draw(crowded), b"new"))),
        replace(chunk, entries=tuple(sorted([*chunk.entries, (data.draw(crowded), b"new")]))),
        replace(chunk, siblings=(*chunk.siblings, bytes(32))),
        replace(chunk, siblings=chunk.siblings[:-1]),
        replace(chunk, siblings=tuple(reversed(chunk.siblings))),
        replace(chunk, other=(data.draw(crowded), bytes(32))),
        replace(chunk, other=None),
        replace(chunk, entries=()),
        StateChunk((), None, ()),
    ]
    for at in range(len(chunk.entries)):
        key, value = chunk.entries[at]
        lies.append(replace(chunk, entries=(*chunk.entries[:at], *chunk.entries[at + 1 :])))
        lies.append(replace(chunk, entries=(*chunk.entries[:at], (key, value + b"!"), *chunk.entries[at + 1 :])))
        lies.append(replace(chunk, entries=(*chunk.entries[:at], chunk.entries[at], *chunk.entries[at:])))
    other = data.draw(prefixes)
    for lie in lies:
        if lie == chunk:
            continue
        with pytest.raises(Refused):
            lie.verify(tree.root, prefix)
    if set(dict(chunk.entries)) != {key for key in entries if bits(key).startswith(other)}:
        with pytest.raises(Refused):
            chunk.verify(tree.root, other)


@settings(derandomize=True, max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_refused(data: bytes) -> None:
    for one in (data, b"XL/CHUNK/1\0" + data):
        try:
            found = StateChunk.decode(one)
        except Refused:
            continue
        assert found.encode() == one
        with pytest.raises(Refused):
            found.verify(bytes(31) + b"\1", "01")


def test_a_prefix_with_too_many_entries_is_given_in_halves() -> None:
    tree, values = grown_tree({sm3(bytes([one >> 8, one & 255])): b"" for one in range(MAX_ENTRIES + 1)})
    with pytest.raises(TooMuch):
        read_chunk(tree, values.read, "")
    halves = [read_chunk(tree, values.read, one) for one in "01"]
    assert sum(len(one.entries) for one in halves) == MAX_ENTRIES + 1
    big = bytes(3 << 20)
    tree, values = grown_tree({sm3(bytes([one])): big + bytes([one]) for one in range(4)})
    with pytest.raises(TooMuch):
        read_chunk(tree, values.read, "")


# --- a whole replica ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grown(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    """Ten blocks in epochs of four; from the second epoch on, one voter less."""
    region = RegionSimulation(
        mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}", epoch_blocks=4, jail_epochs=9
    )
    with_other_voters(region)
    yield region
    region.close()


@pytest.fixture(scope="module")
def honest(grown: RegionSimulation) -> Iterator[str]:
    with serving(grown, AUDITOR) as url:
        yield url


@pytest.fixture
def fresh(grown: RegionSimulation, mongo: MongoClient[dict[str, Any]]) -> Iterator[Replica]:
    name = f"{grown.name}_{uuid.uuid4().hex[:8]}"
    yield Replica(mongo[name], grown.genesis)
    mongo.drop_database(name)


def synced(replica: Replica, *addresses: tuple[str, str]) -> FastSync:
    with network(QUICK) as through:
        made = FastSync(replica, [Peer(*one, through) for one in addresses], through)
        made.run()
        return made


def content(replica: Replica) -> dict[str, Any]:
    """All that a replica holds for readers: what only executing leaves behind (receipts, old values) left out."""
    database = replica._database
    names = sorted(database.list_collection_names())
    kept = [one for one in names if one in ("bodies", "history", "meta") or one.startswith("entries_")]
    found: dict[str, Any] = {one: sorted(database[one].find(), key=lambda d: str(d["_id"])) for one in kept}
    head = replica.view.head
    found["blocks"] = [(one["_id"], one["id"], one["block"]) for one in database["blocks"].find().sort("_id")]
    leaves = replica.view.tree.leaves(head.state_root, 1 << 20)
    assert leaves is not None
    found["state"] = {key: replica.values([hash_])[hash_] for key, hash_ in leaves}
    return found


def node_of(region: RegionSimulation, replica: Replica) -> Node:
    return Node(region.genesis, "nursing-home", None, replica, None, region.envelopes, region.clock)


def test_live_replay_and_snapshot_are_the_same_replica(
    grown: RegionSimulation, honest: str, fresh: Replica, mongo: MongoClient[dict[str, Any]]
) -> None:
    """Invariant 20."""
    assert grown.node(AUDITOR).replica.state_heights() == [4, 8]
    made = synced(fresh, (AUDITOR, honest))
    assert fresh.view.head.height == 8 and made.dropped == {}
    assert node_of(grown, fresh).verify_chain().ok
    with network(QUICK) as through:
        tail = CatchUp(node_of(grown, fresh), [Peer(AUDITOR, honest, through)], through).run()
    assert (tail.applied, tail.height) == (2, 10)
    replayed = Replica(mongo[f"{grown.name}_replay"], grown.genesis)
    assert node_of(grown, replayed).sync(grown.node("hospital-east").replica) == 10
    live = content(grown.node("hospital-west").replica)
    assert content(replayed) == live and content(fresh) == live
    assert node_of(grown, fresh).verify_chain().ok and node_of(grown, replayed).verify_chain().ok
    assert "arrivals" not in mongo[fresh._database.name].list_collection_names()
    mongo.drop_database(f"{grown.name}_replay")


def test_a_replica_with_blocks_is_not_overwritten(grown: RegionSimulation, honest: str) -> None:
    before = grown.snapshot()
    with pytest.raises(Refused, match="block by block"):
        synced(grown.node("nursing-home").replica, (AUDITOR, honest))
    assert grown.snapshot() == before


def flipped(ending: str, at: int = -1) -> Lie:
    return lambda path, body: (
        body[:at] + bytes([body[at] ^ 1]) + body[at:][1:] if path.partition("?")[0].endswith(ending) and body else None
    )


def headers_lie(change: Callable[[CertifiedHeader], CertifiedHeader]) -> Lie:
    return lambda path, body: (
        encode_headers([change(one) for one in decode_headers(body)]) if path.startswith("/v1/headers") else None
    )


def without_last_entry(path: str, body: bytes) -> bytes | None:
    if "/chunk" not in path:
        return None
    chunk = StateChunk.decode(body)
    return replace(chunk, entries=chunk.entries[:-1]).encode()


def fewer_leaves(path: str, body: bytes) -> bytes | None:
    if not path.endswith("/3/final"):
        return None
    final = FinalBlock.decode(body)
    leaves = Leaves.decode(final.bodies[0])
    return replace(
        final, bodies=(Leaves.join([leaves.record(one) for one in range(len(leaves) - 1)]).encode(),)
    ).encode()


def other_sets(region: RegionSimulation) -> Lie:
    return lambda path, body: region.genesis.validators.encode() if "/validators/" in path else None


LIES: dict[str, Callable[[RegionSimulation], Lie]] = {
    "a changed entry": lambda _: flipped("/chunk"),
    "an entry left out": lambda _: without_last_entry,
    "a changed block": lambda _: flipped("/3/final"),
    "a record left out": lambda _: fewer_leaves,
    "ids of another history": lambda _: flipped("000.p/9", -3),
    "ids cut short": lambda _: lambda path, body: body[:-43] if "entries" in path else None,
    "the members of before": other_sets,
    "another state root": lambda _: headers_lie(
        lambda one: CertifiedHeader(replace(one.header, state_root=bytes(32)), one.commit_qc)
    ),
    "no certificate": lambda _: headers_lie(lambda one: CertifiedHeader(one.header, b"")),
    "no epoch's end": lambda _: lambda path, _: b'{"heights": [7]}' if path == "/v1/state" else None,
    "a state of the future": lambda _: lambda path, _: b'{"heights": [4000]}' if path == "/v1/state" else None,
    "heights that are none": lambda _: lambda path, _: b'{"heights": ["8"]}' if path == "/v1/state" else None,
    "no state": lambda _: lambda path, _: b'{"heights": []}' if path == "/v1/state" else None,
    "rubbish": lambda _: lambda *_: b"\xff",
}


@pytest.mark.parametrize("what", LIES)
def test_a_lying_source_gets_nothing_in_and_another_one_serves(
    grown: RegionSimulation, honest: str, fresh: Replica, what: str
) -> None:
    with lying(grown, "hospital-west", LIES[what](grown)) as (liar, _):
        with pytest.raises(Behind, match="no peer"):
            synced(fresh, ("hospital-west", liar))
        assert fresh.view.head == grown.genesis.header and fresh.view.validators.hash == grown.genesis.validators.hash
        made = synced(fresh, ("hospital-west", liar), (AUDITOR, honest))
    assert list(made.dropped) == ["hospital-west"] and fresh.view.head.height == 8
    assert node_of(grown, fresh).verify_chain().ok


def test_one_who_says_too_much_for_ever_is_left(grown: RegionSimulation, fresh: Replica) -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "/chunk" in scope["path"]:
            asked.append(scope["query_string"].decode())
            await Response(b"", 413)(scope, receive, send)
        else:
            await honest_app(scope, receive, send)

    honest_app = make_app(served(grown, AUDITOR), FREE)
    with running(make_server(app, Listening(port=0))) as port, pytest.raises(Behind):  # type: ignore[arg-type]
        synced(fresh, (AUDITOR, f"http://127.0.0.1:{port}"))
    assert len(asked) < 100 < MAX_CHUNKS


def test_a_large_state_comes_in_many_chunks(
    grown: RegionSimulation, honest: str, fresh: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_chunks, "MAX_ENTRIES", 5)
    synced(fresh, (AUDITOR, honest))
    assert node_of(grown, fresh).verify_chain().ok


def test_fast_sync_killed_anywhere_goes_on_where_it_was(
    grown: RegionSimulation, honest: str, fresh: Replica, mongo_uri: str
) -> None:
    genesis = grown.folder / "genesis"
    genesis.write_bytes(grown.genesis.encode())
    script = Path(__file__).with_name("killed_fast_sync.py")
    heights = []
    for left in (4, 13, 0):
        done = run_apart(script, mongo_uri, fresh._database.name, genesis, honest, left)
        assert done.returncode == (-9 if left else 0), (left, done.stderr)
        heights.append(fresh.view.head.height)
    assert heights == [0, 0, 8]
    assert node_of(grown, fresh).verify_chain().ok
    for name in ("hospital-east", "lab-centre"):
        assert content(fresh)["blocks"] == content(grown.node(name).replica)["blocks"][:8]


def test_old_states_are_kept_for_two_epochs_and_no_longer(grown: RegionSimulation) -> None:
    replica = grown.node("hospital-east").replica
    for height in (4, 8):
        tree = replica.state_at(replica.header(height))
        assert tree.leaves(tree.root, 1 << 20)
    nodes, retired = replica._database["state_nodes"], replica._database["retired_nodes"]
    assert all(one["h"] > 4 for one in retired.find()) and retired.count_documents({}) > 0
    reachable = set()
    for height in (4, 8, 10):
        reachable |= _reachable(replica, replica.header(height).state_root)
    stored = {bytes(one["_id"]) for one in nodes.find()}
    assert reachable <= stored
    assert stored - {bytes(one["_id"]) for one in retired.find()} == _reachable(replica, replica.view.head.state_root)


def _reachable(replica: Replica, root: bytes) -> set[bytes]:
    found, front = set[bytes](), {root} - {bytes(32)}
    while front:
        found |= front
        nodes = replica.nodes(list(front))
        front = {
            half for data in nodes.values() if data[:1] == b"\x03" for half in (data[1:33], data[33:])
        } - {bytes(32)}  # fmt: skip
    return found
