"""Three real members with access control: what deploy/mongo_accounts.py makes, and what each account may not do."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from console.region.mongod import find_mongod, free_port
from console.region.processes import start
from ledger.exchange import COMMIT, MongoExchange
from schemas.region import load_region

ROOT = Path(__file__).parents[2]
INSTITUTIONS = [one.id for one in load_region(ROOT / "region.yaml").institutions]
APART = "hospital-district"  # its node is a process of its own, the others' are not
ACCOUNTS = {
    name: secrets.token_hex(16) for name in ("root", "observer", *INSTITUTIONS, f"node-{APART}", f"chain-{APART}")
}
NOT_ALLOWED = 13

pytestmark = pytest.mark.mongo


@dataclass(frozen=True)
class Members:
    """A running replica set and how to log in to it."""

    hosts: tuple[str, ...]

    def login(self, account: str, password: str | None = None) -> MongoClient[dict[str, Any]]:
        word = ACCOUNTS[account] if password is None else password
        return MongoClient(list(self.hosts), replicaSet="xinglin", username=account, password=word, w="majority")

    def establish(self, folder: Path, accounts: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the script as the compose file does."""
        (folder / "accounts.json").write_text(json.dumps(accounts), encoding="utf-8")
        environment = os.environ | {
            "XINGLIN_REGION": str(ROOT / "region.yaml"),
            "XINGLIN_MONGO_ACCOUNTS_FILE": str(folder / "accounts.json"),
        }
        script = [sys.executable, str(ROOT / "deploy" / "mongo_accounts.py"), *self.hosts]
        return subprocess.run(script, env=environment, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    """Three members that ask for a password, joined and with their accounts."""
    folder = tmp_path_factory.mktemp("members")
    keyfile = folder / "keyfile"
    keyfile.write_bytes(base64.b64encode(secrets.token_bytes(96)))
    keyfile.chmod(0o400)
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:
        for port in ports:
            data = folder / str(port)
            data.mkdir()
            arguments = [
                str(find_mongod()), "--replSet", "xinglin", "--keyFile", str(keyfile), "--bind_ip", "127.0.0.1",
                "--port", str(port), "--dbpath", str(data), "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64",
                "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false",
            ]  # fmt: skip
            stack.callback(start("mongod", arguments, data).stop, kill=True)  # its data goes with the test
        found = Members(tuple(f"127.0.0.1:{port}" for port in ports))
        done = found.establish(folder, ACCOUNTS)
        assert done.returncode == 0, done.stderr
        yield found


def refused(code: int = NOT_ALLOWED) -> Any:
    """Expect MongoDB to refuse with this code."""
    return pytest.raises(OperationFailure, check=lambda error: error.code == code)


def test_an_institution_keeps_its_vault_and_its_replica(members: Members) -> None:
    with members.login("hospital-east") as east:
        for part in ("xinglin", "ledger"):
            with east.start_session() as session, session.start_transaction():
                east[f"{part}_hospital-east"]["own"].insert_one({"n": 1}, session=session)
            assert east[f"{part}_hospital-east"]["own"].count_documents({}) == 1


def test_beside_a_node_of_its_own_a_worker_reads_the_chain_and_writes_summaries_and_checkpoints(
    members: Members,
) -> None:
    ledger = f"ledger_{APART}"
    with members.login(f"node-{APART}") as node, members.login(APART) as worker:
        node[ledger]["blocks"].insert_one({"_id": 1})
        node[ledger]["meta"].insert_one({"_id": "head", "height": 1})
        for attempt in (
            lambda: worker[ledger]["blocks"].insert_one({"_id": 2}),
            lambda: worker[ledger]["meta"].update_one({"_id": "head"}, {"$set": {"height": 2}}),
            lambda: worker[ledger]["state_values"].delete_many({}),
            lambda: worker[ledger]["other"].create_index("n"),
            lambda: worker.drop_database(ledger),
        ):
            with refused():
                attempt()
        assert worker[ledger]["blocks"].find_one() == {"_id": 1}
        assert worker[ledger]["meta"].find_one() == {"_id": "head", "height": 1}
        for name in ("checkpoints", "summaries", "summaries_gone", "summaries_meta", "summaries_wanted"):
            worker[ledger][name].create_index("tx")
            worker[ledger][name].insert_one({"_id": 1})
            assert worker[ledger][name].delete_many({}).deleted_count == 1
        worker[f"xinglin_{APART}"]["outbox"].insert_one({"n": 1})


def test_a_node_reads_envelopes_and_the_exchange_and_writes_its_replica_alone(members: Members) -> None:
    with members.login("hospital-east") as east, members.login(f"node-{APART}") as node:
        east["xinglin_hospital-east"]["records"].insert_one({"_id": "r.1", "envelope": b"bytes"})
        MongoExchange(east["xinglin_exchange"]).post_vote(7, 0, 1, b"vote")
        assert node["xinglin_hospital-east"]["records"].find_one({"_id": "r.1"}) is not None
        assert MongoExchange(node["xinglin_exchange"]).votes(7, 0, 1) == [b"vote"]
        for attempt in (
            lambda: node["xinglin_exchange"]["topics"].insert_one({}),
            lambda: node[f"xinglin_{APART}"]["landing"].find_one(),
            lambda: node[f"xinglin_{APART}"]["records"].insert_one({}),
            lambda: node["ledger_hospital-west"]["blocks"].find_one(),
        ):
            with refused():
                attempt()


def test_what_shows_a_chain_reads_one_replica_and_writes_nothing(members: Members) -> None:
    with members.login(f"node-{APART}") as node, members.login(f"chain-{APART}") as chain:
        node[f"ledger_{APART}"]["blocks"].insert_one({"_id": 20})
        assert chain[f"ledger_{APART}"]["blocks"].find_one({"_id": 20}) == {"_id": 20}
        MongoExchange(chain["xinglin_exchange"])
        for attempt in (
            lambda: chain[f"ledger_{APART}"]["checkpoints"].insert_one({}),
            lambda: chain["xinglin_exchange"]["topics"].insert_one({}),
            lambda: chain[f"xinglin_{APART}"]["records"].find_one(),
            lambda: chain["ledger_hospital-west"]["blocks"].find_one(),
        ):
            with refused():
                attempt()


@pytest.mark.parametrize("collection", ["landing", "quarantine", "meta", "owners"])
def test_an_institution_reads_nothing_of_another_but_envelopes(members: Members, collection: str) -> None:
    with members.login("hospital-west") as west:
        west["xinglin_hospital-west"][collection].insert_one({"n": 1})
        west["xinglin_hospital-west"]["records"].insert_one({"sealed": b"bytes"})
    with members.login("nursing-home") as home:
        with refused():
            home["xinglin_hospital-west"][collection].find_one()
        with refused():
            home["ledger_hospital-west"]["blocks"].find_one()
        assert home["xinglin_hospital-west"]["records"].find_one({}, {"_id": 0}) == {"sealed": b"bytes"}


def test_an_institution_changes_nothing_of_another(members: Members) -> None:
    with members.login("lab-centre") as owner:
        owner["xinglin_lab-centre"]["records"].insert_one({"_id": 1, "sealed": b"bytes"})
        with members.login("hospital-east") as east:
            others = east["xinglin_lab-centre"]["records"]
            for attempt in (
                lambda: others.insert_one({"_id": 2}),
                lambda: others.update_one({"_id": 1}, {"$set": {"sealed": b"other"}}),
                lambda: others.delete_one({"_id": 1}),
                lambda: east.drop_database("xinglin_lab-centre"),
                lambda: east["ledger_lab-centre"]["blocks"].insert_one({}),
            ):
                with refused():
                    attempt()
        assert list(owner["xinglin_lab-centre"]["records"].find()) == [{"_id": 1, "sealed": b"bytes"}]


def test_all_institutions_use_the_exchange_and_none_empties_it(members: Members) -> None:
    with members.login("hospital-east") as east, members.login("nursing-home") as home:
        MongoExchange(east["xinglin_exchange"]).post_vote(1, 0, 1, b"vote")
        seen = MongoExchange(home["xinglin_exchange"])
        assert seen.votes(1, 0, 1) == [b"vote"]
        with refused():
            home["xinglin_exchange"]["chunks"].delete_many({})
        with refused():
            home.drop_database("xinglin_exchange")
        assert seen.votes(1, 0, 1) == [b"vote"]


def test_the_observer_reads_the_exchange_and_writes_its_own_replica_alone(members: Members) -> None:
    with members.login("hospital-east") as east, members.login("observer") as observer:
        MongoExchange(east["xinglin_exchange"]).post_certificate(2, 0, COMMIT, b"certificate")
        assert list(MongoExchange(observer["xinglin_exchange"]).read("COMMIT-certificate/2/0")) == [b"certificate"]
        observer["ledger_observer"]["head"].insert_one({"height": 2})
        with refused():
            east["ledger_observer"]["head"].insert_one({"height": 3})
        with refused():
            observer["ledger_hospital-east"]["head"].insert_one({"height": 3})
        with refused():
            observer["xinglin_exchange"]["topics"].insert_one({})
        with refused():
            observer["xinglin_hospital-east"]["records"].find_one()


def test_a_wrong_password_and_no_password_get_nothing(members: Members) -> None:
    with members.login("hospital-east", "guess") as guess, refused(18):
        guess["xinglin_hospital-east"]["own"].find_one()
    with MongoClient[dict[str, Any]](list(members.hosts), replicaSet="xinglin") as nobody:
        with refused():
            nobody["xinglin_exchange"]["topics"].find_one()
        with refused():
            nobody["xinglin_hospital-east"]["own"].find_one()
    with members.login("hospital-east") as right:
        assert right["xinglin_hospital-east"]["own"].find_one({"_id": "nobody"}) is None


def test_running_it_again_changes_a_password_and_keeps_the_data(members: Members, tmp_path: Path) -> None:
    with members.login("hospital-district") as before:
        before["xinglin_hospital-district"]["own"].insert_one({"_id": 1})
    done = members.establish(tmp_path, ACCOUNTS | {"hospital-district": "new"})
    assert done.returncode == 0, done.stderr
    with members.login("hospital-district") as old, refused(18):
        old.admin.command("ping")
    with members.login("hospital-district", "new") as after:
        assert after["xinglin_hospital-district"]["own"].find_one() == {"_id": 1}


def test_an_institution_without_a_password_stops_it(members: Members, tmp_path: Path) -> None:
    done = members.establish(tmp_path, {name: word for name, word in ACCOUNTS.items() if name != "lab-centre"})
    assert done.returncode == 1
    assert "KeyError: 'lab-centre'" in done.stderr
    assert not any(word in done.stderr for word in ACCOUNTS.values())
