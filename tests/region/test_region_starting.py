"""Starting and stopping without Airflow: twice at once, killed between two files, on a port that another has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from console.region import processes, region
from console.region.airflow import Airflow
from console.region.errors import RegionError
from console.region.founding import found
from console.region.mongod import free_port
from console.region.region import down, start_listeners, up
from ledger.agreement.votes import VoteStore
from schemas.home import Home
from shangmi import PrivateKey


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that is not there yet, with nothing of it in the environment."""
    for name in ("MONGODB_URI", "MONGODB_URI_FILE", "XINGLIN_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home")


def test_stopping_what_never_was_leaves_nothing(bare: Home) -> None:
    assert down(bare) == []
    assert not bare.path.exists()


def test_two_who_start_at_once_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []
    most = []

    def enter(number: int) -> None:
        with processes.alone(tmp_path):
            inside.append(number)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(16)))
    assert most == [1] * 16


def test_a_holder_that_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    code = "import sys, os, pathlib; from console.region.processes import alone\n"
    code += "with alone(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with processes.alone(tmp_path):
        pass


def test_a_port_that_another_program_has_is_named_and_nothing_is_started(bare: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        bare.path.mkdir()
        (bare.path / "mongo.port").write_text(str(port), encoding="ascii")
        with pytest.raises(RegionError, match=f"another program listens on port {port}"):
            up(bare, lambda _: None)
        assert processes.running("mongod", bare.path / "mongo") is None
        assert not (bare.path / "mongo" / "uri").exists()


def test_a_listener_does_not_take_anothers_port_for_its_own(
    bare: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "sources").mkdir()
        (tmp_path / "sources" / "east.yaml").write_text(
            "{id: east, institution: hospital-east, kind: his.hl7v2_mllp, enabled: true, time_zone: Asia/Shanghai, "
            f"settings: {{port: {port}}}}}",
            encoding="utf-8",
        )
        monkeypatch.setenv("XINGLIN_SOURCES", str(tmp_path / "sources"))
        with pytest.raises(RegionError, match=rf"east: another program.*port {port}.*sources/east\.yaml"):
            start_listeners(bare, dict(os.environ))
        assert not (bare.path / "listen").exists()


def test_nobody_else_may_look_into_a_home_that_stood_open(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.path.mkdir(mode=0o755)
    monkeypatch.setattr(region, "_up", lambda home, say: None)
    up(bare, lambda _: None)
    assert bare.path.stat().st_mode & 0o777 == 0o700


def test_a_secret_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between making the file and filling it, an empty secret would sign every token from then on."""
    path = tmp_path / "jwt.secret"

    def cut(descriptor: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(processes.os, "fsync", cut)
        with pytest.raises(OSError, match="no space"):
            processes.write(path, b"secret", mode=0o600)
    assert not path.exists()
    path.with_name("jwt.secret.partial").chmod(0o666)
    processes.write(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_founding_killed_while_the_vote_store_is_made_goes_on(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ledger.agreement.votes._SCHEMA", "this is no SQL")
        with pytest.raises(Exception, match="syntax"):
            found(bare)
    genesis = found(bare)
    for one in ("lab-centre", "nursing-home"):
        key = PrivateKey.from_pem((bare.keys(one) / "sm2.pem").read_bytes(), bare.password(one))
        store = VoteStore(bare.keys(one) / "votes.sqlite")
        store.check_owner(key.public)
        store.close()
    assert found(bare).chain_id == genesis.chain_id


def test_an_address_given_as_a_file_reaches_no_environment(
    bare: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uri").write_text("mongodb://xinglin:geheim@127.0.0.1/", encoding="ascii")
    monkeypatch.setenv("MONGODB_URI_FILE", str(tmp_path / "uri"))
    environment = Airflow(bare, free_port()).environment()
    assert "geheim" not in json.dumps(environment)
    assert environment["MONGODB_URI_FILE"] == str(tmp_path / "uri")
