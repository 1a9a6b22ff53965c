"""One hostile message in the exchange: shown first, well formed, wrong. It delays nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from test_flow_rounds import carriers, heights, let_time_pass, offer

from dags.steps import publish
from dags.steps.site import Site
from ledger.agreement.proposal import Proposal
from ledger.carrier import Carrier, carry_block
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock
from ledger.errors import Refused


def show_first(at: Site, topic: str, data: bytes) -> None:
    """List the bytes before everything else that is listed there, as any member's account can."""
    digest = at.exchange.post(topic, data)
    old = {"$set": {"at": datetime(2000, 1, 1, tzinfo=UTC)}}
    at.client["xinglin_exchange"]["topics"].update_one({"_id": f"{topic}/{digest}"}, old)


def proposed(at: Site) -> Proposal:
    """The honest proposal of the first round."""
    return Proposal.decode(next(at.exchange.proposals(1, 0)))


def spoiled(proposal: Proposal) -> bytes:
    """The same header over leaves that somebody made up."""
    return replace(proposal, bodies=(b"no leaves",)).encode()


def test_a_false_final_block_stops_nobody(at: Site) -> None:
    everyone = carriers(at)
    offer(at, "hospital-east")
    assert carry_block(everyone) == 1
    final = next(at.exchange.finals(1))
    header = replace(Block.decode(final.block).header, height=9)
    for junk in (
        final,  # an older block in the next one's place: applied again and again, it would never end
        replace(final, commit_qc=b"no certificate"),
        replace(final, block=replace(Block.decode(final.block), header=header).encode()),
        FinalBlock(b"no block", b"", ()),
    ):
        show_first(at, "final/2", junk.encode())
    offer(at, "hospital-west")
    assert publish.settle("hospital-west", at) == {"final": 0, "lapsed": 0}
    assert carry_block(everyone) == 2
    assert heights(at) == {2}


def test_a_false_final_block_shown_first_does_not_hide_the_good_one(at: Site) -> None:
    offer(at, "hospital-east")
    assert carry_block(carriers(at, "nursing-home")) == 1
    final = next(at.exchange.finals(1))
    show_first(at, "final/1", replace(final, bodies=(b"no leaves",)).encode())
    assert Carrier(at.node("nursing-home"), at.exchange).place() == (2, 0)


def test_a_proposal_of_a_height_far_away_stops_no_vote(at: Site) -> None:
    everyone = carriers(at)
    offer(at, "hospital-east")
    assert any(one.propose() for one in everyone)
    block = Block.decode(proposed(at).block)
    far = replace(block, header=replace(block.header, height=9))
    show_first(at, "proposal/1/0", replace(proposed(at), block=far.encode()).encode())
    assert carry_block(everyone) == 1


def test_other_leaves_under_the_certified_header_stop_no_block(at: Site) -> None:
    everyone = carriers(at)
    offer(at, "hospital-east")
    assert any(one.propose() for one in everyone)
    show_first(at, "proposal/1/0", spoiled(proposed(at)))
    *voters, late = (one for one in everyone if one.node.is_voter)
    for one in voters:
        one.prepare()
    for one in (*voters, late):  # who did not prepare needs the leaves to commit
        one.confirm()
    for one in everyone:
        one.apply(1)
    assert heights(at) == {1}
    assert at.node("nursing-home").verify_chain().ok


def test_a_certified_block_is_proposed_again_with_its_own_leaves(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = carriers(at)
    offer(at, "hospital-east")
    assert any(one.propose() for one in everyone)
    voters = [one for one in everyone if one.node.is_voter]
    for one in voters:
        one.prepare()
    voters[0].confirm()  # locked: the next producer must propose this block again
    let_time_pass(monkeypatch)
    for one in voters:
        one.time_out(1, 0)
    show_first(at, "proposal/1/0", spoiled(proposed(at)))
    assert {one.place() for one in everyone} == {(1, 1)}
    assert carry_block(everyone) == 1
    assert heights(at) == {1}


def test_a_stored_proposal_is_shown_again_with_the_leaves_that_were_signed(at: Site) -> None:
    everyone = carriers(at)
    offer(at, "hospital-east")
    (tx, leaves) = at.exchange.submissions()[0]
    at.exchange.post_submission(tx, b"other leaves")
    assert any(one.propose() for one in everyone)
    before = list(at.exchange.proposals(1, 0))
    assert any(one.propose() for one in everyone)
    assert list(at.exchange.proposals(1, 0)) == before
    assert proposed(at).bodies == (leaves,)
    with pytest.raises(Refused):
        at.node("hospital-west").prepare(spoiled(proposed(at)))
