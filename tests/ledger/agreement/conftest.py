"""Simulated networks for the tests of a module; each run begins them anew."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from memory_database import MemoryDatabase
from network_simulation import FIVE, FOUR, NetworkSimulation
from pymongo import MongoClient

from shangmi import PublicKey


@pytest.fixture(scope="module", autouse=True)
def remembered_signatures() -> Iterator[None]:
    """Verify each signature once: whether it is good follows from key, message and signature alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PublicKey, "verify", lru_cache(maxsize=1 << 16)(PublicKey.verify))
        yield


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkSimulation]:
    """Five voters of weights 3, 3, 3, 2 and 1, their replicas in memory."""
    made = NetworkSimulation(MemoryDatabase, tmp_path_factory.mktemp("network"), "five", FIVE)
    yield made
    made.shut()


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkSimulation]:
    """Four voters of equal weight, their replicas in memory."""
    made = NetworkSimulation(MemoryDatabase, tmp_path_factory.mktemp("four"), "four", FOUR)
    yield made
    made.shut()


@pytest.fixture(scope="module")
def on_server(
    mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NetworkSimulation]:
    """Five voters, their replicas on a real server."""
    name = f"n{uuid.uuid4().hex[:10]}"
    made = NetworkSimulation(mongo.get_database, tmp_path_factory.mktemp("server"), name, FIVE)
    yield made
    made.shut()
    for one in FIVE:
        mongo.drop_database(f"{name}_{one.id}")
