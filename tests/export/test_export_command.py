"""`xinglin dataset audit`, `exports` and `recut`, as people run them."""

from __future__ import annotations

import json

import pytest
from console_run import Done, run_here
from export_world import COMMITTEE, EAST, RESEARCH, World

from dags.steps import share
from ledger.chain.validators import institution_id
from ledger.messages.notice import Notice


@pytest.fixture
def delivered(world: World, mongo_uri: str) -> bytes:
    """The east delivered a dataset of twenty patients; returns the request's id."""
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    assert share.share(EAST, tx.hex(), world.at) == "delivered"
    world.grow()
    share.lay_out(EAST, world.at)
    return tx


def run(world: World, mongo_uri: str, *arguments: str) -> Done:
    return run_here("dataset", *arguments, XINGLIN_HOME=str(world.at.home.path), MONGODB_URI=mongo_uri)


def test_people_read_who_received_what_and_how_far_exports_are(
    world: World, delivered: bytes, mongo_uri: str
) -> None:  # fmt: skip
    told = run(world, mongo_uri, "audit").output.decode()
    assert f"{RESEARCH} asked {EAST} for a dataset" in told
    assert f"{COMMITTEE[0]}: approved" in told
    assert f"{EAST}: delivered 60 records" in told
    assert told.endswith("1 request\n")
    [one] = json.loads(run(world, mongo_uri, "audit", "--given", "--holder", EAST, "--json").output)
    assert one["request"] == delivered.hex()
    assert one["decision"]["rules"] == ["research.dataset"]
    assert json.loads(run(world, mongo_uri, "audit", "--requester", "insurer", "--json").output) == []
    [export] = json.loads(run(world, mongo_uri, "exports", "--json").output)
    assert (export["holder"], export["state"], export["records"]) == (EAST, "delivered", 60)
    assert "delivered" in run(world, mongo_uri, "exports").output.decode()


def test_a_dataset_is_cut_anew_only_where_rows_were_called_back(
    world: World, delivered: bytes, mongo_uri: str
) -> None:  # fmt: skip
    arguments = ("recut", delivered.hex()[:16], "--institution", EAST)
    before = run(world, mongo_uri, *arguments)
    assert before.code == 1
    assert "no rows of this dataset are called back" in before.told
    world.say(EAST, (0, 1), sequence=2, withdraw=True)
    world.offer(EAST, Notice, request=delivered, holder=institution_id(EAST), step="raised", affected=5)
    world.grow()
    done = run(world, mongo_uri, *arguments, "--json")
    assert (done.code, json.loads(done.output)["records"]) == (0, 54)
