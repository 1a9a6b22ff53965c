"""One version handed out with its key, and one record erased: nothing else of the patient opens, or closes, with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from vault_world import CHAIN, NAME, observation, patient, practitioner, seal_one

from vault import envelope
from vault.envelope import Context
from vault.errors import Erased, Tampered, Unknown
from vault.keystore import FileKeystore
from vault.store import DEFAULT_POLICY, Vault

OWNER = "hospital-east"


@pytest.fixture
def vault(database: Database[dict[str, Any]], tmp_path: Path) -> Vault:
    return Vault(database, FileKeystore.create(tmp_path / "keys", b"password"), OWNER, CHAIN)


def test_a_released_version_opens_with_its_own_key_alone(vault: Vault) -> None:
    seal_one(vault, 1, patient("p1"), observation("o1", "p1"))
    seal_one(vault, 2, observation("o1", "p1", 14.0))
    rid = vault.records.rid("Observation", "o1")
    first, second = (vault.records.release(rid, version) for version in (1, 2))
    assert (first.body["valueQuantity"]["value"], second.body["valueQuantity"]["value"]) == (13.2, 14.0)
    context = Context(CHAIN, OWNER, DEFAULT_POLICY)
    assert envelope.open_(first.envelope, first.data_key, rid, 1, context)
    for wrong in (second.data_key, vault.records.release(vault.records.rid("Patient", "p1"), 1).data_key):
        with pytest.raises(Tampered, match="key commitment"):
            envelope.open_(first.envelope, wrong, rid, 1, context)
    assert NAME not in repr(first) and first.data_key.hex() not in repr(first)
    with pytest.raises(Unknown):
        vault.records.release(rid, 3)


def test_versions_of_a_patient_and_of_a_record_are_told_also_after_an_erasure(vault: Vault) -> None:
    seal_one(vault, 1, patient("p1"), observation("o1", "p1"), practitioner())
    seal_one(vault, 2, observation("o1", "p1", 14.0), observation("o2", "p1"))
    seal_one(vault, 3, patient("p2"), observation("o3", "p2"))
    rid, name = vault.records.rid("Observation", "o1"), vault.records.rid("Patient", "p1")
    other = vault.records.rid("Observation", "o2")
    everything = sorted([(rid, 1), (rid, 2), (name, 1), (other, 1)])
    for _ in range(2):
        assert vault.records.versions(patient="p1") == everything
        assert vault.records.versions(rid=rid) == [(rid, 1), (rid, 2)]
        vault.erase("p1")
    assert vault.records.versions(patient="nobody") == vault.records.versions(rid=bytes(16)) == []


def test_an_erased_record_is_gone_with_its_raw_message_and_nothing_else_is(
    vault: Vault, database: Database[dict[str, Any]]
) -> None:
    seal_one(vault, 1, patient("p1"), observation("o1", "p1"))
    seal_one(vault, 2, observation("o1", "p1", 14.0))
    seal_one(vault, 3, observation("o2", "p1"))
    seal_one(vault, 4, observation("o4", "p1"), observation("o5", "p2"))  # one message, two patients
    rid, shared = vault.records.rid("Observation", "o1"), vault.records.rid("Observation", "o4")
    done = vault.erase_record(rid, 1)
    assert (done.existed, done.records, done.landed) == (True, 1, 1)
    with pytest.raises(Erased):
        vault.records.release(rid, 1)
    assert vault.records.release(rid, 2).body["valueQuantity"]["value"] == 14.0
    done = vault.erase_record(rid)
    assert (done.records, done.landed) == (1, 1)
    assert vault.erase_record(rid).records == 0  # again changes nothing
    done = vault.erase_record(shared)
    assert (done.records, done.landed) == (1, 0)
    assert vault.records.open("Observation", "o2") and vault.records.open("Patient", "p1")
    assert vault.records.open("Observation", "o5")
    assert database["landing"].count_documents({"key": {"$exists": True}}) == 2
    assert not vault.erase_record(bytes(16)).existed
    envelopes = database["records"].count_documents({"envelope": {"$exists": True}})
    assert envelopes == len(list(database["records"].find()))  # digests on the chain still hold


def test_an_erased_record_that_is_sent_again_is_a_new_version(vault: Vault) -> None:
    seal_one(vault, 1, patient("p1"), observation("o1", "p1"))
    rid = vault.records.rid("Observation", "o1")
    vault.erase_record(rid)
    seal_one(vault, 2, observation("o1", "p1"))
    assert vault.records.versions(rid=rid) == [(rid, 1), (rid, 2)]
    assert vault.records.release(rid, 2).body["valueQuantity"]["value"] == 13.2
