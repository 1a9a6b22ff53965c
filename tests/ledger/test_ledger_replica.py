"""Replicas: applied whole or not at all, checked from genesis, stopped where they diverge, never overwritten."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed import child_environment
from pymongo.database import Database
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import COMMIT, Ballot, QuorumCertificate
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.execution import Execution, Terms
from ledger.chain.genesis import Genesis
from ledger.chain.header import history_leaf
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import tree_root, verify_consistency
from ledger.chain.replica import FinalBlock, Replica
from ledger.errors import Diverged, Halted, Refused
from shangmi import sm3

pytestmark = pytest.mark.mongo
Change = Callable[[Database[dict[str, Any]]], object]


def certify(region: RegionSimulation, block: Block) -> bytes:
    """A CommitQC of all voters on any block: what only a byzantine majority can make."""
    header = block.header
    ballot = Ballot(COMMIT, header.height, 0, header.epoch, header.block_id, 0, sm3(b"a PrepareQC"))
    message = ballot.signed_bytes(region.genesis.chain_id)
    names = region.voters
    signatures = tuple(region.keys[one].sign(message) for one in names)
    return QuorumCertificate(ballot, len(names), tuple(range(len(names))), signatures).encode()


def test_an_apply_killed_at_any_command_is_completed_by_the_next(region: RegionSimulation, mongo_uri: str) -> None:
    node = region.node("nursing-home")
    [final] = region.grow(1, count=4, absent=["nursing-home"])
    genesis, block = region.folder / "genesis", region.folder / "final"
    genesis.write_bytes(region.genesis.encode())
    block.write_bytes(final.encode())
    database = region.database_name("nursing-home")
    kills = 0
    for left in range(1, 30):
        done = subprocess.run(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("killed_apply.py")), mongo_uri, database,
             str(genesis), str(block), "nursing-home", str(left)],
            capture_output=True, text=True, timeout=120, check=False,
            env=child_environment(),
        )  # fmt: skip
        height = node.height
        assert node.verify_chain().ok
        if done.returncode == 0:
            assert height == 1
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        if height == 1:  # the head had moved; what was left is nothing
            break
        assert node.next_seq() == 1
    assert kills >= 5
    assert node.apply(final.block, final.commit_qc, final.bodies).height == 1
    other = region.node("hospital-east").replica
    for collection in ("bodies", "state_nodes", "state_values", "history", "blocks"):
        mine, theirs = (
            {str(one["_id"]): one.get("d", one.get("block")) for one in region.mongo[name][collection].find()}
            for name in (database, region.database_name("hospital-east"))
        )
        # A kill after the head moved may leave nodes of the state before; nothing else.
        assert mine == theirs or (collection == "state_nodes" and theirs.items() <= mine.items())
    assert node.replica.view.head == other.view.head


def tampered(region: RegionSimulation, change: Change) -> Any:
    """The first fault that checking finds after one change in the auditor's database."""
    region.grow(2, count=4)
    node = region.node(AUDITOR)
    assert node.verify_chain().ok
    change(region.mongo[region.database_name(AUDITOR)])
    report = region.open(AUDITOR).verify_chain()
    assert not report.ok
    return report.fault


def flip(collection: str, key: str, where: dict[str, Any], place: int = -1) -> Change:
    def change(database: Database[dict[str, Any]]) -> object:
        found = database[collection].find_one(where)
        assert found is not None
        data = bytearray(found[key])
        data[place] ^= 1
        return database[collection].update_one({"_id": found["_id"]}, {"$set": {key: bytes(data)}})

    return change


TAMPERING: dict[str, tuple[Change, int]] = {
    "a byte of a block": (flip("blocks", "block", {"_id": 1}, 40), 1),
    "a byte of a transaction": (flip("blocks", "block", {"_id": 2}, -10), 2),
    "a byte of a certificate": (flip("blocks", "qc", {"_id": 1}), 1),
    "a byte of a leaf": (flip("bodies", "d", {"_id": "1.0.0"}), 1),
    "a block that is gone": (lambda database: database["blocks"].delete_one({"_id": 2}), 2),
    "leaves that are gone": (lambda database: database["bodies"].delete_many({}), 1),
    "a state value": (flip("state_values", "d", {}), 2),
    "a state node": (flip("state_nodes", "d", {}), 2),
    "the head": (flip("meta", "header", {"_id": "head"}, 60), 2),
    "a history node": (flip("history", "d", {"_id": 1 << 56}), 2),
    "a block under another's height": (
        lambda database: database["blocks"].replace_one(
            {"_id": 2}, {k: v for k, v in (database["blocks"].find_one({"_id": 1}) or {}).items() if k != "_id"}
        ),
        2,
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_checking_the_chain_names_the_height_where_something_was_changed(region: RegionSimulation, what: str) -> None:
    change, height = TAMPERING[what]
    assert tampered(region, change).height == height


def test_checking_the_chain_finds_an_index_that_points_elsewhere(region: RegionSimulation) -> None:
    def change(database: Database[dict[str, Any]]) -> object:
        name = next(one for one in database.list_collection_names() if one.startswith("entries_"))
        return database[name].update_one({}, {"$inc": {"l": 1}})

    assert tampered(region, change).rule == "index"


def test_a_replica_of_another_chain_is_not_opened(region: RegionSimulation) -> None:
    other = Genesis.load(region.genesis.encode().replace("杏林".encode(), "桃林".encode()))
    assert other.chain_id != region.genesis.chain_id
    before = region.snapshot()
    with pytest.raises(Halted, match="another chain"):
        Replica(region.mongo[region.database_name(AUDITOR)], other)
    assert region.snapshot() == before


def test_a_second_certified_block_of_a_height_halts_the_node_and_both_are_kept(region: RegionSimulation) -> None:
    proposal = Proposal.decode(region.proposal(region.publish(region.producer().institution)))
    block = Block.decode(proposal.block)
    other = replace(block, header=replace(block.header, timestamp_ms=block.header.timestamp_ms + 1))
    node = region.node("nursing-home")
    node.apply(block.encode(), certify(region, block), proposal.bodies)
    stored = node.replica.final(1)
    with pytest.raises(Diverged, match="two certified blocks"):
        node.apply(other.encode(), certify(region, other), proposal.bodies)
    assert node.height == 1 and node.replica.final(1) == stored
    kept = region.mongo[region.database_name("nursing-home")]["conflicts"].find_one()
    assert kept is not None and kept["block"] == other.encode()
    votes = region.open("nursing-home")
    for act in (lambda: votes.timeout(2, 0), lambda: votes.prepare(b""), lambda: votes.apply(b"", b"", [])):
        with pytest.raises(Halted, match="two certified blocks"):
            act()


def test_a_certified_block_that_gives_another_state_here_halts_the_node(region: RegionSimulation) -> None:
    node = region.node("nursing-home")
    proposal = Proposal.decode(region.proposal(region.publish(region.producer().institution)))
    block = Block.decode(proposal.block)
    lie = replace(block, header=replace(block.header, state_root=sm3(b"another state")))
    head = node.replica.view.head
    with pytest.raises(Diverged, match="state_root"):
        node.apply(lie.encode(), certify(region, lie), proposal.bodies)
    assert node.replica.view.head == head and node.replica.conflict() is not None


def test_a_changed_stored_state_stops_the_node_before_it_votes(region: RegionSimulation) -> None:
    region.grow(1)
    proposal = region.proposal(region.publish(region.producer().institution))
    database = region.mongo[region.database_name("nursing-home")]
    for one in list(database["state_values"].find()):
        database["state_values"].update_one({"_id": one["_id"]}, {"$set": {"d": bytes(24)}})
    with pytest.raises(Diverged):
        region.open("nursing-home").prepare(proposal)


def test_a_head_that_moved_meanwhile_is_not_overwritten(region: RegionSimulation) -> None:
    [final] = region.grow(1, absent=["nursing-home"])
    replica = region.node("nursing-home").replica
    block = Block.decode(final.block)
    header = block.header
    terms = Terms(block.prev_commit, header.builder_id, header.build_round, header.timestamp_ms)
    execution = Execution(region.genesis, replica.view, terms)
    execution.add(block.transactions[0], final.bodies[0])
    assert execution.change
    region.node("nursing-home").apply(final.block, final.commit_qc, final.bodies)
    before = region.snapshot()
    replica.apply(execution, final, block.header)  # another process was faster with the same block
    assert region.snapshot() == before
    other = replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    with pytest.raises(Diverged, match="moved"):
        replica.apply(execution, final, other)
    assert replica.view.head == block.header


def test_history_roots_of_all_heights_are_consistent(region: RegionSimulation) -> None:
    from ledger.chain.merkle import consistency_path

    region.grow(7, count=1)
    replica = region.node(AUDITOR).replica
    headers = [replica.header(height) for height in range(8)]
    ids = [history_leaf(one.block_id) for one in headers]
    for new in range(1, 8):
        assert headers[new].history_root == tree_root(ids[:new])
        for old in range(1, new):
            path = consistency_path(old, new, replica.history_node)
            assert verify_consistency(old, new, path, headers[old].history_root, headers[new].history_root)


def test_large_batches_are_stored_in_pieces_and_come_back_whole(region: RegionSimulation) -> None:
    [final] = region.grow(1, count=30_000)
    replica = region.node(AUDITOR).replica
    assert region.mongo[region.database_name(AUDITOR)]["bodies"].count_documents({}) == 2
    assert replica.final(1) == final
    assert len(Leaves.decode(final.bodies[0])) == 30_000
    assert region.node(AUDITOR).verify_chain().entries == 30_000


def test_a_final_block_encodes_as_it_was_decoded(region: RegionSimulation) -> None:
    [final] = region.grow(1)
    assert FinalBlock.decode(final.encode()) == final
    with pytest.raises(Refused):
        FinalBlock.decode(final.encode() + b"\0")
    with pytest.raises(KeyError):
        region.node(AUDITOR).replica.block(2)
