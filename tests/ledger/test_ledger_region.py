"""A region of five voters and an auditor that agrees, forgets nothing, and goes on without its dead."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation

pytestmark = pytest.mark.mongo


@pytest.fixture
def region(mongo: MongoClient[dict[str, Any]], tmp_path: Path) -> Iterator[RegionSimulation]:
    made = RegionSimulation(mongo, tmp_path, f"t{uuid.uuid4().hex[:12]}")
    yield made
    made.close()


def test_five_voters_and_the_auditor_agree_on_three_blocks(region: RegionSimulation) -> None:
    finals = region.grow(3)
    heads = {node.replica.view.head.block_id for node in region.nodes.values()}
    assert len(heads) == 1
    for node in region.nodes.values():
        report = node.verify_chain()
        assert report.ok and (report.height, report.blocks, report.batches, report.entries) == (3, 3, 3, 9)
    assert region.node(AUDITOR).replica.final(2) == finals[1]
