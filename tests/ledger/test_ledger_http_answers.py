"""What a node answers over HTTP: right, documented, verifiable by who asked, and without side effects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from region_simulation import AUDITOR, RegionSimulation
from served_region import FREE, served, serving

from ledger.agreement.certificate import check_commit
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header, history_leaf
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from ledger.chain.replica import FinalBlock
from ledger.chain.smt import StateProof, state_key, value_hash, verify_state
from ledger.chain.state import INSTITUTION
from ledger.chain.validators import ValidatorSet, institution_id
from ledger.errors import Refused
from ledger.proofs.checkpoint import Checkpoint, Note, cosign
from ledger.proofs.proof import verify_proof
from ledger.proofs.tiles import TileTree, block_ids, parse
from ledger.serving.application import make_app
from ledger.sync.header_chain import HeaderChain, decode_headers

pytestmark = pytest.mark.mongo


@pytest.fixture(scope="module")
def grown(settled: RegionSimulation) -> RegionSimulation:
    settled.grow(4, count=5, absent=["nursing-home"])
    settled.node("nursing-home").sync(settled.node(AUDITOR).replica)
    return settled


@pytest.fixture(scope="module")
def client(grown: RegionSimulation) -> Iterator[httpx.Client]:
    with serving(grown, AUDITOR) as url, httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def get(client: httpx.Client, path: str, **query: str | int) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(one) for one in values]


def test_status_members_blocks_credit_and_pending_say_where_the_chain_stands(
    client: httpx.Client, grown: RegionSimulation
) -> None:
    head = grown.node(AUDITOR).replica.view.head
    status = get(client, "/v1/status")
    assert (status["institution"], status["height"], status["block_id"]) == (AUDITOR, 6, head.block_id.hex())
    assert status["next_producer"] == grown.producer().institution and status["halted"] is None
    members = get(client, "/v1/members")["members"]
    assert {one["id"] for one in members} == set(grown.nodes) and sum(one["weight"] for one in members) == 12
    assert {one["class"] for one in members} == {"A", "B", "C", "R"}
    blocks = get(client, "/v1/blocks", **{"from": 2, "limit": 4})["blocks"]
    assert [one["height"] for one in blocks] == [2, 3, 4, 5] and [one["entries"] for one in blocks] == [3, 5, 5, 5]
    assert blocks[1]["absent"] == ["nursing-home"] and (blocks[1]["weight"], blocks[1]["of"]) == (11, 12)
    assert set(get(client, "/v1/credit")) == {"epochs"} and get(client, "/v1/pending") == {"batches": []}


def test_pending_lists_offered_batches_and_passes_over_rubbish(grown: RegionSimulation) -> None:
    producer = grown.producer().institution
    tx = grown.publish(producer, 2).tx
    offered = [b"", b"rubbish", tx, tx[:-1], b"\0" * 70_000]
    app = make_app(served(grown, AUDITOR, lambda: offered), FREE)
    with httpx.Client(transport=_sync(app), base_url="http://node") as client:
        assert get(client, "/v1/pending")["batches"] == [
            {"submitter": producer, "seq": grown.node(producer).next_seq(), "entries": 2, "received_ms": None}
        ]


def test_the_head_is_certified(client: httpx.Client, grown: RegionSimulation) -> None:
    genesis = Genesis.load(client.get("/v1/genesis").content)
    assert genesis.chain_id == grown.genesis.chain_id
    found = get(client, "/v1/head")
    header = Header.decode(bytes.fromhex(found["header"]))
    check_commit(bytes.fromhex(found["commit_qc"]), header.block_id, 6, 0, genesis.chain_id, genesis.validators)
    assert found["history_root"] == grown.node(AUDITOR).replica.view.history_root.hex()


def test_headers_by_range_follow_one_another(client: httpx.Client, grown: RegionSimulation) -> None:
    genesis = grown.genesis
    start = Frontier().append(history_leaf(genesis.header.block_id))[0]
    chain = HeaderChain(genesis, genesis.header, start, genesis.validators)
    members = ValidatorSet.decode(client.get("/v1/validators/0/bytes").content)
    for first, count in ((1, 2), (3, 1), (4, 256)):
        for one in decode_headers(client.get("/v1/headers", params={"from": first, "count": count}).content):
            chain.extend(one, lambda _: members)
    assert chain.head == grown.node(AUDITOR).replica.view.head
    assert decode_headers(client.get("/v1/headers", params={"from": 7}).content) == []
    assert decode_headers(client.get("/v1/headers", params={"from": 0}).content)[0].header.height == 1


def test_blocks_and_leaves_are_the_chains_own_bytes(client: httpx.Client, grown: RegionSimulation) -> None:
    for height in range(1, 7):
        final = grown.node(AUDITOR).replica.final(height)
        assert final is not None
        assert client.get(f"/v1/blocks/{height}/bytes").content == final.block
        assert client.get(f"/v1/blocks/{height}/leaves/0").content == final.bodies[0]
        assert FinalBlock.decode(client.get(f"/v1/blocks/{height}/final").content) == final
        facts = get(client, f"/v1/blocks/{height}")
        assert facts["contents"][0]["type"] == "SUBMIT_BATCH" and facts["contents"][0]["entries"] == facts["entries"]
    assert client.get("/v1/blocks/3/leaves/0").headers["cache-control"].endswith("immutable")


def test_validators_of_an_epoch_are_named_and_hashed(client: httpx.Client, grown: RegionSimulation) -> None:
    found = get(client, "/v1/validators/0")
    assert ValidatorSet.decode(bytes.fromhex(found["encoded"])).hash.hex() == found["validators_hash"]
    assert {one["id"] for one in found["members"]} == set(grown.nodes)
    assert client.get("/v1/validators/9").status_code == 404


def test_inclusion_and_consistency_proofs_hold(client: httpx.Client) -> None:
    for size in range(1, 8):
        for height in range(size):
            found = get(client, f"/v1/proofs/block/{height}", size=size)
            path, root = unhex(found["path"]), bytes.fromhex(found["root"])
            assert verify_inclusion(bytes.fromhex(found["leaf_hash"]), height, size, path, root)
        for old in range(1, size + 1):
            found = get(client, "/v1/proofs/consistency", old=old, new=size)
            roots = unhex([found["old_root"], found["new_root"]])
            assert verify_consistency(old, size, unhex(found["path"]), *roots)
    found = get(client, "/v1/proofs/transaction/3/0")
    assert found["size"] == 1 and found["root"] == get(client, "/v1/blocks/3")["tx_root"]
    assert client.get("/v1/proofs/transaction/3/1").status_code == 404


def test_a_records_proof_file_holds(client: httpx.Client, grown: RegionSimulation) -> None:
    final = grown.node(AUDITOR).replica.final(4)
    assert final is not None
    leaf = RecordLeaf.decode(Leaves.decode(final.bodies[0]).record(2))
    answer = client.get(f"/v1/proofs/record/{leaf.rid.hex()}", params={"version": 1})
    assert verify_proof(answer.content, grown.genesis.anchor()).height == 4
    for query in ({"version": 2}, {"version": 1, "institution": AUDITOR}):
        assert client.get(f"/v1/proofs/record/{leaf.rid.hex()}", params=query).status_code == 404


def test_state_proofs_show_what_is_there_and_what_is_not(client: httpx.Client, grown: RegionSimulation) -> None:
    for name in (AUDITOR, "hospital-east", "nobody"):
        identity = institution_id(name)
        found = get(client, f"/v1/proofs/state/{INSTITUTION}/{identity.hex()}")
        header = Header.decode(bytes.fromhex(found["header"]))
        hash_ = None if found["value"] is None else value_hash(bytes.fromhex(found["value"]))
        proof = StateProof.decode(bytes.fromhex(found["proof"]))
        assert verify_state(header.state_root, state_key(INSTITUTION, identity), hash_, proof)
        assert (hash_ is None) == (name == "nobody")
    assert get(client, "/v1/proofs/state/13/-")["value"] is not None


def test_tiles_give_every_proof(client: httpx.Client, grown: RegionSimulation) -> None:
    view = grown.node(AUDITOR).replica.view
    tiles = TileTree(lambda path: client.get(f"/{path}").content, 7)
    assert tiles.root() == view.history_root
    ids = block_ids(client.get("/tile/entries/000.p/7").content, parse("0", "000.p/7"))
    assert ids[6] == view.head.block_id
    assert verify_inclusion(leaf_hash(history_leaf(ids[3])), 3, 7, tiles.inclusion(3), view.history_root)
    assert client.get("/tile/0/000.p/3").headers["cache-control"].endswith("immutable")
    for path in ("/tile/0/000", "/tile/0/000.p/8", "/tile/1/000.p/1", "/tile/0/001.p/1", "/tile/entries/000.p/8"):
        assert client.get(path).status_code == 404


def test_checkpoints_are_kept_only_where_they_are_true_and_served_as_text(
    client: httpx.Client, grown: RegionSimulation
) -> None:
    here, key = served(grown, AUDITOR), grown.keys[AUDITOR]
    assert client.get("/checkpoint").status_code == 404

    def note(at: int, who: str = AUDITOR, **changes: Any) -> bytes:
        checkpoint = replace(Checkpoint.of(here.replica.header(at)), **changes)
        signer = grown.keys[who]
        return Note(checkpoint, (cosign(checkpoint, who, signer.public.bytes, signer, 1_793_500_000_000),)).encode()

    lies = [
        note(5, who="hospital-east"), note(5, state_root=bytes(32)), note(5, height=9), note(5, chain_id=bytes(32)),
        b"", note(5)[:-1],
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(Refused):
            here.checkpoints.keep(lie)
    assert client.get("/checkpoint").status_code == 404
    for height in (5, 3):
        here.checkpoints.keep(note(height))
    answer = client.get("/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert Note.decode(answer.content).checkpoint.height == 5
    assert Note.decode(client.get("/v1/checkpoints/3").content).verify(grown.genesis.validators)[0].auditor == AUDITOR
    listed = get(client, "/v1/checkpoints")["checkpoints"]
    assert [one["height"] for one in listed] == [5, 3] and listed[0]["signed"] == {AUDITOR: 1_793_500_000_000}
    assert client.get("/v1/checkpoints/4").status_code == 404
    assert key.public.bytes.hex() not in answer.text


def test_every_route_is_documented_with_its_refusals(client: httpx.Client) -> None:
    document = get(client, "/openapi.json")
    paths = document["paths"]
    assert {"/v1/status", "/v1/headers", "/v1/proofs/consistency", "/tile/{level}/{number}"} <= set(paths)
    for path, methods in paths.items():
        assert set(methods) == {"get"}, path
        route = methods["get"]
        assert {"200", "400", "404", "429", "503"} == set(route["responses"]), path
        assert route.get("description"), path
        for one in route.get("parameters", []):
            schema = json.dumps(one["schema"])
            assert "maximum" in schema.lower() or "pattern" in schema, (path, one["name"])


def test_answers_change_nothing(client: httpx.Client, grown: RegionSimulation) -> None:
    before = grown.snapshot()
    for path in ("/v1/status", "/v1/blocks", "/v1/headers", "/v1/proofs/state/1/-", "/v1/nothing", "/tile/0/000.p/7"):
        client.get(path)
    assert grown.snapshot() == before


def _sync(app: Any) -> httpx.BaseTransport:
    """The application called in this process."""

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            async def ask() -> httpx.Response:
                answer = await httpx.ASGITransport(app).handle_async_request(request)
                return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

            return asyncio.run(ask())

    return Transport()
