"""A simulated region with ended epochs behind real HTTP servers, for the page's tests."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from node_addresses import DEAD
from pymongo import MongoClient

sys.path.append(str(Path(__file__).parents[1] / "ledger"))  # the region's simulation lives beside the ledger's tests

from region_simulation import AUDITOR, RegionSimulation
from served_region import serving


@pytest.fixture(scope="session")
def region(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    """Six blocks in epochs of two; one voter was away for the last two, another for the second."""
    name = f"t{uuid.uuid4().hex[:12]}"
    made = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), name, epoch_blocks=2)
    made.grow(1, count=4)
    made.grow(1, count=120, absent=["hospital-district"])
    made.node("hospital-district").sync(made.node(AUDITOR).replica)
    made.grow(2, count=7)
    made.grow(2, count=30, absent=["nursing-home"])
    yield made
    made.close()


@pytest.fixture(scope="session")
def nodes(region: RegionSimulation) -> Iterator[dict[str, str]]:
    """The address of each node that serves; the laboratory's is known and silent."""
    with ExitStack() as stack:
        serve = ("hospital-east", "hospital-west", "hospital-district", "nursing-home", AUDITOR)
        yield {name: stack.enter_context(serving(region, name)) for name in serve} | {"lab-centre": DEAD}
