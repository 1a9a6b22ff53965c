"""Blocks carried through the exchange when institutions are away, storage lies, or a round fails."""

from __future__ import annotations

import os

import pytest

from dags.steps.site import Site
from ledger.agreement import round_timer
from ledger.carrier import Carrier, carry_block
from ledger.errors import Behind, Refused, TooEarly
from schemas.records import Entry
from shangmi import sm3


def offer(at: Site, institution: str, count: int = 3) -> list[str]:
    """One signed batch of sealed records is on the exchange; returns the locators of its envelopes."""
    entries = []
    for _ in range(count):
        rid, envelope = os.urandom(16), os.urandom(300)
        locator = f"{rid.hex()}.1"
        at.client[f"xinglin_{institution}"]["records"].insert_one({"_id": locator, "envelope": envelope})
        entries.append(Entry(rid, 1, sm3(envelope), os.urandom(32), bytes(32), len(envelope), 1, locator))
    node = at.node(institution)
    signed = node.submit(entries, node.next_seq(), f"xinglin_{institution}/records")
    at.exchange.post_submission(signed.tx, signed.leaves)
    return [one.locator for one in entries]


def carriers(at: Site, *away: str) -> list[Carrier]:
    """One for every institution that is there."""
    return [Carrier(at.node(one.id), at.exchange) for one in at.region.institutions if one.id not in away]


def heights(at: Site) -> set[int]:
    """Heights of all replicas."""
    return {at.node(one.id).height for one in at.region.institutions}


def test_a_block_needs_no_validator_that_is_away_and_who_returns_catches_up(at: Site) -> None:
    offer(at, "hospital-east")
    assert carry_block(carriers(at, "nursing-home", "hospital-district")) == 1
    assert at.node("nursing-home").height == 0
    offer(at, "hospital-west")
    assert carry_block(carriers(at)) == 2
    assert heights(at) == {2}
    assert at.node("nursing-home").verify_chain().ok


def test_a_quorum_short_by_one_voter_makes_no_block(at: Site) -> None:
    offer(at, "hospital-east")
    there = carriers(at, "hospital-district", "nursing-home", "hospital-west")
    proposed = [one for one in there if one.propose()]
    assert len(proposed) == 1
    for one in there:
        if one.node.is_voter:
            one.prepare()
    with pytest.raises(Behind, match="no quorum"):
        there[1].confirm()
    assert heights(at) == {0}


def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the machine has run an hour longer."""
    boot, hour = round_timer.since_boot(), 3_600_000
    monkeypatch.setattr(round_timer, "since_boot", lambda: round_timer.Instant(boot.boot, boot.ms + hour))


def test_a_lost_envelope_fails_the_round_and_the_next_producer_goes_on_once_it_is_back(
    at: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    locator = offer(at, "hospital-east", 1)[0]
    records = at.client["xinglin_hospital-east"]["records"]
    kept = records.find_one({"_id": locator})
    assert kept is not None
    records.delete_one({"_id": locator})
    everyone = carriers(at)
    assert sum(one.propose() is not None for one in everyone) == 1
    voters = [one for one in everyone if one.node.is_voter]
    for one in voters:
        with pytest.raises(Refused):
            one.prepare()
    for one in voters:
        with pytest.raises(TooEarly):
            one.time_out(1, 0)
    assert {one.place() for one in everyone} == {(1, 0)}
    let_time_pass(monkeypatch)
    for one in voters:
        one.time_out(1, 0)
        assert one.time_out(1, 0) == {"height": 1, "round": 0}
    assert {one.place() for one in everyone} == {(1, 1)}
    assert heights(at) == {0}
    records.insert_one(kept)
    assert carry_block(everyone) == 1
    assert heights(at) == {1}


def test_every_step_done_twice_by_zombies_changes_nothing(at: Site) -> None:
    offer(at, "lab-centre")
    everyone = carriers(at)
    for one in everyone:
        assert one.propose() == one.propose()
    voters = [one for one in everyone if one.node.is_voter]
    for step in ("prepare", "confirm"):
        for one in voters:
            assert getattr(one, step)() == getattr(one, step)()
    for one in everyone:
        assert one.apply(1) == one.apply(1)
    assert heights(at) == {1}
    assert {at.node(one.id).replica.view.head.block_id for one in at.region.institutions} == {
        at.node("lab-centre").replica.view.head.block_id
    }


def test_garbage_on_the_exchange_delays_and_forges_nothing(at: Site) -> None:
    offer(at, "hospital-east")
    at.exchange.post_submission(b"no transaction", b"no leaves")
    at.exchange.post_proposal(1, 0, b"no proposal")
    at.exchange.post_vote(1, 0, 1, b"no vote")
    at.exchange.post_certificate(1, 0, 2, b"no certificate")
    assert carry_block(carriers(at)) == 1
    assert heights(at) == {1}


def test_bytes_changed_in_the_exchange_are_not_read(at: Site) -> None:
    offer(at, "hospital-east")
    chunks = at.client["xinglin_exchange"]["chunks"]
    kept = list(chunks.find())
    for one in kept:
        chunks.update_one({"_id": one["_id"]}, {"$set": {"data": bytes([one["data"][0] ^ 1]) + one["data"][1:]}})
    assert carry_block(carriers(at)) is None
    assert heights(at) == {0}
    for one in kept:
        chunks.replace_one({"_id": one["_id"]}, one)
    assert carry_block(carriers(at)) == 1
