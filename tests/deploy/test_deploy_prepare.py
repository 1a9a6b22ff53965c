"""deploy/prepare.py fills a region's folder once, and never takes away what a region lives on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from needed import needs

from ledger.agreement.votes import VoteStore
from ledger.chain.genesis import Genesis
from schemas.region import load_region
from shangmi import PrivateKey
from vault.keystore import FileKeystore

ROOT = Path(__file__).parents[2]
REGION = ROOT / "region.yaml"
INSTITUTIONS = [one.id for one in load_region(REGION).institutions]
PARTS = ("worker", "node", "chain")


def prepare(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script as an operator does."""
    script = [sys.executable, str(ROOT / "deploy" / "prepare.py"), str(state), *options]
    return subprocess.run(script, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})


def contents(state: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled folder; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("state")
    done = prepare(folder)
    assert done.returncode == 0, done.stderr
    return folder


def changed_region(folder: Path, **changes: object) -> Path:
    """The region's file with other content."""
    document = yaml.safe_load(REGION.read_text(encoding="utf-8")) | changes
    path = folder / "region.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def test_a_second_run_changes_nothing(state: Path) -> None:
    before = contents(state)
    assert prepare(state).returncode == 0
    assert contents(state) == before


@pytest.mark.parametrize("institution", INSTITUTIONS)
def test_an_institution_gets_a_key_its_password_opens_and_the_genesis_that_names_it(
    state: Path, institution: str
) -> None:
    home, node = state / "nodes" / institution, state / "node-homes" / institution
    password = (state / "secrets" / institution / "key-password").read_bytes()
    keystore = FileKeystore.open(home / "keys" / institution, password)
    signing = (node / "keys" / institution / "sm2.pem").read_bytes()
    assert PrivateKey.from_pem(signing, password).public.bytes == keystore.public_key.bytes
    VoteStore(node / "keys" / institution / "votes.sqlite").close()
    assert (node / "genesis.bin").read_bytes() == (home / "genesis.bin").read_bytes()
    genesis = Genesis.load((home / "genesis.bin").read_bytes())
    members = {genesis.institution(one.id): one.public_key for one in genesis.validators.members}
    assert members[institution] == keystore.public_key.bytes
    assert [path.name for one in (home, node) for path in (one / "keys").iterdir()] == [institution] * 2


@pytest.mark.parametrize("institution", INSTITUTIONS)
def test_the_signing_key_and_the_vote_store_lie_with_the_node_alone(state: Path, institution: str) -> None:
    with_worker = {path.name for path in (state / "nodes" / institution / "keys" / institution).iterdir()}
    assert with_worker == {"vault.key", "sm2.pub"}
    with_node = {path.name for path in (state / "node-homes" / institution / "keys" / institution).iterdir()}
    assert with_node == {"sm2.pem", "votes.sqlite"}


def before_nodes(state: Path) -> Path:
    """A region of an earlier release: an institution's worker still has everything; returns its folder of keys."""
    assert prepare(state).returncode == 0
    worker, node = (state / one / "nursing-home" / "keys" / "nursing-home" for one in ("nodes", "node-homes"))
    for path in node.iterdir():
        path.rename(worker / path.name)
    (worker / "votes.sqlite-wal").write_bytes(b"")
    (worker / "sm2.pub").unlink()
    return worker


def test_a_key_that_lay_with_the_worker_moves_to_the_node_with_its_vote_store(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    worker = before_nodes(state)
    key, votes = (worker / "sm2.pem").read_bytes(), (worker / "votes.sqlite").read_bytes()
    assert prepare(state).returncode == 0
    node = state / "node-homes" / "nursing-home" / "keys" / "nursing-home"
    assert {one.name: one.read_bytes() for one in node.iterdir()} == {
        "sm2.pem": key,
        "votes.sqlite": votes,
        "votes.sqlite-wal": b"",
    }
    assert {path.name for path in worker.iterdir()} == {"vault.key", "sm2.pub"}
    FileKeystore.open(worker, (state / "secrets" / "nursing-home" / "key-password").read_bytes())


def test_two_signing_keys_of_an_institution_stop_it_and_neither_is_lost(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    worker = before_nodes(state)
    other = state / "node-homes" / "nursing-home" / "keys" / "nursing-home" / "sm2.pem"
    other.write_bytes(b"another key")
    before = contents(state)
    done = prepare(state)
    assert (done.returncode, "nursing-home: a signing key lies with" in done.stderr) == (1, True)
    assert contents(state) == before
    assert (worker / "sm2.pem").exists()


def test_no_two_accounts_share_a_password(state: Path) -> None:
    accounts = json.loads((state / "passwords.json").read_bytes())
    words = [word for kind in accounts.values() for word in kind.values()]
    assert len(set(words)) == len(words)
    assert all(len(word) >= 44 for word in words)


def test_nobody_else_may_read_a_secret(state: Path) -> None:
    assert (state / "passwords.json").stat().st_mode & 0o077 == 0
    for path in (state / "secrets").rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o377 == 0, path.name
    if os.geteuid() == 0:  # only root can give files away
        compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
        for name in INSTITUTIONS:
            user, node, chain = (int(compose[f"{one}-{name}"]["user"].split(":")[0]) for one in PARTS)
            owners = {f"secrets/{name}": user, f"nodes/{name}": user, f"secrets/chain-{name}": chain}
            owners |= {f"secrets/node-{name}": node, f"node-homes/{name}": node}
            for folder, owner in owners.items():
                found = [state / folder, *(state / folder).rglob("*")]
                assert found[0].stat().st_mode & 0o077 == 0
                assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(owner, owner)}
            between = (state / "sockets" / name).stat()
            assert (between.st_uid, between.st_gid, between.st_mode & 0o777) == (node, user, 0o750)


@needs(os.geteuid() == 0, "only root can give files away")
def test_a_second_run_leaves_the_socket_of_a_running_node_alone(state: Path) -> None:
    socket = state / "sockets" / "nursing-home" / "node.sock"
    socket.touch(0o660)
    os.chown(socket, 4321, 1234)
    try:
        assert prepare(state).returncode == 0
        assert (socket.stat().st_uid, socket.stat().st_gid) == (4321, 1234)
    finally:
        socket.unlink()


def test_the_broker_lets_an_institution_reach_its_own_queue_only(state: Path) -> None:
    lines = (state / "secrets" / "broker" / "users.acl").read_text(encoding="ascii").splitlines()
    rules = {line.split()[1]: line.split()[2:] for line in lines}
    assert rules["default"] == ["off"]
    assert [one for one in rules["common"] if one.startswith("~default")] == ["~default", "~default:*"]
    for name in INSTITUTIONS:
        keys = [one[1:] for one in rules[name] if one.startswith("~")]
        shared = {"_kombu.binding_deadlines", "celery-task-meta-*"}
        assert all(name in key.replace(":", "-").replace(".", "-") for key in set(keys) - shared)
        assert f"node-{name}" in keys and "*" not in keys
        assert "-@all" in rules[name] and "resetchannels" in rules[name]
        commands = {one[1:] for one in rules[name] if one.startswith("+")}
        assert not commands & {
            "@all",
            "keys",
            "scan",
            "randomkey",
            "monitor",
            "config",
            "acl",
            "flushall",
            "client|list",
        }


def test_the_brokers_folder_holds_digests_and_no_password(state: Path) -> None:
    text = (state / "secrets" / "broker" / "users.acl").read_text(encoding="ascii")
    for word in json.loads((state / "passwords.json").read_bytes())["broker"].values():
        assert word not in text
        assert hashlib.sha256(word.encode()).hexdigest() in text


def test_another_region_on_a_living_chain_is_refused_and_nothing_changes(state: Path, tmp_path: Path) -> None:
    before = contents(state)
    done = prepare(state, "--region", str(changed_region(tmp_path, name="另一个区")))
    assert done.returncode == 1
    assert "put it back" in done.stderr
    assert contents(state) == before


def test_an_institution_that_keeps_its_key_elsewhere_gets_no_keystore_here(tmp_path: Path) -> None:
    public = PrivateKey.generate().public.bytes
    institutions = yaml.safe_load(REGION.read_text(encoding="utf-8"))["institutions"]
    away = next(one for one in institutions if one["id"] == "nursing-home")
    away["public_key"] = public.hex()
    state = tmp_path / "state"
    state.mkdir()
    done = prepare(state, "--region", str(changed_region(tmp_path, institutions=institutions)))
    assert done.returncode == 0, done.stderr
    assert not [one for one in ("nodes", "node-homes") if (state / one / "nursing-home" / "keys").exists()]
    genesis = Genesis.load((state / "region" / "genesis.bin").read_bytes())
    assert public in {one.public_key for one in genesis.validators.members}


@pytest.mark.parametrize("name", ["observer", "node-nursing-home", "chain-nursing-home"])
def test_an_institution_named_like_an_account_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    institutions = yaml.safe_load(REGION.read_text(encoding="utf-8"))["institutions"]
    institutions[0]["id"] = name
    state = tmp_path / "state"
    state.mkdir()
    done = prepare(state, "--region", str(changed_region(tmp_path, institutions=institutions)))
    assert done.returncode == 2
    assert name in done.stderr
    assert contents(state) == {}
