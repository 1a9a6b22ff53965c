"""A real vault, counted for everybody: in tens, of no fewer than ten patients, and subtraction brings nothing back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from catalogue_world import HAEMOGLOBIN, LOINC, NAME, observation, patient, seal
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from sharing.catalogue import counting, describe, refresh
from sharing.catalogue.rounding import FEW, HIDDEN, Cell, tellable, tens, told
from vault.keystore import FileKeystore
from vault.store import Vault


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> FileKeystore:
    return FileKeystore.create(tmp_path_factory.mktemp("keys"), b"a password")


@pytest.fixture
def vault(database: Database[dict[str, Any]], keystore: FileKeystore) -> Vault:
    return Vault(database, keystore, "hospital-east", bytes(range(32)))


@pytest.mark.mongo
def test_types_years_and_codes_are_told_in_tens(vault: Vault) -> None:
    seal(vault, *(patient(n) for n in range(34)))
    seal(vault, *(observation(n, n % 34, f"202{n % 2 + 4}-05-01", HAEMOGLOBIN) for n in range(68)))
    told_of = {one["type"]: one for one in refresh(vault)["types"]}
    assert told_of["Patient"] == {
        "type": "Patient", "records": 30, "patients": 30, "years": [{"years": ["undated"], "records": 30}]
    }  # fmt: skip
    assert told_of["Observation"]["years"] == [
        {"years": ["2024"], "records": 30},
        {"years": ["2025"], "records": 30},
    ]
    assert describe(vault)["codes"] == [
        {"type": "Observation", "system": LOINC, "code": "718-7", "display": "Hemoglobin", "patients": 30,
         "records": 70}
    ]  # fmt: skip
    assert describe(vault)["patients"] == 30


@pytest.mark.mongo
def test_a_code_of_nine_patients_is_not_named_however_many_records_they_have(vault: Vault) -> None:
    seal(vault, *(patient(n) for n in range(9)))
    seal(vault, *(observation(n, n % 9, "2024-05-01", HAEMOGLOBIN) for n in range(90)))
    found = refresh(vault)
    assert found["codes"] == []
    assert found["patients"] == HIDDEN
    assert {one["type"]: one for one in found["types"]}["Observation"] == {
        "type": "Observation", "records": HIDDEN, "patients": HIDDEN
    }  # fmt: skip


@pytest.mark.mongo
def test_own_codes_names_in_place_of_codes_and_displays_of_few_are_not_told(vault: Vault) -> None:
    seal(vault, *(patient(n) for n in range(20)))
    own = ("urn:east:lab", "HB", "Hb")
    strange = (LOINC, NAME, NAME)
    personal = [(LOINC, "2345-7", f"Glucose of {NAME} {n}") for n in range(20)]
    seal(
        vault,
        *(observation(n, n, "2024", own) for n in range(20)),
        *(observation(100 + n, n, "2024", strange) for n in range(20)),
        *(observation(200 + n, n, "2024", personal[n]) for n in range(20)),
    )
    found = refresh(vault)
    assert [(one["code"], one["display"]) for one in found["codes"]] == [("2345-7", "")]
    assert NAME not in str(found)


@pytest.mark.mongo
def test_years_of_few_patients_are_told_together(vault: Vault) -> None:
    seal(vault, *(patient(n) for n in range(60)))
    years = ["2021"] * 30 + ["2022"] * 20 + ["2023"] * 7 + ["1953"] * 3
    seal(vault, *(observation(n, n, year, HAEMOGLOBIN) for n, year in enumerate(years)))
    told_of = {one["type"]: one for one in refresh(vault)["types"]}["Observation"]
    assert told_of["years"] == [
        {"years": ["1953", "2023"], "records": 10},
        {"years": ["2021"], "records": 30},
        {"years": ["2022"], "records": 20},
    ]


@pytest.mark.mongo
def test_what_was_erased_is_counted_no_more(vault: Vault) -> None:
    seal(vault, *(patient(n) for n in range(12)))
    seal(vault, *(observation(n, n, "2024", HAEMOGLOBIN) for n in range(12)))
    assert refresh(vault)["codes"]
    for n in range(3):
        vault.erase(f"p{n}")
    found = refresh(vault)
    assert found["codes"] == []
    assert found["patients"] == HIDDEN


@pytest.mark.mongo
def test_the_last_count_stands_until_somebody_counts_again_and_holds_only_what_was_told(
    vault: Vault, database: Database[dict[str, Any]]
) -> None:
    seal(vault, *(patient(n) for n in range(12)))
    seal(vault, *(observation(n, n, "2024", HAEMOGLOBIN) for n in range(12)))
    first = describe(vault)
    seal(vault, *(patient(100 + n) for n in range(40)))
    assert describe(vault) == first
    assert refresh(vault)["patients"] == 50
    kept = database["catalogue"].find_one()
    assert kept is not None
    assert orjson.loads(kept["told"])["patients"] == 50
    assert NAME not in kept["told"].decode()


@pytest.mark.mongo
def test_a_vault_larger_than_is_opened_is_estimated(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(vault, *(patient(n) for n in range(100)))
    seal(vault, *(observation(n, n % 100, "2024", HAEMOGLOBIN) for n in range(400)))
    monkeypatch.setattr(counting, "MOST_OPENED", 100)
    told_of = {one["type"]: one for one in refresh(vault)["types"]}["Observation"]
    assert told_of["records"] == 400
    assert told_of["estimated"]
    assert told_of["years"] == [{"years": ["2024"], "records": 400}]


@pytest.mark.mongo
def test_an_empty_vault_has_a_catalogue(vault: Vault) -> None:
    found = describe(vault)
    assert (found["patients"], found["types"], found["codes"], found["quality"]) == (0, [], [], [])


def test_ten_is_told_and_nine_is_not() -> None:
    assert [told(n) for n in (0, 1, 9, 10, 14, 15, 25)] == [0, HIDDEN, HIDDEN, 10, 10, 20, 30]
    assert told(5_000, patients=9) == HIDDEN


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sets(st.integers(0, 60), min_size=1), max_size=12))
def test_no_cell_that_is_told_is_of_few_and_no_sum_says_more(parts: list[set[int]]) -> None:
    cells = [Cell((f"{at:02}",), len(one) * 2, {bytes([n]) for n in one}) for at, one in enumerate(parts)]
    found = tellable([replace(one) for one in cells])
    assert sum(one.records for one in found) == sum(one.records for one in cells)
    assert sorted(name for one in found for name in one.names) == [name for one in cells for name in one.names]
    few = [one for one in found if len(one.patients) < FEW]
    assert not few or len(found) == 1


@given(st.integers(0, 10**9))
@settings(derandomize=True)
def test_tens_is_the_nearest_ten(count: int) -> None:
    assert tens(count) % 10 == 0
    assert abs(tens(count) - count) <= 5


def test_the_schema_of_what_is_published_is_one() -> None:
    from jsonschema import Draft202012Validator

    import schemas

    text = (Path(schemas.__file__).parent / "catalogue.schema.json").read_bytes()
    Draft202012Validator.check_schema(orjson.loads(text))
