"""What FHIR asks beyond structure: each rule is met by what keeps it and refuses what breaks it, and says where."""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import Gate
from quality.fhir_tables import FOLDER
from quality.fhirpath import Scene, compile_tree, reads
from quality.fhirpath_functions import truth
from quality.invariants import check_invariants
from quality.narrative import check_narrative
from quality.structure import check_structure
from schemas.errors import ExpressionError
from schemas.fhirpath import parse
from schemas.reasons import REASONS
from schemas.records import Normalised, Resource

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'
TWICE = {"fullUrl": "urn:x:1", "request": {"method": "GET", "url": "x"}}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
    "subject": {"reference": "Patient/p1"},
    "valueQuantity": {"value": 36.5, "unit": "Cel", "system": "http://unitsofmeasure.org", "code": "Cel"},
}


ROOT = Path(__file__).parents[2]


def observation(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(OBSERVATION), **changed}


BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("obs-6", observation(dataAbsentReason={"text": "unknown"}), "fhir_invariant", "Observation"),
    (
        "obs-7",
        observation(component=[{"code": OBSERVATION["code"], "valueString": "x"}]),
        "fhir_invariant",
        "Observation",
    ),
    ("obs-3", observation(referenceRange=[{"age": {"low": {"value": 1}}}]), "fhir_invariant", ".referenceRange[0]"),
    ("qty-3", observation(valueQuantity={"value": 1, "code": "Cel"}), "fhir_invariant", ".valueQuantity"),
    (
        "per-1",
        observation(effectivePeriod={"start": "2026-02-01", "end": "2026-01-01"}),
        "fhir_invariant",
        ".effectivePeriod",
    ),
    ("ref-1", observation(device={"reference": "#nowhere"}), "fhir_invariant", "Observation.device"),
    (
        "dom-3",
        observation(contained=[{"resourceType": "Patient", "id": "c"}]),
        "fhir_invariant",
        "Observation",
    ),
    ("ext-1", observation(extension=[{"url": "urn:x"}]), "fhir_invariant", ".extension[0]"),
    (
        "ext-1",
        observation(_status={"extension": [{"url": "urn:x", "valueCode": "a", "extension": []}]}),
        "fhir_invariant",
        "._status.extension[0]",
    ),
    ("reference", observation(subject={"reference": "Practitioner/a"}), "fhir_reference", ".subject"),
    (
        "reference",
        observation(
            contained=[{"resourceType": "Medication", "id": "m"}], subject={"reference": "#m"}
        ),
        "fhir_reference",
        ".subject",
    ),
    (
        "reference",
        observation(subject={"reference": "Patient/a", "type": "Group"}),
        "fhir_reference",
        ".subject",
    ),
    (
        "condition-clinical",
        {
            "resourceType": "Condition",
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/x", "code": "active"}]},
            "subject": {"reference": "Patient/a"},
        },
        "fhir_terminology",
        "Condition.clinicalStatus",
    ),
    ("coding-system", observation(code={"coding": [{"system": "LN", "code": "1"}]}), "fhir_invariant", ".coding[0]"),
    (
        "txt-1",
        observation(text={"status": "generated", "div": DIV.format("<script>x()</script>")}),
        "fhir_narrative",
        ".text.div",
    ),
    (
        "pat-1",
        {"resourceType": "Patient", "contact": [{"gender": "male"}]},
        "fhir_invariant",
        "Patient.contact[0]",
    ),
    (
        "rng-2",
        observation(referenceRange=[{"text": "x", "age": {"low": {"value": 9}, "high": {"value": 3}}}]),
        "fhir_invariant",
        ".referenceRange[0].age",
    ),
    (
        "bdl-7",
        {"resourceType": "Bundle", "type": "batch", "entry": [TWICE, TWICE]},
        "fhir_invariant",
        "Bundle",
    ),
    (
        "bundle-address",
        {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": "Patient/1", "resource": OBSERVATION}]},
        "fhir_invariant",
        "Bundle.entry[0]",
    ),
    (
        "obs-6",
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": observation(dataAbsentReason={"text": "unknown"})}],
        },
        "fhir_invariant",
        "Bundle.entry[0].resource",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "body", "code", "where"), BROKEN, ids=[f"{one[0]}-{i}" for i, one in enumerate(BROKEN)]
)
def test_broken_rule_is_refused_by_its_name_where_it_is_broken_and_nothing_is_changed(
    key: str, body: dict[str, Any], code: str, where: str
) -> None:
    before = copy.deepcopy(body)
    refusal = check_invariants(body)
    assert refusal is not None
    assert refusal.code == code
    assert refusal.message.startswith(f"{key}: ")
    assert refusal.where.endswith(where)
    assert refusal.code in REASONS
    assert body == before


def test_resource_that_keeps_every_rule_is_accepted() -> None:
    body = observation(
        contained=[{"resourceType": "Practitioner", "id": "d", "name": [{"text": "王"}]}],
        performer=[{"reference": "#d"}],
        text={"status": "generated", "div": DIV.format("<p><b>体温</b> 36.5 &#8451;</p>")},
        effectivePeriod={"start": "2026-01", "end": "2026-01-05"},
        referenceRange=[{"low": {"value": 36}, "high": {"value": 37.3}}],
    )
    assert check_structure(body) is None
    assert check_invariants(body) is None


def test_dates_of_different_exactness_are_only_refused_where_all_of_one_lies_behind_the_other() -> None:
    for start, end, right in (
        ("2026-05", "2026", True),
        ("2026", "2026-05", True),
        ("2026-05-03", "2026-04", False),
        ("2026-05-02T10:00:00+08:00", "2026-05-02T01:00:00Z", False),
        ("2026-05-02T10:00:00+08:00", "2026-05-02T02:00:00Z", True),
    ):
        found = check_invariants(observation(effectivePeriod={"start": start, "end": end}))
        assert (found is None) is right, (start, end)


@pytest.mark.parametrize(
    ("inside", "allowed"),
    [
        ("<p>文字</p>", True),
        ('<img src="data:image/png;base64,AA=="/>', True),
        ('<a href="https://example.org/">x</a>', True),
        ('<a href="#top">x</a>', True),
        ('<a href="javascript:alert(1)">x</a>', False),
        ('<a href="java\nscript:alert(1)">x</a>', False),
        ('<p onclick="x()">x</p>', False),
        ("<form>x</form>", False),
        ("<iframe src='x'/>", False),
        ("   ", False),
        ("<p>", False),
        ("&nbsp;x", False),
        ("<p>" * 250 + "x" + "</p>" * 250, False),
    ],
)
def test_narrative_holds_formatting_only(inside: str, allowed: bool) -> None:
    assert (check_narrative(DIV.format(inside)) is None) is allowed


def test_entities_of_a_narrative_are_never_expanded() -> None:
    bomb = '<!DOCTYPE div [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;">]>' + DIV.format("&b;")
    assert check_narrative(bomb) == "no document type may stand in it"


def test_every_invariant_of_the_tables_compiles_and_is_kept_by_nothing_at_all() -> None:
    for name in ("invariants.csv", "invariants_own.csv"):
        with (FOLDER / name).open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row["key"] in {"ctm-1", "txt-1", "txt-2"}:
                    continue
                run = compile_tree(parse(row["expression"]))
                assert isinstance(run([{}], Scene({}, {})), list), row["key"]


def test_rule_is_skipped_only_where_no_element_that_it_reads_stands() -> None:
    """A rule that is gated by names gives, for a node without them, what it gives for an empty one."""
    with (FOLDER / "invariants.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            tree = parse(row["expression"])
            if row["key"] in {"ctm-1", "txt-1", "txt-2"} or (names := reads(tree)) is None:
                continue
            run, other = compile_tree(tree), {"zzz": "x", "id": "1"}
            if names.isdisjoint(other):
                assert truth(run([other], Scene({}, {}))) == truth(run([{}], Scene({}, {}))), row["key"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("name.given.count()", [3]),
        ("name.where(use = 'official').given.first()", ["大"]),
        ("birthDate.hasValue()", [False]),
        ("birthDate.exists()", [True]),
        ("deceased is Boolean", [True]),
        ("(1 | 2 | 2).count()", [2]),
        ("name.given contains '大'", [True]),
        ("'a' & 'b'", ["ab"]),
        ("gender = 'male' implies name.exists()", [True]),
        ("gender = 'x' or unknown = 1", []),
        ("true and unknown.exists().not()", [True]),
        ("name.given.isDistinct()", [True]),
        ("name.select(given & 'x')", ["大x", "三x"]),
        ("iif(gender = 'male', 1, 2)", [1]),
        ("name.all(given.exists())", [True]),
        ("1 <= 2 and 2 > 1", [True]),
    ],
)
def test_fhirpath_gives_what_its_specification_says(expression: str, value: list[Any]) -> None:
    body = {
        "resourceType": "Patient",
        "gender": "male",
        "deceasedBoolean": False,
        "_birthDate": {"extension": [{"url": "urn:x", "valueString": "unknown"}]},
        "name": [{"use": "official", "given": ["大", "二"]}, {"given": ["三"]}],
    }
    assert compile_tree(parse(expression))([body], Scene(body, body)) == value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "character 1: expected a value, an element or a function, found the end"),
        ("a.", "character 3: expected the name of an element or function, found the end"),
        ("a..b", "character 3: expected the name"),
        ("a b", "character 3: expected an operator or the end, found 'b'"),
        ("(a", "character 3: expected ')', found the end"),
        (")", "character 1: expected a value"),
        ("'a", "character 1: nothing of FHIRPath begins with"),
        ("a.unknown()", "character 3: unknown() is not known here"),
        ("%nothing", "character 1: %nothing is not known here"),
        ("a ~ b", "character 3: the operator ~ is not known here"),
        ("a = 2 * 3", "character 7: the operator * is not known here"),
        ("a[0]", "character 2: [] is not known here"),
        ("a.exists({})", "character 10: {} is not known here"),
        ("a.select($index)", "character 10: $index is not known here"),
        ("a > -1", "character 5: a sign before a value is not known here"),
        ("a > " + "9" * 5000, "character 5: a number has at most 100 digits"),
        ("a > @2026-01-01", "character 5: a date is not known here"),
        ("a > @T12", "character 5: a time is not known here"),
    ],
)
def test_expression_that_is_wrong_or_not_here_is_refused_with_its_character(expression: str, said: str) -> None:
    with pytest.raises(ExpressionError, match="^" + re.escape(said)):
        compile_tree(parse(expression))


NAMES = st.sampled_from(["url", "value", "reference", "coding", "contained", "id", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_whatever_passes_structure_is_judged_without_a_fault_of_ours(value: Any) -> None:
    body = observation(extension=[{"url": "urn:x", "valueString": "a"}], note=value)
    if check_structure(body) is None:
        check_invariants(body)


def test_every_least_resource_of_a_deletion_is_valid_by_structure_and_invariants() -> None:
    bodies: dict[str, dict[str, Any]] = {}
    for name in ("deleted.csv", "deleted_own.csv"):
        with (FOLDER / name).open(encoding="utf-8") as stream:
            bodies |= {row["type"]: {**json.loads(row["body"]), "id": "x"} for row in csv.DictReader(stream)}
    assert len(bodies) > 60
    for type_, body in bodies.items():
        assert check_structure(body) is None, type_
        assert check_invariants(body) is None, type_


def test_gate_asks_for_invariants_only_where_the_suite_says_so() -> None:
    broken = observation(dataAbsentReason={"text": "unknown"})
    record = Normalised((Resource(broken, "Observation", "p1"),))
    assert [one.code for one in Gate("fhir").check([record]).refusals[0]] == ["fhir_invariant"]
    assert not any(one.code == "fhir_invariant" for one in Gate("hl7v2").check([record]).refusals[0])


def test_of_several_broken_rules_the_same_is_told_under_every_hash_seed() -> None:
    body = {
        "resourceType": "Patient",
        "contact": [{"gender": "female"}],  # pat-1
        "identifier": [{"period": {"start": "2026-02-01", "end": "2026-01-01"}}],  # per-1
        "name": [{"period": {"start": "2026-02-01", "end": "2026-01-01"}}],
        "telecom": [{"value": "1"}],  # cpt-2
    }
    program = (
        "import json, sys\nfrom quality.invariants import check_invariants\n"
        "print(check_invariants(json.loads(sys.argv[1])))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program, json.dumps(body)], capture_output=True, check=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "2", "3")
    }  # fmt: skip
    assert len(told) == 1
    assert b"contact" in told.pop()
