"""Credit and evidence among real nodes: found by watching, carried in blocks, the same in every replica."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from region_simulation import AUDITOR, MEMBERS, RegionSimulation

from ledger.agreement.certificate import COMMIT, PREPARE, Vote
from ledger.carrier import Carrier
from ledger.chain.chain_check import verify_chain
from ledger.chain.replica import Replica
from ledger.chain.state import CREDIT, ONLY, TALLY
from ledger.chain.validators import institution_id
from ledger.credit.credit import opened_credit, opened_tally
from ledger.credit.credit_history import credit_history
from ledger.credit.evidence import convict, find_evidence
from ledger.credit.scoring import CreditState
from ledger.credit.seats import DELAYED, KEPT_PRODUCER, Alarms
from ledger.credit.statements import Voters
from ledger.credit.watching import Watch, Watched
from ledger.errors import Refused

DISTRICT, HOME = "hospital-district", "nursing-home"
NAMES = [one.id for one in MEMBERS]


class Carried(RegionSimulation):
    """A region whose bytes go through an exchange, as its tasks would carry them."""

    found: Watched
    late: Watched
    missed: tuple[tuple[int, int], ...]

    def carriers(self, absent: Collection[str] = ()) -> list[Carrier]:
        return [Carrier(self.node(one), self.exchange) for one in NAMES if one not in absent]

    def watch(self, name: str) -> Watch:
        return Watch(self.node(name).replica, self.exchange, self.node(name))

    def offer(self, name: str) -> None:
        made = self.publish(name, 1)
        self.exchange.post_submission(made.tx, made.leaves)

    def carry(self, absent: Collection[str] = (), offer: str = "hospital-west", late: Collection[str] = ()) -> int:
        """One block of what waits; the late ones confirm once everybody else has applied it."""
        self.offer(offer)
        carriers = self.carriers(absent)
        proposed = next(found for one in carriers if (found := one.propose()) is not None)
        voters = [one for one in carriers if one.node.is_voter]
        for one in voters:
            one.prepare()
        for one in voters:
            if one.node.institution not in late:
                one.confirm()
        for one in carriers:
            if one.node.institution not in late:
                one.apply(proposed["height"])
        for name in late:
            self.confirm_late(name, proposed["height"])
        self.clock.now += 1_000
        return proposed["height"]

    def confirm_late(self, name: str, height: int) -> None:
        """A COMMIT that comes when the block is final everywhere else."""
        carrier = Carrier(self.node(name), self.exchange)
        [certificate] = self.exchange.certificates(height, 0, PREPARE)
        [proposal] = self.exchange.proposals(height, 0)
        self.exchange.post_vote(height, 0, COMMIT, self.node(name).commit(certificate, proposal))
        carrier.place()

    def give_up(self, round_: int = 0, absent: Collection[str] = ()) -> None:
        """Every voter's TIMEOUT of an open round, and the certificate they make."""
        height = self.node(AUDITOR).height + 1
        for one in self.carriers(absent):
            if one.node.is_voter:
                one.time_out(height, round_)

    def sign_two_ways(self, name: str, round_: int) -> None:
        """A PREPARE of the open round beside the one that the node has signed, by whoever holds its key."""
        height = self.node(AUDITOR).height
        [mine] = [
            vote
            for data in self.exchange.votes(height, round_, PREPARE)
            if (vote := Vote.decode(data)).voter == institution_id(name)
        ]
        ballot = type(mine.ballot)(PREPARE, height, round_, mine.ballot.epoch, bytes(31) + b"\1")
        signature = self.keys[name].sign(ballot.signed_bytes(self.genesis.chain_id))
        self.exchange.post_vote(height, round_, PREPARE, Vote(ballot, mine.voter, signature).encode())

    def credit(self, name: str, at: str = AUDITOR) -> CreditState:
        view = self.node(at).replica.view
        return opened_credit(view.state(CREDIT, institution_id(name)), view.validators, institution_id(name))

    def messages(self) -> list[bytes]:
        return list(self.exchange.blobs.values())


@pytest.fixture(scope="module")
def carried(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    """A region in its third epoch of four blocks.

    In the first, a round times out, the nursing home confirms late once and is left out, and the district's key signs
    two ways; in the second its seat and its weight are gone.
    """
    made = Carried(
        mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}",
        epoch_blocks=4, late_blocks=3, jail_epochs=2,
    )  # fmt: skip
    made.carry(late=[HOME])
    made.give_up()
    made.carry()
    made.sign_two_ways(DISTRICT, 1)
    made.found, made.late = made.watch(AUDITOR).look(), made.watch(HOME).look()
    made.carry()
    made.missed = made.watch(AUDITOR).look().missed
    made.carry()
    for _ in range(5):
        made.carry(absent=[DISTRICT])
    yield made
    made.close()


def test_watching_finds_who_signed_two_ways_the_missed_turn_and_the_late_vote(carried: Carried) -> None:
    found, late = carried.found, carried.late
    assert [one.institution for one in found.convictions] == [institution_id(DISTRICT)]
    assert found.missed == (), "height 2 is not counted before block 3"
    assert carried.missed == ((2, 0),)
    assert late.late_votes == (1,)


def test_the_convicted_keys_batches_are_refused_at_once(carried: Carried) -> None:
    assert carried.credit(DISTRICT).convicted_at == 3
    submission = carried.publish(DISTRICT, 1)
    with pytest.raises(Refused, match="standing"):
        carried.execution().add(submission.tx, submission.leaves)


def test_its_weight_is_gone_from_the_next_epoch_on_and_blocks_become_final_without_it(carried: Carried) -> None:
    view = carried.node(AUDITOR).replica.view
    weights = []
    for epoch in range(3):
        members = view.validators_of(epoch)
        assert members is not None
        weights.append({view.name(one.id): one.weight for one in members.members})
    assert weights[0][DISTRICT] == 2
    assert weights[1][DISTRICT] == 0
    assert view.head.height == 9
    value = view.state(CREDIT, ONLY)
    assert value is not None and KEPT_PRODUCER not in [reason for reason, _ in Alarms.decode(value).alarms]
    assert DELAYED not in [reason for reason, _ in Alarms.decode(value).alarms]


def test_every_replica_holds_the_same_scores(carried: Carried) -> None:
    present = [one for one in NAMES if one != DISTRICT]
    assert len({carried.node(one).replica.view.head.state_root for one in present}) == 1
    scores = [{name: carried.credit(name, at) for name in NAMES} for at in present]
    assert all(one == scores[0] for one in scores)


def test_a_chain_synced_from_genesis_ends_with_the_live_chains_scores(carried: Carried) -> None:
    live = carried.node(AUDITOR).replica.view.head
    carried.node(DISTRICT).sync(carried.exchange)
    assert carried.node(DISTRICT).replica.view.head == live
    assert verify_chain(carried.node(DISTRICT).replica).ok


def test_nothing_but_the_crime_is_evidence_in_everything_that_was_ever_said(carried: Carried) -> None:
    voters = Voters.known_to(carried.genesis.chain_id, carried.node(AUDITOR).replica.view)
    found = [convict(one, voters) for one in find_evidence(carried.messages(), voters)]
    assert [(one.institution, one.height) for one in found] == [(institution_id(DISTRICT), 2)]


def test_final_evidence_is_shown_no_longer_and_nothing_is_found_twice(carried: Carried) -> None:
    before = carried.node(AUDITOR).replica.view.state(CREDIT, institution_id(DISTRICT))
    assert carried.watch(AUDITOR).look(heights=20).convictions == ()
    assert carried.exchange.evidence() == []
    assert carried.node(AUDITOR).replica.view.state(CREDIT, institution_id(DISTRICT)) == before


def test_scores_counted_again_from_the_blocks_are_those_of_the_state(carried: Carried) -> None:
    replica = carried.node(AUDITOR).replica
    history = credit_history(replica)
    assert (history.differing, history.miscounted, history.rules_changed) == ((), (), False)
    [first, second] = history.accounts[institution_id(DISTRICT)]
    assert first.facts.convicted and first.change.causes == (("convicted", -600),)
    assert [event.height for event in first.events] == [3]
    assert (first.change.after, second.change.before) == (12, 12)
    slow = history.accounts[institution_id(HOME)][0]
    assert (slow.facts.included, slow.facts.seats) == (3, 3), "late once, and in the other blocks' fullest certificates"
    told = {event.text for epochs in history.accounts.values() for event in epochs[0].events}
    assert {"late vote for height 1", "missed turn: round 0 of height 2 timed out"} < told
    tally = opened_tally(replica.view.state(TALLY))
    assert history.open_facts == dict(tally.facts)


def test_a_state_that_is_not_what_the_blocks_give_is_named(
    carried: Carried, mongo: MongoClient[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who alters the database cannot show another score: the state's root says no, and so do the blocks."""
    replica = Replica(mongo[carried.database_name(AUDITOR)], carried.genesis)
    view = replica.view
    id_ = institution_id(HOME)
    honest = view.state(CREDIT, id_)
    forged = CreditState(1_000, "validator").encode()
    real = type(view).state
    monkeypatch.setattr(
        type(view),
        "state",
        lambda self, kind, one=ONLY: forged if (kind, one) == (CREDIT, id_) else real(self, kind, one),
    )
    assert credit_history(replica).differing == (id_,)
    assert honest != forged
