"""The shipped views compile without a doubt, fit what a region holds, and join after de-identification."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sharing.deidentify import Deidentifier, load_profile
from sharing.views import View, compile_view, dictionary, library
from sharing.views.library import FOLDER

NAMES = sorted(library())
#: Columns that nothing of the demonstration fills: what they need is rare, not wrong.
UNFILLED = {
    "conditions": {"snomed", "local_code"},
    "diagnostic_reports": {"conclusion"},
    "encounters": {"discharge"},
    "imaging_series": {"encounter", "procedure", "body_site", "laterality"},
    "medication_statements": {"encounter", "atc", "medication", "ended", "route"},
    "patients": {"deceased_date"},
    "prescriptions": {"atc", "medication", "route", "times", "period", "period_unit", "ended"},
    "vital_signs": {"comparator", "local_code"},
    "wearable_measures": {"comparator", "local_code", "value_code"},
}


def people(resources: list[dict[str, Any]], profile: str) -> list[dict[str, Any]]:
    """What may leave of them, each under its own patient."""
    deidentifier = Deidentifier(load_profile(profile), bytes(range(32)))
    kept = (deidentifier.resource(one, b"somebody") for one in resources)
    return [one for one in kept if one is not None]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_view_compiles_without_a_note_and_says_what_every_column_means(name: str) -> None:
    definition = library()[name]
    view = compile_view(definition)

    assert view.notes == ()
    assert view.name == name
    assert definition["title"] and definition["description"]
    for column in view.columns:
        assert column.description.endswith(".") and column.type
        assert column.hierarchy == "" or column.role in ("quasi-identifier", "sensitive")
    keys = [column.name for column in view.columns if column.role == "identifier"]
    assert keys[0] == "id"
    assert "patient" in keys or name == "patients"


@pytest.mark.parametrize("name", NAMES)
def test_shipped_view_is_stored_as_it_is_read(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")

    assert text == json.dumps(library()[name], ensure_ascii=False, indent=2) + "\n"


@pytest.mark.parametrize("profile", ["", "gbt-37964", "hipaa-safe-harbor"])
def test_every_column_is_filled_by_what_the_region_holds(region: list[dict[str, Any]], profile: str) -> None:
    held = people(region, profile) if profile else region
    for name in NAMES:
        if name == "medication_statements":  # only documents tell of them
            continue
        view = compile_view(library()[name])
        batch, _ = view.rows(held)
        empty = {one for one in batch.schema.names if batch.column(one).null_count == batch.num_rows}

        assert batch.num_rows > 0, name
        dropped = {"display", "issued", "study_uid", "ethnic_group"} if profile else set()
        assert empty <= UNFILLED.get(name, set()) | dropped, name


def test_keys_join_the_tables_before_and_after_deidentification(region: list[dict[str, Any]]) -> None:
    for held in (region, people(region, "gbt-37964")):
        tables = {name: compile_view(library()[name]).rows(held)[0].to_pydict() for name in NAMES}
        patients = {one["id"] for one in held if one["resourceType"] == "Patient"}
        encounters = set(tables["encounters"]["id"])

        assert set(tables["patients"]["id"]) <= patients
        for name in NAMES:
            assert set(tables[name].get("patient", ())) - {None} <= patients, name
            assert set(tables[name].get("encounter", ())) - {None} <= encounters, name
        assert set(tables["charges"]["account"]) == set(tables["invoices"]["account"])


def test_no_observation_stands_in_two_tables(region: list[dict[str, Any]]) -> None:
    tables = [
        set(compile_view(library()[name]).rows(region)[0].to_pydict()["id"])
        for name in ("laboratory_results", "vital_signs", "wearable_measures")
    ]

    assert all(tables)
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_both_values_of_a_blood_pressure_are_rows(region: list[dict[str, Any]]) -> None:
    rows = compile_view(library()["vital_signs"]).rows(region)[0].to_pylist()
    panels = {one["id"] for one in region if "component" in one and one["resourceType"] == "Observation"}
    pressures = [(row["id"], row["code"]) for row in rows if row["id"] in panels]

    assert panels
    assert {code for _, code in pressures} == {"8480-6", "8462-4"}
    assert len(pressures) == len(set(pressures)) == 2 * len({id_ for id_, _ in pressures})


def test_dictionary_says_all_that_a_reader_needs_and_is_json() -> None:
    view: View = compile_view(library()["patients"])
    told = dictionary(view)

    assert json.loads(json.dumps(told)) == told
    assert [one["name"] for one in told["columns"]] == view.schema.names
    assert told["columns"][2] == {
        "name": "birth_year",
        "description": "Year of birth; those of the very old are one.",
        "type": "string",
        "arrow": "string",
        "collection": False,
        "role": "quasi-identifier",
        "hierarchy": "date",
        "path": "birthDate.substring(0, 4)",
    }
    assert told["conditions"] == ["active.empty() or active = true"]


def test_views_need_nothing_but_the_base_installation() -> None:
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'pymongo', 'airflow', 'fastapi', 'cedarpy', 'vault', 'ledger'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from sharing.views import compile_view, dictionary, library\n"
        "for body in library().values():\n"
        "    view = compile_view(body)\n"
        "    dictionary(view)\n"
        "    view.rows([{'resourceType': view.resource}])\n"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
