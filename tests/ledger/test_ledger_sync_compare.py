"""The nightly comparison: proofs between replicas, contradictions found, the auditor's checkpoint only on agreement."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation
from served_region import certified

from dags.steps import compare as steps
from dags.steps.errors import Stop
from dags.steps.site import Site
from ledger.chain.block import Block
from ledger.chain.header import Header
from ledger.chain.replica import FinalBlock
from ledger.chain.validators import institution_id
from ledger.errors import Halted, Refused
from ledger.exchange import MemoryExchange
from ledger.proofs.checkpoint import Note
from ledger.proofs.checkpoints import Checkpoints
from ledger.sync.comparing import Continuation, Standing, compare, continuation, standing

pytestmark = pytest.mark.mongo
NIGHT = "night"
EVERYONE = ("health-commission", "hospital-district", "hospital-east", "hospital-west", "lab-centre", "nursing-home")


@pytest.fixture(scope="module")
def grown(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    """Five blocks; the nursing home stands at the third."""
    made = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}")
    made.grow(3, count=1)
    made.grow(2, count=1, absent=["nursing-home"])
    yield made
    made.close()


@pytest.fixture
def region(grown: RegionSimulation) -> Iterator[RegionSimulation]:
    """The same with nothing told yet, and nothing kept afterwards."""
    grown.exchange = MemoryExchange()
    yield grown
    for one in EVERYONE:
        for name in ("checkpoints", "conflicts"):
            grown.mongo[grown.database_name(one)][name].drop()


def site_of(region: RegionSimulation) -> Site:
    """This machine's part of the simulated region, as the steps use it."""
    home = SimpleNamespace(node_mongodb_uri=lambda: None)

    class Client:
        def __getitem__(self, name: str) -> Any:
            return region.mongo[region.database_name(name.removeprefix("ledger_"))]

    found = SimpleNamespace(
        home=home, client=Client(), exchange=region.exchange, node=region.node,
        replica=lambda name: region.node(name).replica,
    )  # fmt: skip
    return cast("Site", found)


def night(region: RegionSimulation, *, absent: tuple[str, ...] = ()) -> dict[str, int]:
    at = site_of(region)
    here = [one for one in EVERYONE if one not in absent]
    for one in here:
        steps.tell(one, NIGHT, at)
    for one in here:
        steps.prove(one, NIGHT, at)
    found = steps.judge(AUDITOR, NIGHT, at)
    for one in here:
        steps.keep(one, at)
    return found


def checkpoints(region: RegionSimulation, name: str) -> Checkpoints:
    return Checkpoints(region.mongo[region.database_name(name)], region.node(name).replica)


def test_the_auditor_signs_what_all_replicas_have_in_common_and_everyone_keeps_it(region: RegionSimulation) -> None:
    assert night(region) == {"compared": 6, "silent": 0, "common": 3}
    for name in EVERYONE:
        [note] = checkpoints(region, name).newest(9)
        assert (
            note.checkpoint.height == 3 and note.checkpoint.block_id == region.node(AUDITOR).replica.header(3).block_id
        )
        assert [one.auditor for one in note.verify(region.genesis.validators)] == [AUDITOR]
    before = region.snapshot()
    steps.keep("lab-centre", site_of(region))
    assert region.snapshot() == before


def test_who_is_silent_is_counted_and_holds_nobody_up(region: RegionSimulation) -> None:
    assert night(region, absent=("nursing-home", "lab-centre")) == {"compared": 4, "silent": 2, "common": 5}


def test_proofs_hold_for_every_pair_and_for_nothing_else(region: RegionSimulation) -> None:
    replica = region.node(AUDITOR).replica
    headers = [replica.header(one) for one in range(6)]
    for low in range(6):
        for high in range(6):
            proof = continuation(replica, headers[low], headers[high])
            assert (proof is not None) == (low < high)
            if proof is None:
                continue
            assert Continuation.decode(proof.encode()) == proof and proof.holds(headers[low], headers[high])
            for other in range(6):
                assert proof.holds(headers[other], headers[high]) == (other == low)
                assert proof.holds(headers[low], headers[other]) == (other == high)
            for lie in (
                replace(proof, place=proof.place[1:]),
                replace(proof, place=(*proof.place, bytes(32))),
                replace(proof, consistency=(*proof.consistency, bytes(32))),
                replace(proof, consistency=proof.consistency[:-1]),
            ):
                if lie != proof:
                    assert not lie.holds(headers[low], headers[high])


def forked(region: RegionSimulation, height: int) -> tuple[Header, bytes]:
    header = region.node(AUDITOR).replica.header(height)
    other = replace(header, timestamp_ms=header.timestamp_ms + 1)
    return other, certified(region, other)


def test_two_certified_histories_that_contradict_one_another_stop_the_night_without_a_signature(
    region: RegionSimulation,
) -> None:
    at = site_of(region)
    header, qc = forked(region, 4)
    for one in EVERYONE:
        if one != "lab-centre":
            steps.tell(one, NIGHT, at)
    region.exchange.post(f"standing/{NIGHT}", Standing(institution_id("lab-centre"), header, qc).encode())
    for one in EVERYONE:
        steps.prove(one, NIGHT, at)
    with pytest.raises(Stop, match="lab-centre"):
        steps.judge(AUDITOR, NIGHT, at)
    assert list(region.exchange.read(steps.CHECKPOINTS)) == []


def test_histories_of_one_height_that_differ_are_found(region: RegionSimulation) -> None:
    header, qc = forked(region, 5)
    shown = [
        standing(region.node("hospital-east").replica, "hospital-east").encode(),
        Standing(institution_id("lab-centre"), header, qc).encode(),
    ]
    found = compare(region.node(AUDITOR).replica.view, shown, [])
    assert not found.agrees and len(found.contradicting) == 1


def test_a_missing_proof_counts_as_a_contradiction(region: RegionSimulation) -> None:
    at = site_of(region)
    for one in EVERYONE:
        steps.tell(one, NIGHT, at)
    with pytest.raises(Stop, match="nursing-home"):
        steps.judge(AUDITOR, NIGHT, at)


Rubbish = Callable[[RegionSimulation], bytes]
RUBBISH: dict[str, Rubbish] = {
    "no bytes": lambda _: b"",
    "rubbish": lambda _: b"XL/STAND/1\0" + b"\xff" * 99,
    "no certificate": lambda region: replace(
        standing(region.node(AUDITOR).replica, "lab-centre"), commit_qc=b""
    ).encode(),
    "a stranger's": lambda region: standing(region.node(AUDITOR).replica, "nobody").encode(),
    "a future head": lambda region: Standing(
        institution_id("lab-centre"),
        (far := replace(region.node(AUDITOR).replica.view.head, height=99)),
        certified(region, far),
    ).encode(),
    "two signers": lambda region: Standing(
        institution_id("lab-centre"), (one := forked(region, 5)[0]), certified(region, one, who=2)
    ).encode(),
}


@pytest.mark.parametrize("what", RUBBISH)
def test_what_is_no_certified_head_says_nothing_about_anybody(region: RegionSimulation, what: str) -> None:
    for topic in ("standing", "continuation"):
        region.exchange.post(f"{topic}/{NIGHT}", RUBBISH[what](region))
    region.exchange.post(steps.CHECKPOINTS, RUBBISH[what](region))
    assert night(region)["common"] == 3


@settings(derandomize=True, max_examples=200)
@given(st.binary(max_size=500))
def test_no_bytes_raise_anything_but_refused(data: bytes) -> None:
    for kind, domain in ((Standing, b"XL/STAND/1\0"), (Continuation, b"XL/CONT/1\0"), (Note, b"")):
        try:
            found = kind.decode(domain + data)
        except Refused:
            continue
        assert found.encode() == domain + data


def test_a_halted_replica_does_not_tell(region: RegionSimulation) -> None:
    header, qc = forked(region, 5)
    region.node("lab-centre").replica.keep_conflict(
        FinalBlock(Block(header, b"", ()).encode(), qc, ()), "two certified blocks of one height"
    )
    with pytest.raises(Halted, match="lab-centre"):
        steps.tell("lab-centre", NIGHT, site_of(region))
    assert list(region.exchange.read(f"standing/{NIGHT}")) == []


def test_only_an_auditor_cosigns_and_only_its_own_blocks(region: RegionSimulation) -> None:
    for name, height in (("hospital-east", 3), (AUDITOR, 0), (AUDITOR, 6)):
        with pytest.raises(Refused, match="checkpoint"):
            region.node(name).cosign(height)
