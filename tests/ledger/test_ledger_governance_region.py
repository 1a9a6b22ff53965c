"""Governance among nodes: signed, ordered and executed in blocks like everything else, and repeated by nobody."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.votes import VoteStore
from ledger.chain.replica import ReplicaView
from ledger.chain.state import GOV_PROPOSAL
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id
from ledger.contracts.change import Change
from ledger.contracts.governance import Propose, Vote
from ledger.contracts.member_changes import Freeze, RotateKey
from ledger.contracts.motions import ENACTED, FOR, OPEN, PASSED, Motion
from ledger.contracts.policy import PolicySet, default_policies
from ledger.contracts.possession import prove_possession
from ledger.contracts.rule_changes import NewNumbers, NewRules
from ledger.errors import Halted, Refused
from ledger.node import Node
from shangmi import PrivateKey

SHIPPED = PolicySet.decode(default_policies())
FORBID = '\n@id("lab.none") @says("x") forbid (principal == Institution::"lab-centre", action, resource);'
LAB = institution_id("lab-centre")


class RuledRegion(RegionSimulation):
    """The region with the shipped rules, and epochs of two blocks."""

    POLICIES = default_policies()

    def __init__(self, mongo: MongoClient[dict[str, Any]], folder: Path, name: str) -> None:
        super().__init__(mongo, folder, name, epoch_blocks=2)

    def send(self, *drafts: tuple[str, type[Transaction], dict[str, Any]]) -> list[bytes]:
        """Sign each as its sender and put all of them into the next block; return their ids."""
        signed = []
        for who, kind, fields in drafts:
            node = self.node(who)
            signed.append(node.sign(kind(**node.heading(), **fields)))
        self.finish_with(signed)
        return [kind.decode(one).tx_id for one, (_, kind, _) in zip(signed, drafts, strict=True)]

    def finish_with(self, transactions: list[bytes]) -> None:
        proposal = self.producer().propose([(one, b"") for one in transactions])
        assert proposal is not None
        self.finish(proposal)

    def propose(self, change: Change, who: str = "hospital-east") -> bytes:
        return self.send((who, Propose, {"title": "a change", "change": change}))[0]

    def vote(self, proposal: bytes, *who: str) -> None:
        self.send(*((one, Vote, {"proposal": proposal, "choice": FOR}) for one in who))

    def motion(self, proposal: bytes) -> Motion:
        value = self.node(AUDITOR).replica.view.state(GOV_PROPOSAL, proposal)
        assert value is not None
        return Motion.decode(value)

    def heads(self) -> set[bytes]:
        return {node.replica.view.head.block_id for node in self.nodes.values()}

    def step(self, blocks: int = 1) -> None:
        """Blocks with a batch of hospital-east in each, whoever's turn it is."""
        for _ in range(blocks):
            self.finish(self.proposal(self.publish("hospital-east")))

    def view(self) -> ReplicaView:
        return self.node(AUDITOR).replica.view


@pytest.fixture
def region(mongo: MongoClient[dict[str, Any]], tmp_path: Path) -> Iterator[RuledRegion]:
    one = RuledRegion(mongo, tmp_path, f"gov_{uuid.uuid4().hex[:12]}")
    yield one
    one.close()


def test_a_denial_is_in_force_from_the_block_after_the_vote_that_sufficed(region: RuledRegion) -> None:
    proposal = region.propose(NewRules(SHIPPED.hash, SHIPPED.text + FORBID, SHIPPED.schema))
    region.finish(region.proposal(region.publish("lab-centre")))
    region.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    assert region.motion(proposal).stage == ENACTED
    assert PolicySet.decode(region.view().policies).text == SHIPPED.text + FORBID
    banned, before = region.publish("lab-centre"), region.snapshot()
    with pytest.raises(Refused, match=r"upload \(section 14\).*lab\.none"):
        region.execution().add(banned.tx, banned.leaves)
    assert region.snapshot() == before
    region.step()
    assert region.view().head.params_hash == region.view().parameters.hash
    assert len(region.heads()) == 1


def test_a_widening_change_is_in_force_after_a_whole_epoch_in_every_replica(region: RuledRegion) -> None:
    proposal = region.propose(NewNumbers((("round_seconds", 33),)))
    region.vote(proposal, "hospital-west", "lab-centre", AUDITOR)
    assert region.motion(proposal).stage == PASSED
    while region.view().head.height < 4:  # the last block of epoch 1
        assert region.view().parameters.round_seconds == 20
        region.step()
    assert region.motion(proposal).stage == ENACTED
    old = region.view().head.params_hash
    region.step()
    assert region.view().parameters.round_seconds == 33
    assert old != region.view().head.params_hash == region.view().parameters.hash
    assert len(region.heads()) == 1


def test_a_frozen_institution_signs_nothing_more_and_the_chain_goes_on_without_it(region: RuledRegion) -> None:
    proposal = region.propose(Freeze(LAB))
    lab = region.node("lab-centre")
    late = lab.sign(Vote(**lab.heading(), proposal=proposal, choice=FOR))
    region.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    before = region.snapshot()
    with pytest.raises(Refused, match="frozen"):
        region.execution().add(late, b"")
    assert region.snapshot() == before
    assert region.view().validators.member(LAB).weight < 3  # of the next epoch: as fast as one may move
    region.step(2)
    assert len(region.heads()) == 1


def test_a_rotated_key_votes_and_the_old_one_does_not(region: RuledRegion) -> None:
    new, standing = PrivateKey.generate(), region.view().roster.registration(LAB)
    proof = prove_possession(new, region.genesis.chain_id, LAB, standing.key_id)
    proposal = region.propose(RotateKey(LAB, new.public.bytes, proof))
    lab = region.node("lab-centre")
    old = Vote(**lab.heading() | {"expiry_height": 100}, proposal=proposal, choice=FOR)
    signed = lab.sign(old)
    region.vote(proposal, "hospital-west", "hospital-district", "nursing-home", AUDITOR)
    region.step(2)
    assert region.view().roster.registration(LAB).public_key == new.public.bytes
    assert region.view().validators.member(LAB).public_key == new.public.bytes
    before = region.snapshot()
    with pytest.raises(Refused, match="not the sender's present one"):
        region.execution().add(signed, b"")
    with pytest.raises(Halted):
        lab.sign(Vote(**lab.heading(), proposal=proposal, choice=FOR))
    assert region.snapshot() == before
    VoteStore.create(region.folder / "new.votes", new.public).close()
    region.nodes["lab-centre"] = Node(
        region.genesis, "lab-centre", new, lab.replica, VoteStore(region.folder / "new.votes"), region.envelopes,
        region.clock,
    )  # fmt: skip
    region.step(2)
    assert len(region.heads()) == 1


def test_a_vote_sent_again_changed_or_from_another_chain_changes_nothing(region: RuledRegion) -> None:
    proposal = region.propose(Freeze(LAB))
    west = region.node("hospital-west")
    signed = west.sign(Vote(**west.heading(), proposal=proposal, choice=FOR))
    region.finish_with([signed])
    before = region.snapshot()
    opened = Vote.decode(signed)
    foreign = {"chain_id": bytes(32)}
    for wrong, message in (
        (opened, "repeated"),
        (replace(opened, choice=0), "signature"),
        (replace(opened, sender=LAB), "key"),
        (replace(opened, chain_id=bytes(32)), "chain id"),
    ):
        with pytest.raises(Refused, match=message):
            region.execution().add(wrong.encode(), b"")
    with pytest.raises(Refused, match="nothing but its own"):
        west.sign(Vote(**west.heading() | foreign, proposal=proposal, choice=FOR))
    assert region.snapshot() == before
    assert region.motion(proposal).stage == OPEN
