"""A region of five voters and an auditor that agrees on blocks and on everything that follows from them."""

from __future__ import annotations

import pytest
from region_simulation import AUDITOR, RegionSimulation

from ledger.chain.sampling import sample
from shangmi import sm3


@pytest.mark.mongo
def test_five_voters_and_the_auditor_agree_on_three_blocks(region: RegionSimulation) -> None:
    finals = region.grow(3)
    assert len({node.replica.view.head for node in region.nodes.values()}) == 1
    seen: list[tuple[int, int]] = []
    for node in region.nodes.values():
        report = node.verify_chain(lambda done, top: seen.append((done, top)))
        assert report.ok and (report.height, report.blocks, report.batches, report.entries) == (3, 3, 3, 9)
        assert report.signatures == 15
    assert seen[:3] == [(1, 3), (2, 3), (3, 3)]
    assert region.node(AUDITOR).replica.final(2) == finals[1]


@pytest.mark.mongo
def test_several_institutions_publish_in_one_block(region: RegionSimulation) -> None:
    batches = [region.publish(one, 2) for one in ("hospital-east", "lab-centre", "nursing-home", "hospital-district")]
    receipt_of = region.finish(region.proposal(*batches))
    node = region.node("hospital-west")
    receipt = node.apply(receipt_of.block, receipt_of.commit_qc, receipt_of.bodies)
    assert receipt.entries == 8 and set(receipt.transactions) == {one.tx_id.hex() for one in batches}
    assert region.node("lab-centre").next_seq() == 2 and node.next_seq() == 1


def test_a_sample_is_the_same_for_everyone_and_differs_by_validator() -> None:
    seeds = [sm3(b"block" + bytes([one])) for one in range(7)]
    samples = [sample(seed, 10_000, 64) for seed in seeds]
    assert samples == [sample(seed, 10_000, 64) for seed in seeds]
    for one in samples:
        assert len(set(one)) == 64 and one == sorted(one) and one[0] >= 0 and one[-1] < 10_000
    assert len({tuple(one) for one in samples}) == 7
    assert sample(seeds[0], 5, 64) == [0, 1, 2, 3, 4]


def test_seven_validators_find_one_bad_record_in_a_hundred_nearly_always() -> None:
    """Section 4: 7 times 64 samples of 10,000 records with 100 bad ones find one with p = 98.9 %."""
    missed = sum(
        all(place % 100 for v in range(7) for place in sample(sm3(b"%d/%d" % (trial, v)), 10_000, 64))
        for trial in range(300)
    )
    assert missed <= 12
