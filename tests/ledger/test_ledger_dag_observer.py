"""What ends a wait of Airflow's, and what does not: the observer against everything an exchange can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from region_simulation import COMMIT, PREPARE, RegionSimulation
from sharing_world import SharingRegion

from ledger.agreement.certificate import QuorumCertificate
from ledger.agreement.observer import Observer
from ledger.agreement.place import PROPOSAL, Place
from ledger.agreement.proposal import Proposal
from ledger.chain.replica import Replica
from ledger.chain.validators import institution_id, key_id
from ledger.contracts.governance import Propose
from ledger.contracts.member_changes import Freeze
from ledger.messages.access import AccessRequest
from ledger.messages.asked import SelectionAsked
from ledger.messages.delivery import Delivered, Received
from ledger.node import Node
from shangmi import sm3

pytestmark = pytest.mark.mongo
FIRST = Place(1, 0)


@pytest.fixture
def observer(region: RegionSimulation) -> Iterator[Observer]:
    """Somebody without a key, with a replica of its own, who knows genesis and what the exchange shows."""
    name = f"{region.name}_observer"
    node = Node(region.genesis, "observer", None, Replica(region.mongo[name], region.genesis), None, {}, lambda: 0)
    yield Observer(node, region.exchange)
    region.mongo.drop_database(name)


def offered(region: RegionSimulation, institution: str | None = None) -> bytes:
    """Somebody's batch is on the exchange; returns the proposal that its round's producer would show."""
    made = region.publish(institution or region.producer().institution)
    region.exchange.post_submission(made.tx, made.leaves)
    return region.proposal(made)


def junk(good: bytes) -> list[bytes]:
    """Certificates that look like a good one, each with one fault."""
    opened = QuorumCertificate.decode(good)
    return [
        b"",
        b"no certificate",
        good[:-1],
        good + b"\0",
        replace(opened, signers=opened.signers[:1], signatures=opened.signatures[:1]).encode(),
        replace(opened, signatures=(*opened.signatures[:-1], bytes(64))).encode(),
        replace(opened, ballot=replace(opened.ballot, height=2)).encode(),
        replace(opened, ballot=replace(opened.ballot, block_id=bytes(31) + b"\1")).encode(),
    ]


def test_no_false_certificate_ends_a_wait_and_the_good_one_behind_them_does(
    region: RegionSimulation, observer: Observer
) -> None:
    proposal = offered(region)
    prepare_qc = region.prepare_qc(proposal)
    commit_qc = region.commit_qc(prepare_qc, proposal)
    for step, type_, good in (("prepare", PREPARE, prepare_qc), ("commit", COMMIT, commit_qc)):
        other = commit_qc if type_ == PREPARE else prepare_qc
        for one in (*junk(good), other):
            region.exchange.post_certificate(1, 0, type_, one)
        assert not observer.sees(step, FIRST)
        region.exchange.post_certificate(1, 0, type_, good)
        assert observer.sees(step, FIRST)
    assert observer.place() == FIRST, "a certificate alone moves no replica"


def test_no_false_proposal_ends_a_wait(region: RegionSimulation, observer: Observer) -> None:
    good = offered(region)
    opened = Proposal.decode(good)
    stranger = region.node(next(one for one in region.voters if one != region.producer().institution))
    for one in (
        b"no proposal",
        replace(opened, signature=bytes(64)).encode(),
        replace(opened, producer=stranger.id).encode(),
        replace(opened, round=1).encode(),
    ):
        region.exchange.post_proposal(1, 0, one)
    assert not observer.sees(PROPOSAL, FIRST)
    region.exchange.post_proposal(1, 0, good)
    assert observer.sees(PROPOSAL, FIRST)


def test_what_is_final_ends_every_wait_below_it(region: RegionSimulation, observer: Observer) -> None:
    final = region.grow()[0]
    assert not observer.sees("commit", FIRST)
    region.exchange.post_final(1, final)
    for step in (PROPOSAL, "prepare", "commit"):
        assert observer.sees(step, FIRST)
    assert not observer.sees("timeout", FIRST), "a round that was decided was not given up"
    assert observer.place() == Place(2, 0)


def test_a_false_final_block_moves_the_observer_nowhere(region: RegionSimulation, observer: Observer) -> None:
    final = region.grow()[0]
    region.exchange.post_final(1, replace(final, commit_qc=junk(final.commit_qc)[4]))
    assert observer.place() == FIRST


def test_only_the_certificate_of_a_round_given_up_opens_the_next_one(
    region: RegionSimulation, observer: Observer
) -> None:
    offered(region)
    tc = region.time_out()
    region.exchange.post_certificate(1, 0, 3, tc[:-1])
    assert not observer.sees("timeout", FIRST)
    assert observer.place() == FIRST
    region.exchange.post_certificate(1, 0, 3, tc)
    assert observer.sees("timeout", FIRST)
    assert observer.place() == Place(1, 1)
    assert observer.sees(PROPOSAL, FIRST), "nobody waits for the proposal of a round that is over"


def test_nobody_times_a_producer_out_for_rubbish(region: RegionSimulation, observer: Observer) -> None:
    """What is offered and breaks a rule is no reason to propose; a producer that stays silent then did no wrong."""
    assert observer.is_idle(FIRST)
    assert not observer.would_propose(FIRST)
    region.exchange.post_submission(b"no transaction", b"no leaves")
    assert observer.is_idle(FIRST)
    ahead = region.publish("lab-centre", seq=7)
    region.exchange.post_submission(ahead.tx, ahead.leaves)
    assert not observer.is_idle(FIRST)
    assert not observer.would_propose(FIRST)
    offered(region)
    assert observer.would_propose(FIRST)


def test_a_round_that_was_given_up_is_never_idle(region: RegionSimulation, observer: Observer) -> None:
    assert not observer.is_idle(Place(1, 1))
    assert observer.would_propose(Place(1, 1))


def test_what_is_final_or_came_too_late_is_no_longer_offered(region: RegionSimulation, observer: Observer) -> None:
    late = region.publish(region.producer().institution)
    region.exchange.post_submission(late.tx, late.leaves)
    region.exchange.post_final(1, region.finish(offered(region)))
    place = observer.place()
    assert observer.is_idle(place)
    assert not observer.would_propose(place)


def test_patience_doubles_when_every_producer_had_its_turn(region: RegionSimulation, observer: Observer) -> None:
    assert [observer.patience(Place(1, round_)) for round_ in (0, 2, 3, 5, 6, 9, 12, 300)] == [1, 1, 2, 2, 4, 8, 8, 8]


def test_the_observer_names_the_producer_of_each_round(region: RegionSimulation, observer: Observer) -> None:
    for round_ in range(4):
        assert observer.producer(Place(1, round_)) == region.producer(round_).institution


def test_who_is_passed_over_must_leave_a_quorum(region: RegionSimulation, observer: Observer) -> None:
    assert observer.is_quorum(["hospital-east", "hospital-west", "lab-centre", "health-commission"])
    assert not observer.is_quorum(["hospital-east", "hospital-west", "hospital-district"])
    assert not observer.is_quorum(["hospital-east", "hospital-west", "stranger"])
    assert not observer.is_quorum([])


def test_the_observer_has_nothing_to_sign_with(region: RegionSimulation, observer: Observer) -> None:
    region.exchange.post_proposal(1, 0, offered(region))
    before = {topic: dict(listed) for topic, listed in region.exchange.topics.items()}
    observer.sees(PROPOSAL, observer.place())
    observer.would_propose(observer.place())
    assert {topic: dict(listed) for topic, listed in region.exchange.topics.items()} == before


def test_what_asks_for_a_block_is_told_of_and_rubbish_batches_and_facts_for_credit_are_not(
    region: RegionSimulation, observer: Observer
) -> None:
    offered(region)
    assert observer.messages() == frozenset(), "a batch is told of by who sealed it"
    node = region.node("lab-centre")
    freeze = Propose(**node.heading(), title="a stolen laptop", change=Freeze(institution_id("nursing-home")))
    signed = node.sign(freeze)
    for junk in (signed[:-64] + bytes(64), signed[:-1], b"XL/TX/1\0", b"XL/TX/1\0\xff", b""):
        region.exchange.post_submission(junk, b"")
    region.exchange.post_evidence(b"no evidence")
    assert observer.messages() == frozenset()
    region.exchange.post_submission(signed, b"")
    assert observer.messages() == {sm3(signed)}


def final(region: RegionSimulation) -> None:
    """What is offered is final and the observer can fetch it."""
    proposal = region.producer().propose(region.exchange.submissions(), 0, None)
    assert proposal is not None
    found = region.finish(proposal)
    region.exchange.post_final(region.node("hospital-east").height, found)


def test_an_allowed_request_is_told_of_until_it_is_answered_and_received(
    mongo: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    region = SharingRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    try:
        node = Node(region.genesis, "observer", None, region.nodes["lab-centre"].replica, None, {}, lambda: 0)
        observer, commission, east = Observer(node, region.exchange), "health-commission", region.node("hospital-east")
        key = region.genesis.validators.member(institution_id(commission))
        assert key is not None
        asked = AccessRequest(
            **region.node(commission).heading(), asked=SelectionAsked(bytes(32), 10), holders=(east.id,),
            purpose="public-health", answer_key=key_id(key.public_key),
        )  # fmt: skip
        region.exchange.post_submission(region.node(commission).sign(asked), b"")
        assert observer.allowed() == frozenset(), "it is offered and not yet decided"
        final(region)
        assert observer.allowed() == {asked.tx_id + east.id}
        package = sm3(b"a package")
        answer = Delivered(**east.heading(), request=asked.tx_id, package=package, manifest=package, records=1, size=9)
        region.exchange.post_submission(east.sign(answer), b"")
        final(region)
        assert observer.allowed() == {asked.tx_id + east.id + package}, "it may be laid out"
        received = Received(**region.node(commission).heading(), request=asked.tx_id, holder=east.id, package=package)
        region.exchange.post_submission(region.node(commission).sign(received), b"")
        final(region)
        assert observer.allowed() == frozenset()
    finally:
        region.close()
