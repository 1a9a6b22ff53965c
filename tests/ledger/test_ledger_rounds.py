"""Rounds: dead producers and minorities, locks, late and repeated messages, restarts at the worst moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import TimeoutCertificate, Vote
from ledger.agreement.production import collect
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock
from ledger.errors import Behind, Refused
from ledger.node import Node
from shangmi import PrivateKey, PublicKey, sm3

pytestmark = pytest.mark.mongo


def block_id(proposal: bytes) -> bytes:
    return Block.decode(Proposal.decode(proposal).block).header.block_id


def submissions(region: RegionSimulation, round_: int = 0) -> list[tuple[bytes, bytes]]:
    made = region.publish(region.producer(round_).institution)
    return [(made.tx, made.leaves)]


def others(region: RegionSimulation, *names: str) -> list[str]:
    return [one for one in region.voters if one not in names]


def equal_heads(region: RegionSimulation) -> bool:
    return len({node.replica.view.head for node in region.nodes.values()}) == 1


class Crash(Exception):
    """The process dies here."""


class DyingKey:
    """A key whose process dies when it is about to sign."""

    def __init__(self, key: PrivateKey) -> None:
        self.public: PublicKey = key.public

    def sign(self, message: bytes) -> NoReturn:
        raise Crash


# --- absence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dead", [("hospital-district",), ("nursing-home", "hospital-district"), ("lab-centre",), (AUDITOR, "nursing-home")]
)
def test_a_dead_minority_costs_nothing_and_catches_up_when_it_returns(
    region: RegionSimulation, dead: tuple[str, ...]
) -> None:
    made = 0
    while made < 2:
        absent = () if region.producer().institution in dead else dead
        region.grow(1, absent=absent)
        made += bool(absent)
        for name in dead:  # back for a moment, so that the next block may have it as its producer
            region.node(name).sync(region.node("hospital-east").replica)
    assert equal_heads(region)
    assert region.open(dead[0]).verify_chain().ok


def test_a_node_that_was_away_says_so_and_syncs_from_the_exchange(region: RegionSimulation) -> None:
    finals = region.grow(2, absent=["nursing-home"])
    for height, final in enumerate(finals, 1):
        region.exchange.post(f"final/{height}", b"garbage that somebody posted")
        region.exchange.post_final(height, final)
    proposal = region.proposal(region.publish(region.producer().institution))
    node = region.node("nursing-home")
    with pytest.raises(Behind, match="sync"):
        node.prepare(proposal)
    with pytest.raises(Behind, match="sync"):
        node.apply(finals[1].block, finals[1].commit_qc, finals[1].bodies)
    assert node.height == 0
    assert node.sync(region.exchange) == 2
    assert node.sync(region.exchange) == 0
    region.finish(proposal)
    assert equal_heads(region)


def test_a_source_that_lies_is_passed_over_and_alone_is_named(region: RegionSimulation) -> None:
    region.grow(1, absent=["nursing-home"])
    honest, node = region.node("hospital-east").replica, region.node("nursing-home")

    class Liar:
        def finals(self, height: int) -> Iterator[FinalBlock]:
            for found in honest.finals(height):
                yield replace(found, bodies=(found.bodies[0][:-1] + b"\0",))

    with pytest.raises(Refused):
        node.sync(Liar())
    assert node.height == 0
    assert node.sync(Liar(), honest) == 1


def test_a_dead_producer_costs_one_timeout_and_the_next_one_goes_on(region: RegionSimulation) -> None:
    dead = region.producer().institution
    alive = others(region, dead)
    tc = region.time_out(0, alive)
    proposal = region.producer(1).propose(submissions(region, 1), 1, tc)
    assert proposal is not None
    final = region.finish(proposal, absent=[dead])
    header = Block.decode(final.block).header
    assert (header.height, header.build_round) == (1, 1)
    assert region.node(dead).sync(region.node(alive[0]).replica) == 1
    assert equal_heads(region)


def test_two_dead_rounds_are_passed_with_two_certificates(region: RegionSimulation) -> None:
    first = region.time_out(0)
    second = region.time_out(1, tc=first)
    proposal = region.producer(2).propose(submissions(region, 2), 2, second)
    assert proposal is not None
    region.finish(proposal)
    assert equal_heads(region)


def test_a_late_proposal_of_a_round_given_up_gets_no_vote(region: RegionSimulation) -> None:
    late = region.proposal(region.publish(region.producer().institution))
    region.time_out(0)
    before = region.snapshot()
    for name in region.voters:
        with pytest.raises(Refused, match="order of votes"):
            region.node(name).prepare(late)
    assert region.snapshot() == before


def test_a_round_is_not_given_up_before_it_was_opened(region: RegionSimulation) -> None:
    node = region.node("nursing-home")
    before = region.snapshot()
    with pytest.raises(Refused):
        node.timeout(1, 1)
    with pytest.raises(Behind):
        node.timeout(2, 0)
    assert region.snapshot() == before


# --- timeout certificates ----------------------------------------------------------------------------------------


def test_a_round_is_not_opened_by_too_few_changed_or_foreign_timeouts(region: RegionSimulation) -> None:
    offers = submissions(region, 1)
    short = [region.node(one).timeout(1, 0) for one in ("hospital-east", "hospital-west", "hospital-district")]
    assert region.node(AUDITOR).assemble_tc(short, 1, 0) is None
    assert region.node(AUDITOR).assemble_tc(short * 3, 1, 0) is None
    good = region.time_out(0)
    node = region.producer(1)
    before = region.snapshot()
    for place in range(0, len(good), 5):
        changed = bytearray(good)
        changed[place] ^= 0x20
        with pytest.raises(Refused):
            node.propose(offers, 1, bytes(changed))
    for wrong in (b"", None, region.exchange.get("nothing")):
        with pytest.raises(Refused):
            node.propose(offers, 1, wrong)
    tc = TimeoutCertificate.decode(good)
    names = region.voters
    message = Vote.decode(short[0]).ballot.signed_bytes(sm3(b"another chain"))
    foreign = tuple(region.keys[names[one]].sign(message) for one in tc.signers)
    with pytest.raises(Refused, match="signature"):
        node.propose(offers, 1, replace(tc, signatures=foreign).encode())
    assert region.snapshot() == before


# --- locks -------------------------------------------------------------------------------------------------------


def test_a_block_that_some_are_locked_on_is_proposed_again_and_keeps_its_id(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    qc = region.prepare_qc(first)
    region.node("hospital-east").commit(qc, first)  # locked; the other COMMITs are lost
    tc = region.time_out(0)
    producer = region.producer(1)
    with pytest.raises(Refused, match="proposed again"):
        producer.propose(submissions(region, 1), 1, tc)
    again = producer.propose(submissions(region, 1), 1, tc, carried=[b"garbage", first])
    assert again is not None and block_id(again) == block_id(first)
    region.clock.now += region.genesis.parameters.clock_drift_ms * 2  # its time is not judged a second time
    region.finish(again)
    assert equal_heads(region)
    assert region.node("nursing-home").verify_chain().ok


def test_a_producer_that_hides_a_lock_gets_no_vote(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    region.node("hospital-east").commit(region.prepare_qc(first), first)
    tc = region.time_out(0)
    producer = region.producer(1)
    fresh = _fresh_proposal(region, producer, 1, tc)
    before = region.snapshot()
    for name in region.voters:
        with pytest.raises(Refused, match="higher PrepareQC"):
            region.node(name).prepare(fresh)
    assert region.snapshot() == before


def test_a_locked_voter_outside_the_certificate_refuses_and_hands_over_its_lock(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    qc = region.prepare_qc(first)
    locked = region.node("nursing-home")
    locked.commit(qc, first)
    tc = region.time_out(0, others(region, "nursing-home"))
    producer = region.producer(1)
    fresh = producer.propose(submissions(region, 1), 1, tc)
    assert fresh is not None and block_id(fresh) != block_id(first)
    before = region.snapshot()
    with pytest.raises(Refused, match="locked since round 0") as refused:
        locked.prepare(fresh)
    assert region.snapshot() == before
    assert refused.value.lock_qc == qc
    region.finish(fresh, absent=["nursing-home"])  # the others are free to decide otherwise
    assert locked.sync(producer.replica) == 1


def test_a_lock_that_a_refusal_brought_is_proposed_again(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    qc = region.prepare_qc(first)
    region.node("nursing-home").commit(qc, first)
    tc = region.time_out(0, others(region, "nursing-home"))
    again = region.producer(1).propose(submissions(region, 1), 1, tc, prepare_qc=qc, carried=[first])
    assert again is not None and block_id(again) == block_id(first)
    region.finish(again)
    assert equal_heads(region)


def test_all_votes_lost_after_a_quorum_committed_still_ends_in_the_same_block(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    commit_qc = region.commit_qc(region.prepare_qc(first), first)
    tc = region.time_out(0)
    again = region.producer(1).propose([], 1, tc, carried=[first])
    assert again is not None
    final = region.finish(again)
    opened = Proposal.decode(first)
    receipt = region.node("hospital-east").apply(opened.block, commit_qc, opened.bodies)
    assert receipt.repeated and Block.decode(final.block).header.block_id == block_id(first)


def _fresh_proposal(region: RegionSimulation, producer: Node, round_: int, tc: bytes) -> bytes:
    """A proposal of a new block signed past the producer's own rules."""
    execution = region.execution(producer, round_)
    collect(execution, submissions(region, round_))
    lie = Proposal(round_, producer.id, execution.block().encode(), b"", tc, tuple(execution.bodies))
    return replace(lie, signature=region.keys[producer.institution].sign(lie.signed_bytes())).encode()


# --- repeats and restarts ----------------------------------------------------------------------------------------


def test_every_repeated_message_gives_the_same_bytes_and_changes_nothing(region: RegionSimulation) -> None:
    offers = submissions(region)
    producer, node = region.producer(), region.node("nursing-home")
    proposal = producer.propose(offers)
    assert proposal is not None
    more = [*offers, *submissions(region)]
    assert producer.propose(more) == proposal
    vote = node.prepare(proposal)
    qc = region.prepare_qc(proposal)
    commit = node.commit(qc, proposal)
    timeout = node.timeout(1, 0)
    before = region.snapshot()
    again = region.open("nursing-home")
    assert (again.prepare(proposal), again.commit(qc, proposal), again.timeout(1, 0)) == (vote, commit, timeout)
    assert region.open(producer.institution).propose(more) == proposal
    with pytest.raises(Behind, match="not among the submissions"):
        region.open(producer.institution).propose([])
    assert region.snapshot() == before


def test_a_final_block_applied_again_gives_its_receipt_and_changes_nothing(region: RegionSimulation) -> None:
    [final] = region.grow(1)
    before = region.snapshot()
    receipt = region.node("nursing-home").apply(final.block, final.commit_qc, final.bodies)
    assert (receipt.repeated, receipt.height, receipt.entries) == (True, 1, 3)
    assert set(receipt.signers) == set(region.voters)
    assert region.snapshot() == before


def test_a_node_that_died_between_writing_and_signing_signs_only_what_it_wrote(region: RegionSimulation) -> None:
    one, two = _two_proposals(region)
    node = region.open("nursing-home", DyingKey(region.keys["nursing-home"]))
    with pytest.raises(Crash):
        node.prepare(one)
    before = region.snapshot()
    restarted = region.open("nursing-home")
    with pytest.raises(Refused, match="double vote"):
        restarted.prepare(two)
    assert region.snapshot() == before
    vote = Vote.decode(restarted.prepare(one))
    vote.verify(region.genesis.chain_id, region.genesis.validators)


def test_a_producer_that_died_between_writing_and_signing_shows_the_proposal_it_wrote(region: RegionSimulation) -> None:
    offers = submissions(region)
    name = region.producer().institution
    with pytest.raises(Crash):
        region.open(name, DyingKey(region.keys[name])).propose(offers)
    region.clock.now += 5_000
    written = region.open(name).propose([*offers, *submissions(region)])
    assert written is not None
    assert Block.decode(Proposal.decode(written).block).transactions == (offers[0][0],)
    region.finish(written)


def test_a_voter_that_died_while_committing_stays_locked(region: RegionSimulation) -> None:
    first = region.proposal(region.publish(region.producer().institution))
    qc = region.prepare_qc(first)
    with pytest.raises(Crash):
        region.open("nursing-home", DyingKey(region.keys["nursing-home"])).commit(qc, first)
    vote = Vote.decode(region.open("nursing-home").timeout(1, 0))
    assert vote.lock == qc and vote.ballot.justify_round == 0


def test_two_workers_with_one_key_cannot_sign_two_blocks(region: RegionSimulation) -> None:
    one, two = _two_proposals(region)
    first, second = region.open("nursing-home"), region.open("nursing-home")
    first.prepare(one)
    before = region.snapshot()
    with pytest.raises(Refused, match="double vote"):
        second.prepare(two)
    assert region.snapshot() == before


def _two_proposals(region: RegionSimulation) -> tuple[bytes, bytes]:
    """An equivocating producer's two proposals for one round."""
    producer = region.producer()
    one = producer.propose(submissions(region))
    assert one is not None
    opened = Proposal.decode(one)
    block = Block.decode(opened.block)
    later = replace(block, header=replace(block.header, timestamp_ms=block.header.timestamp_ms + 1))
    two = replace(opened, block=later.encode())
    return one, replace(two, signature=region.keys[producer.institution].sign(two.signed_bytes())).encode()


def test_an_equivocating_producer_never_gets_two_certificates(region: RegionSimulation) -> None:
    one, two = _two_proposals(region)
    votes = [region.node(name).prepare(one) for name in region.voters[:2]]
    votes += [region.node(name).prepare(two) for name in region.voters[2:]]
    for name in region.voters:
        for proposal in (one, two):
            with contextlib.suppress(Refused):
                votes.append(region.node(name).prepare(proposal))
    first = [vote for vote in votes if Vote.decode(vote).ballot.block_id == block_id(one)]
    second = [vote for vote in votes if Vote.decode(vote).ballot.block_id == block_id(two)]
    certificates = [region.node(AUDITOR).assemble_prepare(half) for half in (first, second)]
    assert certificates.count(None) >= 1
    tc = region.time_out(0)
    agreed = region.producer(1).propose(submissions(region, 1), 1, tc, carried=[one, two])
    assert agreed is not None
    region.finish(agreed)
    assert equal_heads(region)


def test_nothing_to_do_makes_no_block(region: RegionSimulation) -> None:
    before = region.snapshot()
    assert region.producer().propose([]) is None
    assert region.snapshot() == before


def test_the_producers_take_turns_and_epochs_count_blocks(region: RegionSimulation) -> None:
    builders = []
    for final in region.grow(4, count=1):
        builders.append(region.genesis.institution(Block.decode(final.block).header.builder_id))
    assert len(set(builders[:3])) == 3 and builders[3] == builders[0]
    assert [region.genesis.epoch(height) for height in (0, 1, 100, 101)] == [0, 0, 0, 1]
