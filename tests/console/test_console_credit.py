"""`xinglin credit`: scores as the chain holds them, and the facts behind each, counted from blocks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bson import Binary
from console_run import ROOT, Done, Xinglin, run_here
from founded import founded_site

from dags.steps.site import Site
from ledger.agreement.certificate import PREPARE, Vote
from ledger.carrier import Carrier, carry_block
from ledger.chain.replica import Replica
from ledger.chain.smt import value_hash
from ledger.chain.state import CREDIT
from ledger.chain.validators import institution_id
from ledger.credit.scoring import CreditState
from ledger.credit.watching import Watch
from ledger.node import Node
from schemas.home import Home
from schemas.records import Entry
from shangmi import sm3

DISTRICT, EAST, WEST = "hospital-district", "hospital-east", "hospital-west"


def sealed(at: Site, owner: str) -> Entry:
    """A record that validators can read back."""
    envelope, locator = secrets.token_bytes(40), secrets.token_hex(16)
    at.client[f"xinglin_{owner}"]["records"].insert_one({"_id": locator, "envelope": Binary(envelope)})
    return Entry(secrets.token_bytes(16), 1, sm3(envelope), bytes(32), bytes(32), len(envelope), 14, locator)


def grow(at: Site, absent: str = "") -> None:
    """One block with a record of the west's."""
    node = at.node(WEST)
    made = node.submit([sealed(at, WEST)], node.next_seq(), "vault")
    at.exchange.post_submission(made.tx, made.leaves)
    carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.institutions if one.id != absent])


def sign_two_ways(at: Site, name: str, height: int) -> None:
    """Whoever has the key signs a second PREPARE."""
    [mine] = [
        one
        for one in map(Vote.decode, at.exchange.votes(height, 0, PREPARE))
        if one.voter == institution_id(name)
    ]  # fmt: skip
    ballot = replace(mine.ballot, block_id=bytes(31) + b"\1")
    signature = at.keystore(name).signing_key.sign(ballot.signed_bytes(at.genesis.chain_id))
    at.exchange.post_vote(height, 0, PREPARE, Vote(ballot, mine.voter, signature).encode())


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[Site]:
    """A region of epochs of four blocks in its second; the district hospital's key has signed two ways."""
    home = Home(tmp_path_factory.mktemp("region"))
    text = (ROOT / "region.yaml").read_text(encoding="utf-8").replace("epoch_blocks: 100", "epoch_blocks: 4")
    (region := home.path / "region.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_REGION", str(region))
        patch.setenv("XINGLIN_HOME", str(home.path))
        patch.setenv("MONGODB_URI", mongo_uri)
        with founded_site(home) as at:
            assert at.genesis.parameters.epoch_blocks == 4
            grow(at)
            sign_two_ways(at, DISTRICT, 1)
            observer = at.node("health-commission")
            assert isinstance(observer, Node)
            assert Watch(observer.replica, at.exchange, observer).look().convictions
            for _ in range(5):
                grow(at, absent=DISTRICT)
            yield at


@pytest.fixture
def here(at: Site, mongo_uri: str, empty: Path) -> Xinglin:
    """The command in the region."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        of = {"XINGLIN_HOME": str(at.home.path), "XINGLIN_REGION": str(at.home.region), "MONGODB_URI": mongo_uri}
        return run_here(*arguments, stdin=stdin, **of, **environment)

    return run


def text(done: Done) -> str:
    assert (done.code, done.told) == (0, "")
    return str(done.output, "utf-8")


def test_every_institution_is_listed_with_seat_jail_votes_and_score(here: Xinglin) -> None:
    lines = text(here("credit")).splitlines()
    assert lines[0] == "block 6; the next is of epoch 1"
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:11]}
    assert rows[DISTRICT] == ["B", "member", "suspended", "to", "epoch", "4", "0", "12"]
    assert rows[EAST][:4] == ["A", "producer", "producer", "-"]
    assert rows["health-commission"] == ["R", "auditor", "auditor", "-", "0", "600"]
    assert all(len(line) <= 80 for line in lines)


def test_a_program_reads_the_same(here: Xinglin) -> None:
    told = json.loads(text(here("credit", "--json")))
    assert (told["height"], told["alarms"]) == (6, [])
    [row] = [one for one in told["scores"] if one["institution"] == DISTRICT]
    assert (row["score"], row["weight"], row["jailed_until_epoch"], row["convicted_at_height"]) == (12, 0, 4, 2)


def test_why_names_the_facts_of_each_epoch_and_the_blocks_that_hold_them(here: Xinglin) -> None:
    said = text(here("credit", "--why", DISTRICT))
    assert "convicted -600" in said
    assert "epoch 0, block 2: conviction: two votes in one place at height 1, round 0" in said
    assert said.endswith("counted from blocks 1 to 6: the state holds the same scores\n")
    told = json.loads(text(here("credit", "--why", WEST, "--json")))
    assert [one["epoch"] for one in told["epochs"]] == [0]
    assert told["epochs"][0]["facts"]["built"] in (1, 2)
    assert told["open_epoch"]["certificates"] == 2


def test_who_is_not_registered_is_told_in_a_sentence(here: Xinglin) -> None:
    done = here("credit", "--why", "nobody")
    assert (done.code, done.output) == (2, b"")
    assert done.told.startswith("xinglin: nobody is registered as 'nobody'; there are health-commission, ")


def test_a_score_altered_in_a_replica_is_found_out(here: Xinglin, at: Site) -> None:
    values = at.client[f"ledger_{WEST}"]["state_values"]
    replica = Replica(at.client[f"ledger_{WEST}"], at.genesis)
    honest = replica.view.state(CREDIT, institution_id(EAST))
    assert honest is not None
    forged = CreditState(1_000, "producer").encode()
    values.update_one({"_id": value_hash(honest)}, {"$set": {"d": Binary(forged)}})
    done = here("credit", "--replica", WEST)
    values.update_one({"_id": value_hash(honest)}, {"$set": {"d": Binary(honest)}})
    assert (done.code, done.output) == (1, b"")
    assert "state" in done.told
    text(here("credit", "--replica", WEST))
