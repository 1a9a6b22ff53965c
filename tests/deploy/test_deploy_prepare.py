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

from ledger.genesis import Genesis
from ledger.votes import VoteStore
from schemas.region import load_region
from vault.keystore import FileKeystore

ROOT = Path(__file__).parents[2]
REGION = ROOT / "region.yaml"
INSTITUTIONS = [one.id for one in load_region(REGION).institutions]


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
    home = state / "nodes" / institution
    password = (state / "secrets" / institution / "key-password").read_bytes()
    keystore = FileKeystore.open(home / "keys" / institution, password)
    VoteStore(home / "keys" / institution / "votes.sqlite").close()
    genesis = Genesis.load((home / "genesis.bin").read_bytes())
    members = {genesis.institution(one.id): one.public_key for one in genesis.validators.members}
    assert members[institution] == keystore.public_key.bytes
    assert [path.name for path in (home / "keys").iterdir()] == [institution]


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
            user = int(compose[f"worker-{name}"]["user"].split(":")[0])
            for folder in (state / "secrets" / name, state / "nodes" / name):
                assert folder.stat().st_mode & 0o077 == 0
                assert {path.stat().st_uid for path in (folder, *folder.rglob("*"))} == {user}


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
    from shangmi import PrivateKey

    public = PrivateKey.generate().public.bytes
    institutions = yaml.safe_load(REGION.read_text(encoding="utf-8"))["institutions"]
    away = next(one for one in institutions if one["id"] == "nursing-home")
    away["public_key"] = public.hex()
    state = tmp_path / "state"
    state.mkdir()
    done = prepare(state, "--region", str(changed_region(tmp_path, institutions=institutions)))
    assert done.returncode == 0, done.stderr
    assert not (state / "nodes" / "nursing-home" / "keys").exists()
    genesis = Genesis.load((state / "region" / "genesis.bin").read_bytes())
    assert public in {one.public_key for one in genesis.validators.members}


def test_an_institution_named_like_an_account_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    institutions = yaml.safe_load(REGION.read_text(encoding="utf-8"))["institutions"]
    institutions[0]["id"] = "observer"
    state = tmp_path / "state"
    state.mkdir()
    done = prepare(state, "--region", str(changed_region(tmp_path, institutions=institutions)))
    assert done.returncode == 2
    assert "observer" in done.stderr
    assert contents(state) == {}
