"""A key whose vote store is lost or old: it is noticed, and comes back where it cannot contradict itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import COMMIT, PREPARE
from ledger.agreement.own_signatures import KeyHolder, certificates_of, highest_signed, unknown_signature
from ledger.agreement.recovery import BAR_FILE, Recovery, recover
from ledger.agreement.votes import VoteStore
from ledger.carrier import Carrier, carry_block
from ledger.chain.replica import Replica
from ledger.errors import Halted, Refused
from ledger.exchange import MemoryExchange
from ledger.node import Node

pytestmark = pytest.mark.mongo
WHO = "nursing-home"


def carriers(region: RegionSimulation, *away: str) -> list[Carrier]:
    return [Carrier(node, region.exchange) for name, node in region.nodes.items() if name not in away]


def make_block(region: RegionSimulation, *away: str) -> int | None:
    made = region.publish("hospital-east")
    region.exchange.post_submission(made.tx, made.leaves)
    region.clock.now += 1_000
    return carry_block(carriers(region, *away))


def votes_of(region: RegionSimulation, who: str = WHO) -> Path:
    return region.folder / f"{who}.votes"


def snapshot(region: RegionSimulation, folder: Path, who: str = WHO) -> None:
    """What a snapshot of the machine takes: the vote store with its log, as it is now."""
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        part = votes_of(region, who).with_name(f"{who}.votes{suffix}")
        if part.exists():
            shutil.copyfile(part, folder / part.name)


def restore(region: RegionSimulation, folder: Path, who: str = WHO) -> Node:
    """The machine comes back from its snapshot, and the node with it."""
    region.node(who)._pen.votes.close()
    for suffix in ("", "-wal", "-shm"):
        votes_of(region, who).with_name(f"{who}.votes{suffix}").unlink(missing_ok=True)
    for part in folder.iterdir():
        shutil.copyfile(part, region.folder / part.name)
    region.nodes[who] = region.open(who)
    return region.node(who)


def observer(region: RegionSimulation) -> Node:
    """The node as `xinglin node recover` opens it: without key and vote store."""
    replica = Replica(region.mongo[region.database_name(WHO)], region.genesis)
    return Node(region.genesis, WHO, None, replica, None, region.envelopes, region.clock)


def attempt(region: RegionSimulation) -> Recovery:
    return recover(votes_of(region), region.keys[WHO].public, observer(region), region.exchange)


def lose(region: RegionSimulation) -> None:
    region.node(WHO)._pen.votes.close()
    votes_of(region).unlink()


def test_a_restored_snapshot_is_noticed_before_it_signs_and_the_key_stops(
    region: RegionSimulation, tmp_path: Path
) -> None:
    """VM snapshot restore: the replica is as old as the vote store, and the chain has gone on with this key's votes."""
    make_block(region)
    snapshot(region, tmp_path / "snapshot")
    made = region.publish("hospital-east")
    region.exchange.post_submission(made.tx, made.leaves)
    everyone = carriers(region)
    proposed = next(found for one in everyone if (found := one.propose()))
    for one in everyone:
        if one.node.is_voter:
            one.prepare()  # the votes stand in the exchange; nobody commits yet
    node = restore(region, tmp_path / "snapshot")
    assert node.height == 1 and proposed["height"] == 2
    before = VoteStore(votes_of(region)).dump()
    with pytest.raises(Halted, match="height 2, round 0, step 1"):
        Carrier(node, region.exchange).prepare()
    for again in (node, region.open(WHO)):
        assert again.halted is not None
        with pytest.raises(Halted, match="xinglin node recover"):
            again.timeout(2, 0)
    assert VoteStore(votes_of(region)).dump() == before


def test_a_halted_node_still_follows_the_chain(region: RegionSimulation, tmp_path: Path) -> None:
    snapshot(region, tmp_path / "snapshot")
    make_block(region)
    node = restore(region, tmp_path / "snapshot")
    region.exchange.post_vote(2, 0, PREPARE, b"garbage")
    node.observe(region.exchange.votes(1, 0, COMMIT))
    assert node.halted
    assert make_block(region, WHO) == 2
    assert node.sync(region.exchange) == 1 and node.height == 2


def test_an_old_store_beside_a_newer_replica_is_noticed_by_the_replicas_own_certificates(
    region: RegionSimulation, tmp_path: Path
) -> None:
    first = region.voters[0]  # whose votes are in every certificate here: who comes last may be left out
    snapshot(region, tmp_path / "snapshot", first)
    make_block(region)
    node = restore(region, tmp_path / "snapshot", first)
    node.observe(certificates_of(node.replica, 4))  # as on opening
    assert node.halted and "height 1" in node.halted
    for other in region.nodes.values():
        if other is not node:
            other.observe(certificates_of(other.replica, 4))
            assert other.halted is None


def test_votes_that_the_store_knows_and_those_of_others_stop_nobody(region: RegionSimulation) -> None:
    make_block(region)
    for _ in range(2):
        for node in region.nodes.values():
            for type_ in (PREPARE, COMMIT):
                node.observe(region.exchange.votes(1, 0, type_))
                node.observe(region.exchange.certificates(1, 0, type_))
            node.observe([*region.exchange.proposals(1, 0), b"garbage", b""])
    assert all(node.halted is None for node in region.nodes.values())
    assert make_block(region) == 2


def test_a_forged_signature_of_the_key_stops_nobody(region: RegionSimulation) -> None:
    proposal = region.proposal(region.publish(region.producer().institution))
    vote = bytearray(region.node("hospital-east").prepare(proposal))
    mine = vote[:85] + region.node(WHO).id + vote[101:]
    region.node(WHO).observe([bytes(mine)])
    assert region.node(WHO).halted is None


def test_each_kind_of_message_tells_on_the_key(region: RegionSimulation) -> None:
    producer = region.producer()
    proposal = region.proposal(region.publish(producer.institution))
    certificate = region.prepare_qc(proposal)
    commits = [region.node(one).commit(certificate, proposal) for one in region.voters]
    timeouts = [region.node(one).timeout(1, 0) for one in region.voters]
    tc = region.node(AUDITOR).assemble_tc(timeouts, 1, 0)
    assert tc is not None
    for name in (producer.institution, WHO):
        holder = KeyHolder(
            region.genesis.chain_id, region.node(name).id, region.keys[name].public, lambda _: region.genesis.validators
        )
        empty = VoteStore.create(region.folder / f"{name}.empty", region.keys[name].public)
        shown = [certificate, *commits, *timeouts, tc, *([proposal] if name == producer.institution else [])]
        told = [found.slot.step for one in shown if (found := unknown_signature([one], holder, empty)) is not None]
        # Certificate, own COMMIT; TIMEOUTs and their certificate carry the lock, which names every signer.
        assert told.count(1) == 1 + len(timeouts) - 1 and told.count(2) == 1 and told.count(3) == 2
        assert told.count(0) == (name == producer.institution)
        assert highest_signed(shown, holder) == 1 and highest_signed([b"garbage"], holder) == 0
        assert unknown_signature(shown, holder, region.node(name)._pen.votes) is None


def test_a_lost_store_comes_back_only_above_every_height_the_key_can_have_signed(region: RegionSimulation) -> None:
    make_block(region)
    lose(region)
    with pytest.raises(Halted, match="no vote state beside the key"):
        region.open(WHO)
    assert make_block(region, WHO) == 2
    assert attempt(region) == Recovery(2, 3, done=False)
    assert make_block(region, WHO) == 3
    assert attempt(region) == attempt(region) == Recovery(3, 3, done=False)
    assert not votes_of(region).exists()
    assert make_block(region, WHO) == 4
    assert attempt(region) == Recovery(4, 3, done=True)
    assert not (region.folder / BAR_FILE).exists()
    region.nodes[WHO] = region.open(WHO)
    store = VoteStore(votes_of(region))
    assert store.knows(region.genesis.chain_id, store.last(region.genesis.chain_id), b"")  # type: ignore[arg-type]
    assert make_block(region) == 5 and region.node(WHO).halted is None
    assert region.node(WHO).verify_chain().ok
    with pytest.raises(Halted, match="nothing to recover"):
        attempt(region)


def test_a_halted_key_comes_back_the_same_way_and_the_old_store_is_kept(
    region: RegionSimulation, tmp_path: Path
) -> None:
    snapshot(region, tmp_path / "snapshot")
    make_block(region)
    node = restore(region, tmp_path / "snapshot")
    node.observe(region.exchange.votes(1, 0, COMMIT))
    assert attempt(region).done is False
    for _ in range(2):
        make_block(region, WHO)
    assert attempt(region) == Recovery(3, 2, done=True)
    with pytest.raises(Halted, match="replaced under this process"):
        node.timeout(4, 0)
    kept = [one for one in region.folder.iterdir() if ".lost-" in one.name]
    assert any(VoteStore(one).halted() for one in kept if not one.name.endswith(("-wal", "-shm")))
    region.nodes[WHO] = region.open(WHO)
    assert make_block(region) == 4


def test_a_signature_shown_later_raises_the_bar(region: RegionSimulation) -> None:
    """The exchange hid a vote of a height above; once it is shown, that height must be final first."""
    make_block(region)
    votes = region.node(WHO)
    hidden = region.exchange
    region.exchange = MemoryExchange()
    for topic, digests in hidden.topics.items():
        region.exchange.topics[topic] = dict(digests)
    region.exchange.blobs = hidden.blobs
    shown = votes.timeout(2, 0)
    lose(region)
    assert attempt(region) == Recovery(1, 2, done=False)
    (region.folder / BAR_FILE).write_text(json.dumps({"chain_id": region.genesis.chain_id.hex(), "signed": 1}))
    region.exchange.post_vote(2, 0, 3, shown)
    assert attempt(region) == Recovery(1, 2, done=False)


def test_a_recovery_file_that_says_nothing_is_named_and_nothing_changes(region: RegionSimulation) -> None:
    lose(region)
    for content in ("", "[]", "7", '{"signed": 3}', '{"chain_id": "00", "signed": 3}', "{"):
        (region.folder / BAR_FILE).write_text(content)
        with pytest.raises(Halted, match=BAR_FILE):
            attempt(region)
        assert not votes_of(region).exists() and (region.folder / BAR_FILE).read_text() == content


@pytest.fixture(scope="module")
def holder(settled: RegionSimulation) -> Iterator[KeyHolder]:
    yield KeyHolder(
        settled.genesis.chain_id, settled.node(WHO).id, settled.keys[WHO].public, lambda _: settled.genesis.validators
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_bytes_are_shown_nothing_is_raised_and_nobody_is_stopped(
    settled: RegionSimulation, holder: KeyHolder, data: st.DataObject
) -> None:
    _, certificate = settled.node(AUDITOR).replica.block(1)
    changed = bytearray(certificate)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for one in (bytes(changed), data.draw(st.binary(max_size=200))):
        for claim in holder.claims(one):
            if holder.holds(claim):
                assert settled.node(WHO)._pen.votes.knows(holder.chain_id, claim.slot, claim.message)


def test_a_refused_next_block_does_not_stop_a_recovery(region: RegionSimulation) -> None:
    make_block(region)
    lose(region)
    (good,) = region.exchange.finals(1)
    region.exchange.post_final(2, good)
    assert attempt(region) == Recovery(1, 2, done=False)
    with pytest.raises(Refused):
        region.node("hospital-east").prepare(b"")
