"""Regions for the ledger's tests: a fresh one, and one with two blocks that refusals may not change."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from region_simulation import RegionSimulation


@pytest.fixture
def region(mongo: MongoClient[dict[str, Any]], tmp_path: Path) -> Iterator[RegionSimulation]:
    """A region at genesis, for one test."""
    made = RegionSimulation(mongo, tmp_path, f"t{uuid.uuid4().hex[:12]}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def settled(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    """A region with two final blocks, shared by the tests of a module: they are refused and change nothing."""
    made = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}")
    made.grow(2)
    yield made
    made.close()
