"""`xinglin coverage` counts the inventory it is given and says what is left out, open, or not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console.main import app

HEADING = [["HL7 v2"], ["Sort"]]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory of three rows with a target: one covered, one left out, one that nobody decided."""
    (tmp_path / "segments").mkdir()
    for name, lines in {
        "PID[Patient]_-_PID": [("PID-7", "birthDate"), ("PID-98", "photo")],
        "MSA[MessageHeader]_-_Sheet1": [("MSA-1", "response.code")],
    }.items():
        with (tmp_path / "segments" / f"HL7_Segment_-_FHIR_R4__{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([*HEADING, *(["1", field, *[""] * 7, to] for field, to in lines)])
    return tmp_path


def test_the_table_counts_by_segment_and_names_what_is_left(inventory: Path) -> None:
    done = CliRunner().invoke(app, ["coverage", "--inventory", str(inventory)])
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["PID", "2", "1", "0", "1", "50.0%"] in lines
    assert ["MSA", "1", "0", "1", "0", "0.0%"] in lines
    assert ["all", "3", "1", "1", "1", "33.3%"] in lines
    assert "PID[Patient] PID-98, 1 rows" in done.stdout
    assert "There is no MessageHeader" in done.stdout


def test_json_holds_every_row(inventory: Path) -> None:
    done = CliRunner().invoke(app, ["coverage", "--inventory", str(inventory), "--segment", "pid", "--json"])
    told = json.loads(done.stdout)
    assert (told["rows"], told["covered"], told["open"], told["share"]) == (2, 1, 1, 0.5)
    assert {(one["field"], one["answer"]) for one in told["targets"]} == {("PID-7", "covered"), ("PID-98", "open")}


def test_without_an_inventory_it_says_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XINGLIN_CORPORA", raising=False)
    done = CliRunner().invoke(app, ["coverage"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--inventory" in done.stderr
    done = CliRunner().invoke(app, ["coverage", "--inventory", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (3, "")
    assert "no sheets" in done.stderr


def test_an_unknown_segment_is_refused(inventory: Path) -> None:
    done = CliRunner().invoke(app, ["coverage", "--inventory", str(inventory), "--segment", "QQQ"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no segment QQQ" in done.stderr


@pytest.mark.conformance
def test_hl7s_own_inventory_is_found_in_the_corpora(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_CORPORA", str(corpora))
    told = json.loads(CliRunner().invoke(app, ["coverage", "--json"]).stdout)
    assert told["rows"] == 1010
    assert told["share"] >= 0.9
