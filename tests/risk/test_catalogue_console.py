"""`xinglin catalogue`: an institution publishes, another reads, on a terminal of 80 columns."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from catalogue_world import HAEMOGLOBIN, NAME, observation, patient, seal
from console_run import run_here
from founded import opened_site

from console.region.founding import found
from schemas.home import Home

EAST, WEST = "hospital-east", "hospital-west"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[dict[str, str]]:
    """A region in which one hospital has forty patients."""
    folder = tmp_path_factory.mktemp("home")
    given = {"XINGLIN_HOME": str(folder), "MONGODB_URI": mongo_uri}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in given.items():
            patched.setenv(name, value)
        home = Home(folder)
        found(home)
        with opened_site(home) as at:
            vault = at.vault(EAST)
            seal(vault, *(patient(n) for n in range(40)))
            seal(vault, *(observation(n, n, f"202{n % 2 + 4}-05-01", HAEMOGLOBIN) for n in range(40)))
            yield given


@pytest.mark.mongo
def test_what_one_institution_publishes_is_shown_to_all(environment: dict[str, str]) -> None:
    nothing = run_here("catalogue", **environment)
    assert nothing.code == 0
    assert "no institution has published a catalogue" in nothing.output.decode()
    done = run_here("catalogue", "publish", EAST, **environment)
    assert (done.code, done.output.decode()[: len(EAST) + 29]) == (0, f"{EAST}: published with 1 codes, SM3")

    shown = run_here("catalogue", **environment)
    text = shown.output.decode()
    assert shown.code == 0
    assert max(map(len, text.splitlines())) <= 100
    assert "Observation 2024 to 2025" in text
    assert "718-7" in text and "LOINC" in text and "Hemoglobin" in text
    assert NAME not in text

    (told,) = json.loads(run_here("catalogue", "--json", **environment).output)
    assert (told["institution"], told["patients"]) == (EAST, 40)
    assert json.loads(run_here("catalogue", "--institution", WEST, "--json", **environment).output) == []
    codes = run_here("catalogue", "--codes", "hemo", **environment).output.decode()
    assert "718-7" in codes and "Institutions" not in codes
    assert "718-7" not in run_here("catalogue", "--codes", "glucose", **environment).output.decode()
    assert (
        "Observation" not in run_here("catalogue", "--type", "Patient", **environment).output.decode().split("Views")[0]
    )


@pytest.mark.mongo
def test_publishing_again_leaves_one_catalogue(environment: dict[str, str]) -> None:
    for _ in range(2):
        (done,) = json.loads(run_here("catalogue", "publish", EAST, "--json", **environment).output)
        assert done["codes"] == 1
    assert len(json.loads(run_here("catalogue", "--json", **environment).output)) == 1


@pytest.mark.mongo
def test_the_data_dictionary_of_a_view_is_shown_and_an_unknown_one_refused(environment: dict[str, str]) -> None:
    run_here("catalogue", "publish", EAST, **environment)
    (told,) = json.loads(run_here("catalogue", "--json", **environment).output)
    for one in told["views"]:
        shown = run_here("catalogue", "--view", one["name"], **environment).output.decode()
        assert all(column["name"] in shown for column in one["columns"])
    done = run_here("catalogue", "--view", "none", **environment)
    assert (done.code, "no view 'none' is published" in done.told) == (1, True)


@pytest.mark.mongo
def test_an_institution_that_is_none_is_refused(environment: dict[str, str]) -> None:
    for arguments in (("--institution", "nowhere"), ("publish", "nowhere")):
        done = run_here("catalogue", *arguments, **environment)
        assert done.code == 1
        assert "nowhere" in done.told
