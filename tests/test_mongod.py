"""The embedded mongod starts as a real replica set, survives SIGKILL, and says the ways out where it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymongo import MongoClient

from console.region import mongod
from console.region.errors import RegionError
from console.region.processes import running


def test_committed_data_survives_a_power_cut(tmp_path: Path) -> None:
    port = mongod.free_port()
    first = mongod.start_mongod(tmp_path, port)
    with MongoClient(first.uri) as client, client.start_session() as session, session.start_transaction():
        client.x.y.insert_one({"_id": 1}, session=session)
    first.stop(kill=True)
    assert running("mongod", tmp_path) is None
    second = mongod.start_mongod(tmp_path, port)
    with MongoClient(second.uri) as client:
        assert client.x.y.count_documents({}) == 1
    second.stop()
    assert running("mongod", tmp_path) is None


def test_a_machine_without_mongod_is_told_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mongod.platform, "machine", lambda: "aarch64")
    with pytest.raises(RegionError, match=r"(?s)aarch64.*MONGODB_URI.*mongod on PATH"):
        mongod.find_mongod()


def test_a_mongod_that_lacks_a_library_is_told_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries: libcurl.so.4' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RegionError, match=r"libcurl\.so\.4.*MONGODB_URI.*mongod on PATH"):
        mongod.find_mongod()
