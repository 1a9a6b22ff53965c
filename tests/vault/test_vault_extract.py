"""Many patients' records at once: who has a code, everything of theirs in order, nothing of who was erased."""

from __future__ import annotations

import pytest
from vault_world import observation, patient, practitioner, seal_one

from vault import extract
from vault.errors import Tampered
from vault.store import Vault

LOINC = "http://loinc.org"


@pytest.fixture
def three(vault: Vault) -> Vault:
    """p and q have a haemoglobin, q and r a glucose."""
    seal_one(vault, 1, patient("p"), observation("o1", "p"), practitioner())
    seal_one(vault, 2, patient("q"), observation("o2", "q"), observation("o3", "q", code="2345-7"))
    seal_one(vault, 3, patient("r"), observation("o4", "r", code="2345-7"))
    return vault


def token(vault: Vault, id_: str) -> bytes:
    return vault.persons.of(id_).survivor


def test_patients_are_found_by_code_and_the_institutions_own_records_are_nobodys(three: Vault) -> None:
    everyone = sorted(token(three, one) for one in "pqr")
    assert three.extract.patients() == everyone
    assert three.extract.with_codes([(LOINC, "718-7")]) == sorted(token(three, one) for one in "pq")
    assert three.extract.with_codes([(LOINC, "718-7"), (LOINC, "2345-7")]) == everyone
    assert three.extract.with_codes([(LOINC, "1-1")]) == [] == three.extract.with_codes([])


def test_records_come_patient_by_patient_and_in_bounded_lists(three: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BATCH", 2)
    lists = list(three.extract.records(three.extract.patients()))
    assert [len(one) for one in lists] == [2, 2, 2, 1]
    opened = [one for some in lists for one in some]
    assert [one.owner for one in opened] == sorted(one.owner for one in opened)
    assert {one.body["id"] for one in opened} == {"p", "q", "r", "o1", "o2", "o3", "o4"}
    of_q = three.extract.records([token(three, "q")], types=["Observation"], codes=[(LOINC, "2345-7")])
    assert [one.body["id"] for some in of_q for one in some] == ["o3"]
    assert list(three.extract.records([], types=["Observation"])) == []


def test_a_newer_version_comes_in_place_of_the_older(three: Vault) -> None:
    seal_one(three, 4, observation("o1", "p", value=9.0))
    [[found]] = three.extract.records([token(three, "p")], types=["Observation"])
    assert (found.version, found.body["valueQuantity"]["value"]) == (2, 9.0)


def test_an_erased_patient_is_nowhere(three: Vault) -> None:
    three.erase("q")
    assert three.extract.patients() == sorted(token(three, one) for one in "pr")
    assert three.extract.with_codes([(LOINC, "718-7")]) == [token(three, "p")]
    assert list(three.extract.records([token(three, "q")])) == []


def test_a_changed_envelope_stops_the_extract_without_naming_the_patient(three: Vault) -> None:
    [[found]] = three.extract.records([token(three, "p")], types=["Observation"])
    changed = three.records.envelope(f"{found.rid.hex()}.1")[:-1] + b"\0"
    three._layout["records"].update_one({"_id": f"{found.rid.hex()}.1"}, {"$set": {"envelope": changed}})
    with pytest.raises(Tampered, match="the tag does not fit") as fault:
        list(three.extract.records(three.extract.patients()))
    assert "718-7" not in str(fault.value)


def test_patients_who_are_one_person_have_one_token(three: Vault) -> None:
    card = {"identifier": [{"system": "urn:east:mr", "value": "MR-p"}]}
    seal_one(three, 5, patient("p2", body={**patient("p2").body, **card}))
    persons = three.extract.persons(three.extract.patients())
    assert persons[token(three, "q")] == token(three, "q")
    members = {persons[one] for one in three.persons.of("p").members}
    assert len(members) == 1
    assert len(three.persons.of("p").members) == 2
