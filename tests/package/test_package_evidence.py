"""The evidence of a dataset: what holds is accepted, and every byte, part and context that differs is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from package_world import ASKER, FILE, HOLDER, OTHER, REGULATOR, DatasetRegion, Record, dataset_region

from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.merkle import Levels, leaf_hash
from ledger.chain.replica import FinalBlock
from ledger.chain.validators import institution_id
from ledger.contracts.governance import Propose, Vote
from ledger.contracts.motions import FOR
from ledger.contracts.policy import PolicySet
from ledger.contracts.rule_changes import NewRules
from ledger.errors import ProofError
from ledger.proofs.anchor import Anchor, load_anchor
from ledger.proofs.checkpoint import Checkpoint, Note, cosign
from ledger.proofs.dataset_evidence import Allowed, Evidence, RecordsShown, verify_evidence
from ledger.proofs.multiproof import multiproof, verify_multiproof
from shangmi import sm3
from sharing.errors import NotYet
from sharing.package.evidence import gather, policies_at_decision

pytestmark = pytest.mark.mongo
SUPERVISED = sm3(b"another request file")


class World(NamedTuple):
    """A region with three batches of the holder's, one of another's, a research and a supervision request."""

    region: DatasetRegion
    records: list[Record]
    request: bytes
    supervised: bytes
    anchor: Anchor

    def gather(self, request: bytes | None = None, records: list[Record] | None = None, **more: Any) -> bytes:
        replica = self.region.node(HOLDER).replica
        chosen = self.records if records is None else records
        return gather(replica, request or self.request, chosen, **({"holder": HOLDER} | more))

    def verify(self, data: bytes, request: bytes | None = None, holder: str = HOLDER) -> Allowed:
        return verify_evidence(data, self.anchor, request or self.request, institution_id(holder))


@pytest.fixture(scope="module")
def world(mongo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with dataset_region(mongo, tmp_path_factory.mktemp("region")) as region:
        first, second = region.published(HOLDER, 7, 16)
        region.published(OTHER, 3)
        request = region.allowed(ASKER, FILE)
        (third,) = region.published(HOLDER, 5)
        supervised = region.allowed(REGULATOR, SUPERVISED, holders=(HOLDER, OTHER))
        anchor = load_anchor(region.genesis.anchor())
        yield World(region, [*first[2:5], *second, third[4]], request.tx_id, supervised.tx_id, anchor)


@pytest.fixture(scope="module")
def evidence(world: World) -> bytes:
    return world.gather()


def test_it_proves_request_decision_voices_and_every_record(world: World, evidence: bytes) -> None:
    shown = world.verify(evidence)
    assert (shown.requester.name, shown.holder.name, shown.request.purpose) == (ASKER, HOLDER, "research")
    assert (shown.records, shown.batches) == (20, 3)
    assert [(one.member, one.approves) for one in shown.voices] == [
        ("nursing-home", False), (OTHER, True), (REGULATOR, True),
    ]  # fmt: skip
    assert shown.verdict.policies == ("research.dataset",) and shown.state.digest == FILE
    assert shown.verdict.policy_hash == world.region.genesis.parameters.policy_hash
    assert shown.decided.height == shown.state.height and shown.head.height == world.region.node(HOLDER).height
    assert shown.first < shown.last and len(shown.signers) == 5 and shown.checkpoint_ms is None


def test_a_request_that_was_allowed_at_once_needs_no_voices(world: World) -> None:
    shown = world.verify(world.gather(world.supervised), world.supervised)
    assert shown.voices == () and shown.requester.name == REGULATOR


def test_a_dataset_of_no_record_proves_its_permission(world: World) -> None:
    shown = world.verify(world.gather(records=[]))
    assert (shown.records, shown.batches) == (0, 0)


def test_order_and_repeats_of_the_records_leave_no_trace(world: World, evidence: bytes) -> None:
    mixed = [*world.records, *world.records[:5]]
    random.Random(5).shuffle(mixed)
    assert world.gather(records=mixed) == evidence == Evidence.decode(evidence).encode()


def test_it_shows_no_id_of_any_record(world: World, evidence: bytes) -> None:
    assert not any(rid in evidence or rid.hex().encode() in evidence for rid, _ in world.records)


def test_what_is_not_on_the_chain_is_not_yet(world: World) -> None:
    with pytest.raises(NotYet, match="1 of 21 records"):
        world.gather(records=[*world.records, (bytes(16), 1)])
    with pytest.raises(NotYet, match="1 of 1 records"):
        world.gather(records=[(world.records[0][0], 2)])
    with pytest.raises(NotYet, match="stand allowed"):
        world.gather(bytes(32))
    with pytest.raises(NotYet, match="20 of 20"):
        world.gather(holder=OTHER)


def test_where_several_are_asked_whoever_published_the_records_is_found(world: World) -> None:
    assert world.gather(world.supervised, holder=None) == world.gather(world.supervised)


def test_it_answers_only_the_question_that_was_asked(world: World, evidence: bytes) -> None:
    other = world.gather(world.supervised)
    wrong = [
        (evidence, world.supervised, HOLDER), (evidence, world.request, OTHER), (other, world.request, HOLDER),
        (other, world.supervised, OTHER), (evidence, bytes(32), HOLDER), (evidence, world.request, "nobody"),
    ]  # fmt: skip
    for data, request, holder in wrong:
        with pytest.raises(ProofError):
            world.verify(data, request, holder)


def test_every_flipped_byte_is_refused(world: World) -> None:
    data = world.gather(records=world.records[:4])
    chance = random.Random(7)
    places = {*range(0, len(data), 47), *(chance.randrange(len(data)) for _ in range(60))}
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises(ProofError):
            world.verify(bytes(changed))


def test_every_cut_and_extension_is_refused(world: World) -> None:
    data = world.gather(records=world.records[:4])
    for length in range(0, len(data), 61):
        with pytest.raises(ProofError):
            world.verify(data[:length])
    for more in (b"\0", data):
        with pytest.raises(ProofError):
            world.verify(data + more)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 4_000))
def test_no_bytes_raise_anything_but_a_proof_error(world: World, evidence: bytes, noise: bytes, at: int) -> None:
    for data in (noise, evidence[:at] + noise + evidence[at + len(noise) :]):
        if data != evidence:
            with pytest.raises(ProofError):
                world.verify(data)


def altered(world: World, evidence: bytes) -> Iterator[tuple[str, Evidence]]:
    """Evidence that decodes well, and in which one part is another."""
    found, other = Evidence.decode(evidence), Evidence.decode(world.gather(world.supervised))
    none = Evidence.decode(world.gather(records=[]))
    blocks = found.blocks
    yield "other request's state", replace(found, request=other.request)
    yield "other request's blocks", replace(found, blocks=other.blocks, history=other.history)
    yield "a block too many", replace(none, blocks=blocks, history=found.history)
    yield "a block left out", replace(found, blocks=blocks[:-1])
    yield "blocks in another order", replace(found, blocks=blocks[::-1])
    yield "a block twice", replace(found, blocks=(blocks[0], *blocks))
    yield "records left out", replace(found, records=found.records[:-1])
    yield "records of another batch", replace(found, records=(found.records[0], *found.records[:-1]))
    yield "records in another order", replace(found, records=found.records[::-1])
    yield "no records of a batch shown", replace(found, records=(RecordsShown((), b"", ()), *found.records[1:]))
    first = found.records[0]
    yield "a record moved", replace(found, records=(replace(first, places=(1, 3, 4)), *found.records[1:]))
    yield (
        "a record twice",
        replace(
            found,
            records=(replace(first, places=(2, 2, 3, 4), leaves=first.leaves[:32] + first.leaves), *found.records[1:]),
        ),
    )
    yield (
        "two records swapped",
        replace(
            found,
            records=(
                replace(first, leaves=first.leaves[32:64] + first.leaves[:32] + first.leaves[64:]),
                *found.records[1:],
            ),
        ),
    )
    yield "a record beyond the batch", replace(found, records=(replace(first, places=(2, 3, 7)), *found.records[1:]))
    yield "a hash too many", replace(found, records=(replace(first, path=(*first.path, bytes(32))), *found.records[1:]))
    yield "a hash too many in the history", replace(found, history=(*found.history, bytes(32)))
    yield "an empty block", replace(found, blocks=(replace(blocks[0], named=(), path=()), *blocks[1:]))
    for at, block in enumerate(blocks):
        if not block.named[0].is_batch:
            yield f"message {at} left out", replace(found, blocks=(*blocks[:at], *blocks[at + 1 :]))
            swapped = replace(block, named=(replace(block.named[0], receipt=blocks[at - 1].named[0].receipt),))
            yield f"receipt {at} of another", replace(found, blocks=(*blocks[:at], swapped, *blocks[at + 1 :]))
    yield "a path without a checkpoint", replace(found, note=(b"", (bytes(32),)))
    yield "a checkpoint of nobody", replace(found, note=(b"xinglin", ()))
    yield "another chain's trunk", replace(found, trunk=replace(found.trunk, chain_id=bytes(32)))
    yield "an older head", replace(found, trunk=replace(found.trunk, head=blocks[-1].header))


def test_evidence_with_one_part_changed_is_refused(world: World, evidence: bytes) -> None:
    tried = 0
    for what, changed in altered(world, evidence):
        tried += 1
        with pytest.raises(ProofError):
            world.verify(changed.encode())
            pytest.fail(what)
    assert tried > 25


def test_another_chains_anchor_and_another_chains_evidence_are_refused(
    world: World, evidence: bytes, mongo: Any, tmp_path: Path
) -> None:
    with dataset_region(mongo, tmp_path) as region:
        stranger = load_anchor(region.genesis.anchor())
    with pytest.raises(ProofError, match="another chain"):
        verify_evidence(evidence, stranger, world.request, institution_id(HOLDER))


def test_an_anchor_that_demands_a_fresh_head_or_an_auditor_gets_it(world: World, evidence: bytes) -> None:
    region = world.region
    head = region.node(HOLDER).replica.view.head
    holder, hour = institution_id(HOLDER), 3_600_000
    aged = replace(world.anchor, max_age_seconds=60)
    verify_evidence(evidence, aged, world.request, holder, head.timestamp_ms + 30_000)
    with pytest.raises(ProofError, match="ask for a newer"):
        verify_evidence(evidence, aged, world.request, holder, head.timestamp_ms + hour)
    strict = replace(world.anchor, auditor=True)
    with pytest.raises(ProofError, match="demands an auditor"):
        verify_evidence(evidence, strict, world.request, holder, head.timestamp_ms)
    key = region.keys[REGULATOR]
    for height in (3, head.height):
        checkpoint = Checkpoint.of(region.node(REGULATOR).replica.header(height))
        note = Note(checkpoint, (cosign(checkpoint, REGULATOR, key.public.bytes, key, head.timestamp_ms),))
        noted = world.gather(note=note)
        assert verify_evidence(noted, strict, world.request, holder, head.timestamp_ms).checkpoint_ms
        below = Evidence.decode(noted)
        with pytest.raises(ProofError):
            verify_evidence(
                replace(below, note=(below.note[0], (*below.note[1], bytes(32)))).encode(), strict, world.request,
                holder, head.timestamp_ms,
            )  # fmt: skip


def test_an_anchor_younger_than_the_head_trusts_it_not(world: World, evidence: bytes) -> None:
    members = world.region.node(HOLDER).replica.view.validators
    with pytest.raises(ProofError, match="trusts voters from height 101"):
        verify_evidence(evidence, replace(world.anchor, later=(101, members)), world.request, institution_id(HOLDER))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(1, 70), st.data())
def test_a_multiproof_shows_any_leaves_of_any_tree_and_no_others(size: int, data: st.DataObject) -> None:
    tree = Levels.over(b"%d" % one for one in range(size))
    places = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    proof, leaves = multiproof(places, size, tree.node), b"".join(leaf_hash(b"%d" % one) for one in places)
    root = tree.root()
    assert verify_multiproof(leaves, places, size, proof, root)
    assert not verify_multiproof(leaves, places, size, [*proof, bytes(32)], root)
    assert not verify_multiproof(leaves, places, size, proof[:-1], root) or not proof
    moved = sorted(data.draw(st.sets(st.integers(0, size), min_size=len(places), max_size=len(places))))
    if moved != places:
        assert not verify_multiproof(leaves, moved, size, proof, root)
    assert not verify_multiproof(bytes(32) + leaves[32:], places, size, proof, root)
    assert not verify_multiproof(leaves[:-1], places, size, proof, root)


def of_block(final: FinalBlock | None, holder: bytes) -> list[Record]:
    """The records of a block whose first batch is this holder's."""
    assert final is not None
    if SubmitBatch.decode(Block.decode(final.block).transactions[0]).submitter != holder:
        return []
    leaves = Leaves.decode(final.bodies[0])
    opened = [RecordLeaf.decode(leaves.record(one)) for one in range(len(leaves))]
    return [(one.rid, one.version) for one in opened]


def test_it_walks_through_every_change_of_voters(mongo: Any, tmp_path: Path) -> None:
    from served_region import with_other_voters

    with dataset_region(mongo, tmp_path, epoch_blocks=4, jail_epochs=9) as region:
        region.away = (with_other_voters(region),)
        holder, replica = institution_id(HOLDER), region.node(HOLDER).replica
        before = [one for height in range(1, 5) for one in of_block(replica.final(height), holder)]
        (after,) = region.published(HOLDER, 3)
        request = region.asks(REGULATOR, FILE)
        region.block_of(request)
        data = gather(replica, request.tx_id, [*before, *after[1:]])
        genesis = load_anchor(region.genesis.anchor())
        found, shown = Evidence.decode(data), verify_evidence(data, genesis, request.tx_id, holder)
        count = len(before) + 2
        assert shown.records == count > 2 and len(found.trunk.steps) == 1 and len(shown.signers) == 4
        later = region.genesis.parameters.epoch_blocks * 2 + 1
        younger = replace(genesis, later=(later, replica.view.voters_at(later)))
        assert verify_evidence(data, younger, request.tx_id, holder).records == count  # passes over what is older
        (step,) = found.trunk.steps
        high = replace(step, header=found.trunk.head)
        for steps in ((), (step, step), (step, high), (high,), (replace(step, certificate=found.trunk.certificate),)):
            changed = replace(found, trunk=replace(found.trunk, steps=steps))
            with pytest.raises(ProofError):
                verify_evidence(changed.encode(), genesis, request.tx_id, holder)


def forbid(region: DatasetRegion, name: str) -> bytes:
    """Rules that forbid one more thing are in force at once; returns them as the chain has them."""
    standing = PolicySet.decode(region.node(HOLDER).replica.view.policies)
    rule = f'\n@id("{name}") @says("x") forbid (principal == Institution::"lab-centre", action, resource);'
    change = NewRules(standing.hash, standing.text + rule, standing.schema)
    proposal = region.sign("hospital-east", Propose, title="a change", change=change)
    region.block_of(proposal)
    voters = ("hospital-west", "hospital-district", "nursing-home", REGULATOR)
    region.block_of(*(region.sign(one, Vote, proposal=proposal.tx_id, choice=FOR) for one in voters))
    return region.node(HOLDER).replica.view.policies


def test_the_rules_of_the_decision_are_found_after_governance_changed_them(mongo: Any, tmp_path: Path) -> None:
    with dataset_region(mongo, tmp_path) as region:
        replica = region.node(HOLDER).replica
        records = region.published(HOLDER, 2)[0]
        first = region.allowed(REGULATOR, FILE)
        before = forbid(region, "one")
        second = region.allowed(ASKER, SUPERVISED)
        after = forbid(region, "two")
        assert len({replica.genesis.policies, before, after}) == 3
        assert policies_at_decision(replica, first.tx_id) == replica.genesis.policies
        assert policies_at_decision(replica, second.tx_id) == before
        shown = verify_evidence(
            gather(replica, second.tx_id, records), load_anchor(region.genesis.anchor()), second.tx_id,
            institution_id(HOLDER),
        )  # fmt: skip
        assert shown.verdict.policy_hash == sm3(before)
        with pytest.raises(NotYet):
            policies_at_decision(replica, bytes(32))
