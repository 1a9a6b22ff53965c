"""What the tasks of ``watch_ledger`` find, and that facts for credit alone make no block."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from region_simulation import COMMIT, RegionSimulation

from dags.steps import watch_ledger
from dags.steps.site import Site
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock
from ledger.chain.transactions import open_transaction
from ledger.credit.credit_messages import LateVote

pytestmark = pytest.mark.mongo
SLOW = "nursing-home"


@pytest.fixture
def slow(region: RegionSimulation) -> RegionSimulation:
    """One block whose certificate came together before the nursing home's COMMIT did."""
    proposal = region.proposal(region.publish(region.producer().institution))
    certificate = region.prepare_qc(proposal)
    final = region.commit_qc(certificate, proposal, [one for one in region.voters if one != SLOW])
    region.exchange.post_vote(1, 0, COMMIT, region.node(SLOW).commit(certificate, proposal))
    opened = Proposal.decode(proposal)
    region.exchange.post_final(1, FinalBlock(opened.block, final, opened.bodies))
    for node in region.nodes.values():
        node.apply(opened.block, final, opened.bodies)
    region.clock.now += 1_000
    region.grow(1)  # what block 1 says of its signers stands in the state from block 2 on
    return region


def site_of(region: RegionSimulation) -> Site:
    """This machine's part of the simulated region, as the steps use it."""
    found = SimpleNamespace(
        exchange=region.exchange, node=region.node, replica=lambda name: region.node(name).replica
    )  # fmt: skip
    return cast("Site", found)


def test_a_vote_that_came_too_late_is_offered_once_and_waits_for_the_next_block_with_records(
    slow: RegionSimulation,
) -> None:
    site = site_of(slow)
    assert watch_ledger.look(SLOW, at=site) == {"convictions": 0, "late_votes": 1, "missed": 0}
    watch_ledger.look(SLOW, at=site)  # a task that runs again offers the same bytes
    [(late, _)] = slow.exchange.submissions()
    assert isinstance(open_transaction(late), LateVote)
    assert slow.producer().propose([(late, b"")]) is None, "each block would give rise to the next"
    batch = slow.publish(slow.producer().institution)
    made = slow.producer().propose([(late, b""), (batch.tx, batch.leaves)])
    assert made is not None
    assert set(Block.decode(Proposal.decode(made).block).transactions) == {late, batch.tx}


def test_who_was_in_every_certificate_and_saw_nothing_wrong_offers_nothing(slow: RegionSimulation) -> None:
    before = slow.snapshot()
    nothing = {"convictions": 0, "late_votes": 0, "missed": 0}
    assert [watch_ledger.look(one, at=site_of(slow)) for one in slow.voters if one != SLOW] == [nothing] * 4
    assert slow.exchange.submissions() == [] and slow.exchange.evidence() == []
    assert slow.snapshot() == before
