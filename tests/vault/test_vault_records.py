"""Sealed records: opened, found, sampled, checked, erased."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.database import Database
from vault_world import everything, observation, patient, practitioner, raw, run, seal_one

from shangmi import sm3
from vault.entries import locator
from vault.errors import Erased, Tampered, Unknown
from vault.records import EnvelopeReader
from vault.store import Vault

Db = Database[dict[str, Any]]


def test_resource_comes_back_as_it_was_sealed(vault: Vault) -> None:
    seal_one(vault, 1, patient("p"), observation("o", "p"), practitioner())
    assert vault.records.open("Patient", "p") == patient("p").body
    assert vault.records.open("Observation", "o") == observation("o", "p").body
    assert vault.records.open("Practitioner", "dr-li") == practitioner().body
    (found,) = vault.records.find(resource_type="Observation")
    assert vault.records.open_located(found.locator) == observation("o", "p").body
    for wrong in (("Patient", "q", None), ("Observation", "p", None), ("Patient", "p", 2)):
        with pytest.raises(Unknown):
            vault.records.open(*wrong)


def test_records_are_found_by_patient_identifier_code_and_type(vault: Vault) -> None:
    seal_one(vault, 1, patient("p"), observation("o1", "p"), observation("o2", "p", code="2345-7"))
    seal_one(vault, 2, patient("q"), observation("o3", "q"))

    def ids(**wanted: Any) -> set[str]:
        return {vault.records.open_located(one.locator)["id"] for one in vault.records.find(**wanted)}

    assert ids(patient="p") == {"p", "o1", "o2"}
    assert ids(identifier=("urn:east:mr", "MR-q")) == {"q"}
    assert ids(code=("http://loinc.org", "718-7")) == {"o1", "o3"}
    assert ids(code=("http://loinc.org", "718-7"), patient="q") == {"o3"}
    assert ids(resource_type="Patient") == {"p", "q"}
    assert ids(resource_type="Nothing") == set() == ids(patient="nobody")
    assert len(vault.records.find(resource_type="Observation", limit=2)) == 2


def test_only_the_newest_version_is_found(vault: Vault) -> None:
    seal_one(vault, 1, observation("o", "p", code="718-7"))
    seal_one(vault, 2, observation("o", "p", code="2345-7"))
    assert vault.records.find(code=("http://loinc.org", "718-7")) == []
    (found,) = vault.records.find(code=("http://loinc.org", "2345-7"))
    assert found.version == 2


def test_sample_draws_different_records(vault: Vault) -> None:
    seal_one(vault, 1, *[observation(f"o{i}", "p") for i in range(20)])
    assert len({one.locator for one in vault.records.sample(8)}) == 8
    assert len(vault.records.sample(50)) == 20
    assert vault.records.sample(0) == []


def test_envelope_is_read_without_any_key(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"))
    (found,) = vault.records.find(patient="p")
    stored = EnvelopeReader(database).envelope(found.locator)
    assert sm3(stored) == vault.records.verify(found.rid, 1) and b"Patient" not in stored
    with pytest.raises(Unknown):
        EnvelopeReader(database).envelope("ff.1")


def test_byte_changed_anywhere_in_a_stored_record_is_refused_and_named(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"))
    document = database["records"].find_one()
    assert document is not None
    for name in ("envelope", "key"):
        for at in range(len(document[name])):
            changed = bytearray(document[name])
            changed[at] ^= 4
            database["records"].update_one({"_id": document["_id"]}, {"$set": {name: bytes(changed)}})
            for read in (
                lambda: vault.records.open("Patient", "p"),
                lambda: vault.records.verify(document["rid"], 1),
            ):
                with pytest.raises(Tampered, match=document["_id"]):
                    read()
        database["records"].replace_one({"_id": document["_id"]}, document)
    assert vault.records.open("Patient", "p") == patient("p").body


def test_records_swapped_in_storage_are_refused(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"), patient("q"))
    one, other = database["records"].find()
    swap = {name: other[name] for name in ("envelope", "key", "owner")}
    database["records"].update_one({"_id": one["_id"]}, {"$set": swap})
    with pytest.raises(Tampered):
        vault.records.open_located(one["_id"])


def test_older_version_put_in_the_newest_ones_place_is_refused(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p", "甲"))
    seal_one(vault, 2, patient("p", "乙"))
    rid = vault.records.rid("Patient", "p")
    old = database["records"].find_one({"_id": locator(rid, 1)})
    assert old is not None
    roll_back = {"$set": {"envelope": old["envelope"], "key": old["key"]}}
    database["records"].update_one({"_id": locator(rid, 2)}, roll_back)
    with pytest.raises(Tampered):
        vault.records.open("Patient", "p")


def test_erased_patient_is_unreadable_everywhere_and_others_are_not(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"), observation("o", "p"), practitioner())
    seal_one(vault, 2, patient("q"))
    before = {one["_id"]: one["envelope"] for one in database["records"].find()}
    erasure = vault.erase("p")
    assert (erasure.existed, erasure.records, erasure.landed) == (True, 2, 1)
    for read in (
        lambda: vault.records.open("Patient", "p"),
        lambda: vault.records.open("Observation", "o"),
        lambda: vault.records.open("Patient", "p", 1),
    ):
        with pytest.raises(Erased):
            read()
    assert {one["_id"]: one["envelope"] for one in database["records"].find()} == before
    assert vault.records.verify(vault.records.rid("Patient", "p"), 1) == sm3(
        vault.records.envelope(locator(vault.records.rid("Patient", "p"), 1))
    )
    assert list(vault.batches.records("east-his-000001")) == []
    assert vault.records.open("Patient", "q") == patient("q").body
    assert vault.records.open("Practitioner", "dr-li") == practitioner().body
    again = vault.erase("p")
    assert (again.existed, again.records, again.landed) == (False, 0, 0)


def test_nothing_that_could_open_an_erased_patient_is_left_in_the_database(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"))
    (salt,) = [one["salt"] for one in database["patients"].find() if one.get("seals")]
    vault.erase("p")
    left = everything(database)
    assert salt not in [one.get("salt") for one in left["patients"]]
    assert [name for one in left["records"] for name in ("key", "mac", "tokens") if name in one] == []
    assert [name for one in left["landing"] for name in ("key", "body") if name in one] == []
    assert vault.records.find(identifier=("urn:east:mr", "MR-p")) == []


def test_patient_who_comes_back_after_erasure_gets_a_new_key(vault: Vault) -> None:
    seal_one(vault, 1, patient("p", "甲"))
    vault.erase("p")
    seal_one(vault, 2, patient("p", "甲", mode="ensure"), observation("o", "p"))
    assert vault.records.open("Patient", "p")["name"] == [{"text": "甲"}]
    with pytest.raises(Erased):
        vault.records.open("Patient", "p", 1)
    (found,) = vault.records.find(patient="p", resource_type="Patient")
    assert (found.version, found.erased) == (2, False)
    assert vault.erase("p").records == 2


def test_message_about_two_patients_is_unreadable_once_either_is_erased(vault: Vault) -> None:
    batch = seal_one(vault, 1, patient("p"), patient("q"))
    assert [one.raw for one in vault.batches.records(batch)] == [raw(1)]
    vault.erase("q")
    assert list(vault.batches.records(batch)) == []


def test_two_institutions_share_no_token_or_rid(vault: Vault, mongo: Any, database: Db, tmp_path: Any) -> None:
    from vault.keystore import FileKeystore

    other = Vault(mongo[database.name + "w"], FileKeystore.create(tmp_path / "w", b"pw"), "hospital-west", bytes(32))
    try:
        assert other.records.rid("Patient", "p") != vault.records.rid("Patient", "p")
        assert other._index.owner("p") != vault._index.owner("p")
    finally:
        mongo.drop_database(database.name + "w")


def test_summary_counts_what_people_ask_for(vault: Vault) -> None:
    vault.landing.put_many([raw(1), raw(2), raw(1)])
    run(vault, "east-his", lambda one: [patient("p"), observation(one.native_id, "p")])
    summary = vault.summary()
    assert (summary.received, summary.duplicates, summary.versions, summary.waiting) == (3, 1, 3, 3)
    assert summary.resources == {"Observation": 2, "Patient": 1}
    assert summary.quarantined == {} == summary.submissions
