"""What every test stands on: a real mongod, a fresh database each, the independent corpora, the clock's zone."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parent.parent
REGIONS = "tests/region/"
os.environ["TZ"] = "Asia/Shanghai"
time.tzset()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked services run where they are asked for, and fail there without their servers.

    Regions come first: they take longest, and where two processes share the tests nobody waits for them at the end.
    """
    if "services" not in str(config.getoption("markexpr")):
        left = [one for one in items if one.get_closest_marker("services")]
        config.hook.pytest_deselected(items=left)
        items[:] = [one for one in items if one not in left]
    items.sort(key=lambda one: not one.nodeid.startswith(REGIONS))


class Files(LoadFileScheduling):
    """Where several processes share the tests, a file stays with one, and so do all that start a region.

    Regions have ports in common. Marks of ``--dist loadgroup`` would say the same, but pytest 9.2 does not hand
    them on (pytest-dev/pytest-xdist#1386), so that tests of one file were torn apart in silence.
    """

    def _split_scope(self, nodeid: str) -> str:
        return REGIONS if nodeid.startswith(REGIONS) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    """Share the tests by file."""
    return Files(config, log)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The independent corpora, or a skip that says where they were looked for."""
    folder = Path(os.environ.get("XINGLIN_CORPORA", ROOT.parent / "shared" / "corpora"))
    if not folder.is_dir():
        pytest.skip(f"the independent corpora are not at {folder}; set XINGLIN_CORPORA")
    return folder


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a real one-node replica set that lives as long as the test session."""
    from console.region.mongod import free_port, start_mongod

    server = start_mongod(tmp_path_factory.mktemp("mongod"), free_port())
    yield server.uri
    server.stop()


@pytest.fixture(scope="session")
def mongo(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of the session's mongod; datetimes come back with a zone."""
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def database(mongo: MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """An empty database for one test."""
    name = f"test_{uuid.uuid4().hex}"
    yield mongo[name]
    mongo.drop_database(name)
