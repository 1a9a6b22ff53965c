"""Nothing that nobody listed leaves: marks in every element of every type, Microsoft's cases, whole types."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from deid_planted import KINDS, Planter
from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.deidentify import Deidentifier, load_profile, profile_names
from sharing.deidentify.definitions import resource_types
from sharing.deidentify.tables import tables

SECRET = bytes(range(32))
PROFILES = profile_names()
TYPES = sorted(load_profile("gbt-37964").rules["types"])
#: Types that the demo's region seals, and those of claims and drugs; Endpoint stays behind as a whole.
REGION = {
    "Account", "AllergyIntolerance", "ChargeItem", "Composition", "Condition", "Coverage", "Device",
    "DiagnosticReport", "Encounter", "ImagingStudy", "Immunization", "Invoice", "Location", "Media",
    "MedicationRequest", "MedicationStatement", "Observation", "Organization", "Patient", "Practitioner",
    "PractitionerRole", "Procedure", "Provenance", "RelatedPerson", "ServiceRequest", "DocumentReference",
    "Specimen", "MedicationAdministration", "MedicationDispense", "Claim", "ExplanationOfBenefit",
}  # fmt: skip
SYSTEMS = ("http://loinc.org", "http://snomed.info/sct", "urn:xinglin:hospital-east:codes:lab-item", "urn:made:up")


def deidentifier(profile: str) -> Deidentifier:
    return Deidentifier(load_profile(profile), SECRET)


def texts(value: Any) -> Iterator[str]:
    """Every text and every name of an element in a value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield str(value)


def test_every_type_that_the_region_seals_is_listed_and_endpoint_is_refused_with_a_reason() -> None:
    assert set(TYPES) >= REGION
    assert "Endpoint" in load_profile("gbt-37964").rules["never"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_mark_planted_in_any_element_of_any_type_leaves(kind: str) -> None:
    for number, type_ in enumerate(TYPES):
        planter = Planter(kind, SYSTEMS[number % len(SYSTEMS)])
        body = planter.resource(type_)
        assert len(planter.found("\n".join(texts(body)))) > 50, "the search finds what was planted"
        for profile in PROFILES:
            one = deidentifier(profile)
            whole = "\n".join(texts(one.resource(body, b"person")))
            assert planter.found(whole) == [], (profile, type_)
            decoded = "\n".join(_decoded(whole))
            assert planter.found(decoded) == [], (profile, type_)
            told = "\n".join([*one.report.sentences(), orjson.dumps(one.report.as_dict()).decode()])
            assert planter.found(told) == [], (profile, type_)


def _decoded(text: str) -> Iterator[str]:
    """What stands in a text in base64."""
    for word in text.split("\n"):
        try:
            yield base64.b64decode(word, validate=True).decode()
        except ValueError:
            continue


@pytest.mark.parametrize("profile", PROFILES)
def test_a_type_that_nobody_listed_stays_behind_as_a_whole(profile: str) -> None:
    unlisted = sorted(resource_types() - set(TYPES))
    assert len(unlisted) > 100
    one = deidentifier(profile)
    for type_ in unlisted:
        assert one.resource({"resourceType": type_, "id": "1", "status": "active"}, b"person") is None
    applied = {type_: {"type": 1} for type_ in unlisted}
    assert one.report.as_dict() == {"taken": len(unlisted), "left": 0, "applied": applied}


@pytest.mark.parametrize("strange", [None, 1, "张三", ["Patient"], {"a": 1}])
def test_what_is_no_resource_stays_behind_and_its_name_is_not_repeated(strange: Any) -> None:
    one = deidentifier("gbt-37964")
    assert one.resource({"resourceType": strange, "id": "1"}, b"person") is None
    assert one.report.as_dict()["applied"] == {"(not FHIR)": {"type": 1}}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "x", [], {}, [[]], [{}], {"x": [None]}, [None, "x", {"y": {}}]])
def test_parts_of_any_wrong_shape_are_dropped_and_nothing_is_raised(value: Any, profile: str) -> None:
    from sharing.deidentify.definitions import elements

    one = deidentifier(profile)
    for type_ in TYPES:
        names = [name for name in elements(type_) if name not in ("implicitRules", "modifierExtension")]
        whole = one.resource({"resourceType": type_, "id": "1", **dict.fromkeys(names, value)}, b"person")
        assert whole is not None
        assert "x" not in set(_values(whole))
        for name in names:
            one.resource({"resourceType": type_, name: value}, b"person")


@pytest.mark.parametrize("element", [{"modifierExtension": [{"url": "urn:not"}]}, {"implicitRules": "urn:rules"}])
def test_a_modifier_that_nobody_knows_keeps_the_resource_behind(element: dict[str, Any]) -> None:
    one = deidentifier("gbt-37964")
    assert (
        one.resource({"resourceType": "Condition", "id": "1", "subject": {"reference": "Patient/1"}, **element}, b"p")
        is None
    )
    assert one.report.as_dict()["applied"] == {"Condition": {"modifier": 1}}


def test_a_modifier_inside_keeps_only_the_part_behind() -> None:
    body = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "component": [
            {"modifierExtension": [{"url": "urn:not"}], "code": {}, "valueQuantity": {"value": 1}},
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "valueQuantity": {"value": 120}},
        ],
    }
    found = deidentifier("gbt-37964").resource(body, b"person")
    assert found is not None
    assert [one["valueQuantity"]["value"] for one in found["component"]] == [120]


# Microsoft's anonymiser (corpora/deid/ms): input, and what its own rules make of it. What it redacts must not leave.
# Ours keeps less: names, lines, telephones and texts always go. Ours keeps what stands in closed lists (codes of
# HL7, LOINC, SNOMED CT with their systems), which some of Microsoft's configurations redact because they redact all.


def cases() -> list[str]:
    import os

    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("XINGLIN_CORPORA", root.parent / "shared" / "corpora")) / "deid" / "ms" / "cases"
    return sorted(path.name.removesuffix(".input.json") for path in folder.glob("*.input.json"))


def _load(path: Path) -> Any:
    return orjson.loads(path.read_text(encoding="utf-8-sig"))


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)
    else:
        yield str(value)


def _closed() -> set[str]:
    """Every code, display and system of the closed lists."""
    listed = tables().closed
    return {word for (system, code), display in listed.items() for word in (system, code, display)}


@pytest.mark.conformance
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("case", cases())
def test_nothing_that_microsofts_anonymiser_redacts_leaves(case: str, profile: str, corpora: Path) -> None:
    folder = corpora / "deid" / "ms" / "cases"
    given, target = _load(folder / f"{case}.input.json"), _load(folder / f"{case}-target.json")
    one = deidentifier(profile)
    found = (
        one.bundle(given, lambda _: b"person") if given["resourceType"] == "Bundle" else one.resource(given, b"person")
    )
    redacted = set(_values(given)) - set(_values(target))
    survivors = redacted & set(_values(found))
    coded = {text for text in survivors if text in _closed() or _is_code(text)}
    assert survivors - coded == set()


def _is_code(text: str) -> bool:
    return any(tables().display(system, text) is not None for system in ("http://loinc.org", "http://snomed.info/sct"))


@pytest.mark.conformance
@pytest.mark.parametrize("profile", PROFILES)
def test_of_microsofts_patients_no_name_street_telephone_or_full_date_leaves(profile: str, corpora: Path) -> None:
    seen = 0
    for path in sorted((corpora / "deid" / "ms" / "cases").glob("*.input.json")):
        given = _load(path)
        one = deidentifier(profile)
        found = one.bundle(given, lambda _: b"p") if given["resourceType"] == "Bundle" else one.resource(given, b"p")
        told = set(_values(found))
        for name, text in _named(given):
            seen += 1
            assert text not in told, (path.name, name)
    assert seen > 150


def _named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Texts of the input that name, reach or place somebody, by the element they stand in."""
    personal = {"family", "given", "line", "div", "display", "value", "birthDate", "postalCode", "id", "reference"}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _named(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, name)
    elif name in personal and isinstance(value, str) and len(value) > 3 and value not in _closed():
        yield name, value


def test_what_is_nested_without_end_stays_behind_and_nothing_is_raised() -> None:
    section: dict[str, Any] = {"entry": [{"reference": "Observation/1"}]}
    bundle: dict[str, Any] = {"resourceType": "Bundle", "entry": []}
    for _ in range(400):
        section = {"section": [section]}
        bundle = {"resourceType": "Bundle", "entry": [{"resource": bundle}]}
    one = deidentifier("gbt-37964")
    assert one.resource({"resourceType": "Composition", "section": [section]}, b"person") is None
    assert one.report.as_dict()["applied"]["Composition"] == {"shape": 1}
    assert one.bundle(bundle, lambda _: b"person")["resourceType"] == "Bundle"
    assert one.resource({"resourceType": "Patient", "id": "1"}, b"person") is not None


NAMES = st.sampled_from(
    [
        "resourceType", "id", "meta", "contained", "extension", "modifierExtension", "url", "code", "coding",
        "system", "value", "valueString", "valueQuantity", "unit", "subject", "reference", "identifier", "display",
        "type", "text", "status", "component", "section", "entry", "item", "_status", "link", "address", "state",
        "birthDate", "period", "start", "end", "name",
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.just("欧阳喆") | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(TYPES), st.dictionaries(NAMES, JSON, max_size=8))
def test_no_json_raises_anything_and_no_name_in_it_leaves(type_: str, body: dict[str, Any]) -> None:
    one = deidentifier("gbt-37964")
    bundle = {"entry": [{"fullUrl": body.get("url"), "resource": {**body, "resourceType": type_}}, body]}
    for found in (one.resource({**body, "resourceType": type_}, b"p"), one.bundle(bundle, lambda _: b"p")):
        assert "欧阳喆" not in "\n".join(texts(found))
        orjson.dumps(found)
    assert "欧阳" not in repr(one.report.as_dict())
