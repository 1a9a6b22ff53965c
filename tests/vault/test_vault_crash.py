"""Kill the writer before any of its commands, or the database in the middle: everything is sealed exactly once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from killed import run_apart
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError
from vault_world import CHAIN, observation, patient, raw

from vault.batches import RecordResult
from vault.keystore import FileKeystore
from vault.store import Vault

HERE = Path(__file__).parent


def test_writer_killed_before_any_of_its_commands_leaves_each_record_sealed_once(
    mongo_uri: str, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    FileKeystore.create(tmp_path, b"a password")
    done = run_apart(HERE / "vault_killed.py", mongo_uri, database.name, tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    expected = outcomes.pop("undisturbed")
    assert expected["versions"] == [[1, 1], [1, 2], [1, 3], [1, 4], [14, 1], [14, 1], [14, 1], [14, 1]]
    assert expected["final"] == 8 and len(outcomes) > 30
    different = {where: found for where, found in outcomes.items() if found != expected}
    assert different == {}


def test_database_killed_while_a_batch_is_settled_loses_and_doubles_nothing(
    tmp_path: Path, keystore: FileKeystore
) -> None:
    from console.region.mongod import free_port, start_mongod

    port = free_port()
    server = start_mongod(tmp_path / "db", port)
    try:
        with MongoClient[dict[str, Any]](server.uri, serverSelectionTimeoutMS=3_000) as client:
            vault = Vault(client["xinglin_hospital-east"], keystore, "hospital-east", CHAIN)
            landed = vault.landing.put_many([raw(number) for number in range(1_500)])
            (batch,) = vault.batches.plan("east-his", 2_000, "run")
            results = [
                RecordResult(one.id, "sealed", (patient("p"), *(observation(f"{one.id}-{i}", "p") for i in range(5))))
                for one in landed
            ]
            with ThreadPoolExecutor(1) as pool:
                settling = pool.submit(vault.batches.settle, batch, results, "map/1")
                while not vault.batches.totals()["east-his"].sealed and not settling.done():
                    pass
                server.stop(kill=True)
                with pytest.raises(PyMongoError):
                    settling.result()
            server = start_mongod(tmp_path / "db", port)
            before = vault.batches.counts(batch)
            assert 0 < before.sealed < 1_500 and before.waiting == 1_500 - before.sealed
            assert before.sealed % 200 == 0
            vault.batches.settle(batch, results, "map/1")
            counts = vault.batches.reconcile(batch)
            assert (counts.received, counts.sealed, counts.resources) == (1_500, 1_500, 7_501)
            assert vault.records.counts() == {"Observation": 7_500, "Patient": 1}
            submission = vault.outbox.assign(10_000)
            assert submission is not None and len({entry.locator for entry in submission.entries}) == 7_501
    finally:
        server.stop()


@pytest.mark.parametrize("lost", ["a password file is no key", ""])
def test_vault_without_its_key_writes_nothing(database: Database[dict[str, Any]], tmp_path: Path, lost: str) -> None:
    from vault.errors import KeystoreRefused

    FileKeystore.create(tmp_path, b"right")
    with pytest.raises(KeystoreRefused):
        Vault(database, FileKeystore.open(tmp_path, lost.encode()), "hospital-east", CHAIN)
    assert database.list_collection_names() == []
