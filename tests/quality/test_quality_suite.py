"""Suite files: good ones are read whole, bad ones are refused with file, rule and key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from quality import Gate, SuiteError
from quality.suite import SUITES, load_suite
from schemas.errors import ConfigurationError
from schemas.records import Normalised, Resource

GOOD: dict[str, Any] = {
    "title": "A small suite",
    "tables": {"Patient": {"gender": {"path": "gender"}}},
    "rules": [
        {
            "id": "gender-known",
            "severity": "refuse",
            "table": "Patient",
            "expect": "expect_column_values_to_be_in_set",
            "with": {"column": "gender", "value_set": ["male", "female"]},
            "where": "PID-8",
            "message": "The sex was expected; send PID-8.",
        }
    ],
}
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "other"}
BATCH = [Normalised((Resource(PATIENT, "PID", "p"),))]


def write(folder: Path, document: Any) -> None:
    (folder / "own.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def with_rule(**change: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    document["rules"][0].update(change)
    return document


def with_columns(columns: dict[str, Any], table: str = "Patient") -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    document["tables"].setdefault(table, {}).update(columns)
    return document


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_suite_of_the_house_can_be_run(path: Path) -> None:
    report = Gate(path.stem).check([])
    assert report.passed == []
    assert report.failed_share == 0


def test_messages_of_the_house_say_what_was_expected_and_what_to_do() -> None:
    for rule in load_suite("hl7v2").rules:
        assert rule.message.endswith("."), rule.id
        assert any(mark in rule.message for mark in (";", "correct")), rule.id


def test_small_suite_judges(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    report = Gate("own", tmp_path).check(BATCH)
    assert [(one.code, one.where) for one in report.refusals[0]] == [("quality:gender-known", "PID-8")]


BAD_WHEN_READ: list[tuple[str, Any, list[str]]] = [
    ("no mapping", ["x"], ["own.yaml"]),
    ("no rules", {**GOOD, "rules": []}, ["own.yaml", "rules"]),
    ("unknown key", {**GOOD, "rulez": []}, ["own.yaml", "rulez"]),
    ("unknown key of a rule", with_rule(wher="PID-8"), ["rules/0", "wher"]),
    ("severity", with_rule(severity="fatal"), ["rules/0/severity", "fatal"]),
    ("unknown table", with_rule(table="Patients"), ["gender-known", "table", "Patients"]),
    ("unknown column", with_rule(**{"with": {"column": "sex"}}), ["gender-known", "with", "sex"]),
    ("unknown column in when", with_rule(when={"sex": ["x"]}), ["gender-known", "when", "sex"]),
    ("unknown column in a pair", with_rule(**{"with": {"column_A": "gender", "column_B": "y"}}), ["with", "'y'"]),
    ("unknown placeholder", with_rule(where="{value}-5"), ["gender-known", "where"]),
    ("broken placeholder", with_rule(where="{segment-5"), ["gender-known", "where"]),
    ("same rule twice", {**GOOD, "rules": GOOD["rules"] * 2}, ["gender-known", "id"]),
    ("no such type", with_columns({"x": {"path": "y"}}, "Patientt"), ["tables/Patientt"]),
    ("a data type", with_columns({"x": {"path": "y"}}, "HumanName"), ["tables/HumanName"]),
    ("no path", with_columns({"x": {"path": "a..b"}}), ["tables/Patient/x/path"]),
    ("path and fact", with_columns({"x": {"path": "a", "fact": "b"}}), ["tables/Patient/x"]),
    ("no such reading", with_columns({"x": {"path": "a", "as": "colour"}}), ["tables/Patient/x/as"]),
    ("no such lookup", with_columns({"x": {"lookup": "l", "key": ["gender"], "part": 0}}), ["x/lookup", "'l'"]),
    ("add to a text", with_columns({"x": {"path": "a", "as": "value", "add": 1}}), ["x/add"]),
    ("path of a record", with_columns({"x": {"path": "a"}}, "Record"), ["tables/Record/x/path"]),
    ("reference of a patient", with_columns({"x": {"reference": "target"}}), ["x/reference"]),
]


@pytest.mark.parametrize(("document", "named"), [pytest.param(*rest, id=name) for name, *rest in BAD_WHEN_READ])
def test_bad_suite_is_refused_when_it_is_read(tmp_path: Path, document: Any, named: list[str]) -> None:
    write(tmp_path, document)
    with pytest.raises(SuiteError) as caught:
        Gate("own", tmp_path)
    assert str(caught.value).startswith("own.yaml: ")
    assert all(part in str(caught.value) for part in named), caught.value


def test_lookup_that_is_too_short_or_keyed_by_no_column_is_refused(tmp_path: Path) -> None:
    for column in ({"lookup": "l", "key": ["gender"], "part": 2}, {"lookup": "l", "key": ["sex"], "part": 0}):
        write(tmp_path, {**with_columns({"x": column}), "lookups": {"l": {"male": [1, 2]}}})
        with pytest.raises(SuiteError, match="tables/Patient/x"):
            Gate("own", tmp_path)


BAD_WHEN_RUN: list[tuple[str, Any, list[str]]] = [
    ("no such expectation", with_rule(expect="expect_nothing"), ["expect", "expect_nothing"]),
    ("judges a table", with_rule(expect="expect_column_max_to_be_between"), ["expect", "rows"]),
    ("unknown argument", with_rule(**{"with": {"column": "gender", "valueset": []}}), ["with", "valueset"]),
    ("argument missing", with_rule(**{"with": {"column": "gender"}}), ["with", "value_set"]),
]


@pytest.mark.parametrize(("document", "named"), [pytest.param(*rest, id=name) for name, *rest in BAD_WHEN_RUN])
def test_rule_that_great_expectations_refuses_is_named(tmp_path: Path, document: Any, named: list[str]) -> None:
    write(tmp_path, document)
    with pytest.raises(SuiteError) as caught:
        Gate("own", tmp_path).check(BATCH)
    assert str(caught.value).startswith("own.yaml: rule gender-known: ")
    assert all(part in str(caught.value) for part in named), caught.value


def test_rule_that_cannot_be_computed_is_an_error_never_a_pass(tmp_path: Path) -> None:
    write(
        tmp_path,
        with_rule(expect="expect_column_values_to_be_between", **{"with": {"column": "gender", "max_value": 3}}),
    )
    with pytest.raises(SuiteError, match=r"own\.yaml: rule gender-known: with"):
        Gate("own", tmp_path).check(BATCH)


@pytest.mark.parametrize("name", ["", "../hl7v2", "HL7", "a/b", "a.b", "none"])
def test_name_that_is_no_suite_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Gate(name)
