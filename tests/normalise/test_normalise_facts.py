"""Our bundles against another converter's, fact by fact: the aims hold, and no rule for a deviation hides a loss."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def facts() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("hl7v2_facts")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def rules(facts: ModuleType) -> list[Any]:
    found: list[Any] = facts.read_rules(facts.RULES)
    return found


@pytest.fixture(scope="module")
def compared(facts: ModuleType, rules: list[Any], corpora: Path) -> list[Any]:
    paths = sorted((corpora / "hl7v2" / "ms").glob("*.expected.json"))
    return [facts.compare(path.with_name(path.name.replace(".expected.json", ".hl7")), rules) for path in paths]


@pytest.mark.conformance
def test_recall_and_precision_reach_their_aims_for_every_type_of_message(
    facts: ModuleType, compared: list[Any]
) -> None:
    assert [one.message for one in compared if one.refused] == []
    for type_ in {facts.message_type(one.message) for one in compared}:
        found = facts.figures([one for one in compared if facts.message_type(one.message) == type_])
        assert found["recall"] >= facts.RECALL, (type_, found)
        assert found["precision"] >= facts.PRECISION, (type_, found)
    whole = facts.figures(compared)
    assert whole["both"] > 17_000
    assert whole["recall_of_all"] > 0.75


@pytest.mark.conformance
def test_what_deviates_on_purpose_is_said_elsewhere_but_for_what_carries_the_message(compared: list[Any]) -> None:
    """Of the facts that a message holds, a rule may take out few that our bundle nowhere says."""
    dropped = Counter(fact.type for one in compared for fact in one.dropped)
    carrying = sum(dropped.pop(type_, 0) for type_ in ("MessageHeader", "Carrier", "Assigner"))
    assert carrying > 0
    both = sum(len(one.both) for one in compared)
    assert dropped.total() < both / 100, dropped


@pytest.mark.conformance
def test_every_rule_is_needed_and_has_a_reason(rules: list[Any], compared: list[Any]) -> None:
    used = {id(rule) for one in compared for rule in (*one.missing_on_purpose.values(), *one.extra_on_purpose.values())}
    assert [rule for rule in rules if id(rule) not in used] == []
    assert min(len(rule.reason) for rule in rules) > 15


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"resourceType": "Patient", "birthDate": "2000-01-02"}, {("birthDate", "Patient", "birthDate", "2000-01-02")}),
        ({"resourceType": "Patient", "gender": "male"}, {("gender", "Patient", "gender", "male")}),
        (
            {"resourceType": "Patient", "identifier": [{"value": "7", "system": "urn:x"}]},
            {("identifier", "Patient", "identifier", "7")},
        ),
        (
            {"resourceType": "Patient", "name": [{"family": "Li", "given": ["Ming"]}]},
            {("name", "Patient", "name.family", "Li"), ("name", "Patient", "name.given", "Ming")},
        ),
        (
            {"resourceType": "Observation", "valueQuantity": {"value": 4.70, "unit": "mmol/L"}},
            {("value", "Observation", "valueQuantity", "4.7 mmol/L")},
        ),
        (
            {"resourceType": "Encounter", "period": {"start": "2026-01-01T08:00:00+08:00"}},
            {("date", "Encounter", "period.start", "2026-01-01T00:00:00+00:00")},
        ),
        (
            {"resourceType": "Condition", "code": {"coding": [{"code": "I21", "system": "x", "display": "MI"}]}},
            {("code", "Condition", "code", "I21")},
        ),
    ],
)
def test_a_fact_is_what_is_said_and_not_how_it_is_written(
    facts: ModuleType, resource: dict[str, Any], said: set[tuple[str, str, str, str]]
) -> None:
    assert {tuple(one) for one in facts.Bundle([resource]).facts()} == said


def test_a_reference_is_known_by_what_it_points_at(facts: ModuleType) -> None:
    doctor = {"resourceType": "Practitioner", "id": "a", "identifier": [{"value": "D1"}]}
    role = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/a"}}
    visit = {"resourceType": "Encounter", "participant": [{"individual": {"reference": "PractitionerRole/r"}}]}
    found = facts.Bundle([doctor, role, visit]).facts()
    assert ("reference", "Encounter", "participant.individual", "Practitioner D1") in {tuple(one) for one in found}
