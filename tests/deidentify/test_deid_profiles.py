"""Profiles and rules are data with reasons: checked when read, and a typing mistake is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from quality.definitions import definition
from schemas.documents import check_document
from schemas.errors import ConfigurationError
from sharing.deidentify import Deidentifier, Profile, load_profile, profile_names
from sharing.deidentify.definitions import elements
from sharing.deidentify.tables import HERE, mod10, names_a_person, places, tables, verhoeff

SECRET = bytes(32)


def changed(rules: dict[str, Any] | None = None, **classes: Any) -> Profile:
    """The default profile with other rules or classes."""
    base = load_profile("gbt-37964")
    left = {**base.classes, **{name.replace("_", "-"): one for name, one in classes.items()}}
    return replace(base, classes=left, rules=rules or base.rules, digest=b"changed" + repr((rules, classes)).encode())


def with_rule(type_: str, keep: Any, **more: Any) -> Profile:
    rules = copy.deepcopy(dict(load_profile("gbt-37964").rules))
    rules["types"] = {**rules["types"], type_: {"why": "a test", "keep": keep, **more}}
    return changed(rules)


def test_two_profiles_ship_and_say_where_they_come_from() -> None:
    assert profile_names() == ("gbt-37964", "hipaa-safe-harbor")
    for name in profile_names():
        profile = load_profile(name)
        assert profile.source
        assert all(one["why"] for one in profile.classes.values())
        assert all(rule["why"] for rule in profile.rules["types"].values())
        assert all(why for _, why in profile.reasons())


def test_digests_name_the_profile_and_are_what_its_files_give() -> None:
    digests = {load_profile(name).digest for name in profile_names()}
    assert len(digests) == 2
    assert {len(digest) for digest in digests} == {32}


@pytest.mark.parametrize("name", ["", "none", "../rules", "rules", "systems", "GBT-37964", "gbt-37964.yaml"])
def test_another_name_is_refused_and_the_names_are_said(name: str) -> None:
    with pytest.raises(ConfigurationError, match="gbt-37964, hipaa-safe-harbor ship"):
        load_profile(name)


def test_what_fhir_says_of_our_types_is_what_the_authority_says() -> None:
    """definitions.json is derived from the specification; fhir.resources reads it another way."""
    for type_ in load_profile("gbt-37964").rules["types"]:
        ours = elements(type_)
        for element in definition(type_).elements:
            if element.name in ours:
                assert (ours[element.name].many, ours[element.name].primitive) == (element.many, element.primitive)
        theirs = {element.name for element in definition(type_).elements}
        assert ours.keys() - theirs - {"implicitRules"} == set(), type_


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (["birthday"], "has no element birthday"),
        (["link"], "say what class its BackboneElement is of"),
        ([{"link": ["other"]}], "type must be listed"),
        ([{"gender": ["code"]}], "code has no elements"),
        (["active"], "must be listed: FHIR demands it, or it modifies"),
        ([{"birthDate": "age"}], "class age does not fit"),
        ([{"name": ["use", {"family": "birth"}]}], "class birth does not fit"),
        (["photo", "name"], "say what class its HumanName is of"),
    ],
)
def test_a_mistake_in_a_rule_is_named(keep: Any, says: str) -> None:
    modifiers = ["active", "deceasedBoolean", "deceasedDateTime", {"link": ["other", "type"]}]
    listed = {next(iter(one)) if isinstance(one, dict) else one for one in keep}
    others = [one for one in modifiers if (next(iter(one)) if isinstance(one, dict) else one) not in listed]
    with pytest.raises(ConfigurationError, match=says):
        Deidentifier(with_rule("Patient", keep if says.startswith("must") else [*keep, *others]), SECRET)


def test_a_modifier_may_be_left_out_with_a_reason_only() -> None:
    keep = ["status", "intent", "subject", "code"]
    with pytest.raises(ConfigurationError, match="doNotPerform must be listed"):
        Deidentifier(with_rule("ServiceRequest", keep), SECRET)
    Deidentifier(with_rule("ServiceRequest", keep, left_out={"doNotPerform": "a test"}), SECRET)
    with pytest.raises(ConfigurationError, match="no element doNotDo"):
        Deidentifier(with_rule("ServiceRequest", keep, left_out={"doNotDo": "a test"}), SECRET)


def test_a_rule_changed_in_five_minutes_works() -> None:
    """What docs/deidentification.md says: one line of rules.yaml, or one of the profile."""
    body = {
        "resourceType": "Patient",
        "name": [{"text": "欧阳静"}],
        "birthDate": "1962-03-17",
        "multipleBirthInteger": 2,
    }
    base = load_profile("gbt-37964").rules["types"]["Patient"]["keep"]
    found = Deidentifier(with_rule("Patient", [*base, "multipleBirthInteger"]), SECRET).resource(body, b"p")
    assert found is not None
    assert found["multipleBirthInteger"] == 2
    dropped = Deidentifier(changed(birth={"do": "drop", "why": "a test"}), SECRET).resource(body, b"p")
    assert dropped is not None
    assert "birthDate" not in dropped


@pytest.mark.parametrize("class_", sorted(load_profile("gbt-37964").classes))
def test_every_class_that_may_be_dropped_is_dropped_where_a_profile_says_so(class_: str) -> None:
    profile = changed(**{class_.replace("-", "_"): {"do": "drop", "why": "a test"}})
    body = {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "x"}]},
        "subject": {"reference": "Patient/1"}, "effectiveDateTime": "2026-06-01", "valueQuantity": {"value": 1},
        "identifier": [{"value": "1"}], "valueTime": "08:00:00",
    }  # fmt: skip
    found = Deidentifier(profile, SECRET).resource(body, b"p")
    assert found is not None
    gone = {
        "reference": "subject",
        "date": "effectiveDateTime",
        "quantity": "valueQuantity",
        "identifier": "identifier",
    }
    assert gone.get(class_) not in found
    assert "valueTime" not in found


@pytest.mark.parametrize(
    "change",
    [
        {"classes": {}},
        {"rules": "others"},
        {"more": 1},
        {"name": "张三"},
    ],
)
def test_a_profile_that_breaks_its_schema_is_refused(change: dict[str, Any]) -> None:
    base = load_profile("gbt-37964")
    document = {
        "name": base.name,
        "title": base.title,
        "source": base.source,
        "rules": "rules",
        "classes": dict(base.classes),
    }
    check_document(document, "deidentify/profile", "as it ships")
    with pytest.raises(ConfigurationError):
        check_document({**document, **change}, "deidentify/profile", "changed")


@pytest.mark.parametrize(
    "rule",
    [{"do": "shift", "days": 0, "minutes": 1, "zone": 8, "why": "none"}, {"do": "keep", "why": "none"}, {"do": "year"}],
)
def test_dates_that_would_stay_true_are_refused(rule: dict[str, Any]) -> None:
    base = load_profile("gbt-37964")
    document = {"name": base.name, "title": base.title, "source": base.source, "rules": "rules",
                "classes": {**base.classes, "date": rule}}  # fmt: skip
    with pytest.raises(ConfigurationError):
        check_document(document, "deidentify/profile", "changed")


def test_tables_hold_no_name_telephone_or_identity_number() -> None:
    assert not any(names_a_person(code) for _, code in tables().closed)
    assert len(places()["province"]) == 34
    assert "示范区" in places()["district"]
    assert not {path.name for path in HERE.glob("*.csv")} - {
        "codes.csv",
        "displays.csv",
        "places.csv",
        "places_own.csv",
    }


@pytest.mark.parametrize("code", ["718-7", "58410-2", "2345-7", "85354-9", "8867-4"])
def test_check_digits_of_loinc_are_right(code: str) -> None:
    assert mod10(code)
    assert not any(mod10(code[:-1] + digit) for digit in "0123456789" if digit != code[-1])


@pytest.mark.parametrize("code", ["409137002", "22298006", "73211009", "38341003", "900000000000441003"])
def test_check_digits_of_snomed_ct_are_right(code: str) -> None:
    assert verhoeff(code)
    assert not any(verhoeff(code[:-1] + digit) for digit in "0123456789" if digit != code[-1])


def test_every_code_of_displays_has_the_form_of_its_system() -> None:
    listed = [key for key in tables().closed if key[0] in tables().forms]
    assert len(listed) > 100
    wrong = [
        (system, code)
        for system, code in listed
        if system != "http://dicom.nema.org/resources/ontology/DCM"
        and not any(form.fullmatch(code) and (check is None or check(code)) for form, check in tables().forms[system])
    ]
    assert wrong == []


def test_free_text_is_scrubbed_where_a_profile_says_so() -> None:
    body = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "valueString": "患者欧阳静，身份证110199194912310021，电话13912340028，2026年6月1日来诊，血压偏高",
        "note": [{"text": "欧阳静自述头晕"}],
    }
    one = Deidentifier(changed(text={"do": "scrub", "why": "a test"}), SECRET)
    found = one.resource(body, b"p", ("欧阳静",))
    assert found is not None
    said = found["valueString"] + found["note"][0]["text"]
    assert "血压偏高" in said
    assert "头晕" in said
    assert not any(one in said for one in ("欧阳静", "110199194912310021", "13912340028", "6月1日", "2026-06-01"))
    assert one.report.as_dict()["applied"]["Observation.note.text"] == {"text:scrub": 1}
