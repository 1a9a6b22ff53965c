"""FHIR Consent in and out: the same will both ways, and what cannot be said is refused with its FHIRPath."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import DISTRICT, EAST, INSURER, LAB, WEST, roster

import schemas
from ledger.chain.roster import CLASSES
from ledger.messages.consent import ConsentState
from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, PURPOSES, Provision
from quality.structure import check_structure
from sharing.consent.fhir_reading import Read, read_consent
from sharing.consent.fhir_writing import write_consent
from sharing.consent.parties import Parties
from sharing.errors import Malformed, Refused, SharingError

PARTIES = Parties(roster())
RESEARCH = frozenset({"research"})
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
YEAR_2026, YEAR_2027 = 1_767_196_800_000, 1_798_732_800_000


def consent(base: str = "OPTIN", **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": "Patient/p0"},
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": base}]},
    } | changes


def rule(type_: str, **parts: Any) -> dict[str, Any]:
    return {"type": type_, **parts}


def purpose(*codes: str) -> list[dict[str, str]]:
    return [{"system": REASON, "code": one} for one in codes]


def actor(value: str, kind: str = "institution", role: str = "IRCP") -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    return {
        "role": {"coding": [{"system": system, "code": role}]},
        "reference": {"identifier": {"system": f"urn:xinglin:{kind}", "value": value}},
    }


def types(*names: str) -> list[dict[str, str]]:
    return [{"system": "http://hl7.org/fhir/resource-types", "code": one} for one in names]


def read(resource: dict[str, Any]) -> Read:
    return read_consent(json.loads(json.dumps(resource)), "hospital-east", PARTIES)


def said(resource: dict[str, Any]) -> tuple[Provision, ...]:
    return read(resource).provisions


def refused(resource: dict[str, Any]) -> str:
    """The path that the refusal begins with."""
    with pytest.raises(SharingError) as error:
        read(resource)
    return str(error.value).removeprefix("fhir-consent: ").split(": ")[0]


def table_faults(*changed: Any) -> list[str]:
    """The places of the shipped table that its schema refuses, once what stands at the given place is changed."""
    folder = Path(schemas.__file__).parent / "consent"
    table, schema = (json.loads((folder / name).read_text()) for name in ("fhir.json", "fhir.schema.json"))
    if changed:
        *way, last, value = changed
        reduce(getitem, way, table)[last] = value
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(table)]


def test_the_table_keeps_its_schema() -> None:
    assert table_faults() == []


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        (("purposes", 0, "purposes", ["curiosity"]), "$.purposes[0].purposes[0]"),
        (("purposes", 0, "purposes", []), "$.purposes[0].purposes"),
        (("bases", 0, "base", "perhaps"), "$.bases[0].base"),
        (("roles", 0, "as", "onlooker"), "$.roles[0].as"),
        (("actions", 0, "reason", ""), "$.actions[0].reason"),
        (("categories", 0, {"system": "http://loinc.org", "code": "59284-0"}), "$.categories[0]"),
        (("actors", "kind", 3), "$.actors.kind"),
        (("scope", {}), "$.scope"),
        (("also", []), "$"),
    ],
)
def test_a_table_that_means_what_no_statement_can_is_refused_by_its_schema(changed: Any, place: str) -> None:
    assert set(table_faults(*changed)) == {place}


def test_an_opt_in_permits_all_but_what_is_denied() -> None:
    assert said(consent()) == (Provision(True),)
    found = said(consent(provision={"provision": [
        rule("deny", purpose=purpose("HRESCH"), actor=[actor("hospital-west")]),
        rule("deny", **{"class": types("Observation"), "dataPeriod": {"end": "2025-12-31"}}),
    ]}))  # fmt: skip
    assert found == (
        Provision(True), Provision(False, RESEARCH, institutions=(WEST,)),
        Provision(False, types=(14,), data=(0, YEAR_2026)),
    )  # fmt: skip


def test_an_opt_out_denies_what_no_permit_speaks_of_and_cuts_permits_by_their_exceptions() -> None:
    assert said(consent("OPTOUT")) == (Provision(False),)
    inner = rule("deny", **{"class": types("Condition")})
    found = said(
        consent("OPTOUT", provision={"provision": [rule("permit", purpose=purpose("HRESCH"), provision=[inner])]})
    )
    assert found == (
        Provision(True, RESEARCH), Provision(False, RESEARCH, types=(3,)), Provision(False, EVERY_PURPOSE - RESEARCH),
    )  # fmt: skip


def test_the_frame_of_the_root_holds_for_all_inside() -> None:
    frame = {"period": {"start": "2026-01-01", "end": "2026-12-31"}}
    found = said(consent(provision={**frame, "provision": [rule("deny", purpose=purpose("PUBHLTH"))]}))
    assert found == (
        Provision(True, valid=(YEAR_2026, YEAR_2027)),
        Provision(False, frozenset({"public-health"}), valid=(YEAR_2026, YEAR_2027)),
    )
    named = rule("permit", actor=[actor("A", "class"), actor("B", "class")], purpose=purpose("HRESCH", "TREAT"))
    found = said(consent(provision={**named, "provision": [rule("deny", actor=[actor("A", "class")])]}))
    assert found[1] == Provision(False, frozenset({"research", "care", "emergency"}), ("A",))


def test_the_root_itself_may_be_the_exception() -> None:
    found = said(consent(provision=rule("deny", actor=[actor("hospital-west", role="PRCP")])))
    assert found == (Provision(True), Provision(False, institutions=(WEST,)))
    found = said(consent("OPTOUT", provision=rule("permit", purpose=purpose("HRESCH"))))
    assert found == (Provision(True, RESEARCH), Provision(False, EVERY_PURPOSE - RESEARCH))


def test_treatment_means_emergencies_too_and_a_custodian_is_who_files() -> None:
    custodian = actor("hospital-east", role="CST")
    found = said(consent(provision={"actor": [custodian], "provision": [rule("deny", purpose=purpose("TREAT"))]}))
    assert found == (Provision(True), Provision(False, frozenset({"care", "emergency"})))
    other = {"actor": [actor("hospital-west", role="CST")]}
    assert refused(consent(provision=other)) == "Consent.provision.actor[0]"


def test_kinds_of_institutions_are_named_where_the_chain_can() -> None:
    hospitals = rule("deny", actor=[actor("hospital", "party")])
    assert said(consent(provision=hospitals))[1].classes == ("A", "B")
    insurers = rule("permit", purpose=purpose("HPAYMT"), actor=[actor("insurer", "party")])
    assert said(consent("OPTOUT", provision=insurers))[0].institutions == (INSURER,)
    assert refused(consent(provision=rule("deny", actor=[actor("insurer", "party")]))) == "Consent.provision.actor"


def test_a_consent_that_is_no_longer_in_force_takes_all_back() -> None:
    assert read(consent(status="inactive")) == Read("p0", True, ())
    assert refused(consent(status="inactive", provision=rule("deny"))) == "Consent.status"


NESTED = "Consent.provision.provision[0]"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("Consent.status", consent(status="draft")),
        ("Consent.scope", consent(scope={"coding": [{"system": "x", "code": "treatment"}]})),
        ("Consent.category[0]", consent(category=[{"coding": [{"system": "http://loinc.org", "code": "1-1"}]}])),
        ("Consent.category", consent(category=None)),
        ("Consent.policyRule", consent(policyRule={"coding": [{"system": "x", "code": "OPTIN"}]})),
        ("Consent.policyRule", consent(policyRule=None)),
        ("Consent.policy", consent(policy=[{"uri": "https://example.org/policy"}])),
        ("Consent.modifierExtension", consent(modifierExtension=[{"url": "x"}])),
        ("Consent.implicitRules", consent(implicitRules="x")),
        ("Consent._status", consent(_status={"extension": []})),
        ("Consent.patient.reference", consent(patient={"reference": "Group/1"})),
        ("Consent.patient.reference", consent(patient={"display": "somebody"})),
        ("Consent.provision.securityLabel", consent(provision=rule("deny", securityLabel=[{"code": "R"}]))),
        ("Consent.provision.code", consent(provision=rule("deny", code=[{"text": "HIV"}]))),
        ("Consent.provision.data", consent(provision={"data": [{"meaning": "related"}]})),
        ("Consent.provision.extension", consent(provision=rule("deny", extension=[{"url": "x"}]))),
        ("Consent.provision.purpose[0]", consent(provision=rule("deny", purpose=purpose("CLINTRCH")))),
        ("Consent.provision.class[0]", consent(provision=rule("deny", **{"class": types("Observatory")}))),
        ("Consent.provision.action[0]", consent(provision=rule("deny", action=[
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "correct"}]}]))),
        ("Consent.provision.action", consent(provision=rule("deny", action=[
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "use"}]}]))),
        ("Consent.provision.actor", consent(provision={"actor": [actor("hospital-west")]})),
        ("Consent.provision.actor", consent(provision=rule("deny", actor=[actor("hospital-north")]))),
        ("Consent.provision.actor[0].reference", consent(provision=rule("deny", actor=[
            actor("x") | {"reference": {"reference": "Practitioner/1"}}]))),
        ("Consent.provision.actor[0].role", consent(provision=rule("deny", actor=[actor("x", role="AUT")]))),
        ("Consent.provision.type", consent(provision=rule("perhaps"))),
        ("Consent.provision.period", consent(provision=rule("deny", period={"start": "2026-02", "end": "2026-01"}))),
        ("Consent.provision.period.start", consent(provision=rule("deny", period={"start": "soon"}))),
        (f"{NESTED}.type", consent(provision={"provision": [rule("permit")]})),
        (f"{NESTED}.type", consent("OPTOUT", provision={"provision": [rule("deny")]})),
        (f"{NESTED}.provision[0]", consent(provision={"provision": [rule("deny", provision=[rule("permit")])]})),
        (f"{NESTED}", consent("OPTOUT", provision={"provision": [
            rule("permit", purpose=purpose("PUBHLTH"), actor=[actor("hospital-west")])]})),
        (f"{NESTED}.actor", consent(provision=rule("permit", actor=[actor("A", "class")], provision=[
            rule("deny", actor=[actor("B", "class")])]))),
        (f"{NESTED}.class", consent(provision=rule("permit", **{"class": types("Observation")}, provision=[
            rule("deny", **{"class": types("Condition")})]))),
        (f"{NESTED}", consent(provision={"period": {"end": "2026-01-01"}, "provision": [
            rule("deny", period={"start": "2027-01-01"})]})),
    ],
)  # fmt: skip
def test_what_no_statement_can_say_is_refused_with_its_path(path: str, resource: dict[str, Any]) -> None:
    assert refused({name: value for name, value in resource.items() if value is not None}) == path


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "x", "Consent", "deny", "2026", REASON, "Patient/p"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["coding", "system", "code", "x"]), inner)
    ),
    max_leaves=6,
)
WHOLE = consent(provision=rule(
    "permit", purpose=purpose("HRESCH"), actor=[actor("A", "class")], **{"class": types("Observation", "Condition")},
    period={"start": "2026"}, dataPeriod={"end": "2026-05-01"},
    action=[{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "access"}]}],
    provision=[rule("deny", purpose=purpose("HRESCH"), **{"class": types("Condition")})],
))  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inside for place in _places(one, (*path, key)))]


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.sampled_from(_places(WHOLE)[1:]), JSON)
def test_no_shape_of_json_raises_anything_but_a_refusal(place: tuple[Any, ...], value: Any) -> None:
    changed = json.loads(json.dumps(WHOLE))
    inside = changed
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    try:
        found = read(changed)
    except (Malformed, Refused) as error:
        assert str(error).removeprefix("fhir-consent: ").startswith("Consent")
    else:
        assert all(Provision.read(one.encode()) == one for one in found.provisions)


def test_a_whole_consent_is_read_and_what_is_no_object_is_malformed() -> None:
    assert len(said(WHOLE)) == 2
    with pytest.raises(Malformed):
        read_consent([], "hospital-east", PARTIES)  # type: ignore[arg-type]


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Out", "Consent.provision.actor[0].reference"),
        ("notAuthor", "Consent.provision.actor[0].reference"),
        ("notOrg", "Consent.provision.action[1]"),
        ("notThem", "Consent.provision.action[1]"),
        ("notThis", "Consent.provision.data"),
        ("smartonfhir", f"{NESTED}.type"),
        ("notTime", ""),
    ],
)
def test_hl7s_examples_are_read_or_refused_where_they_say_more(corpora: Path, name: str, expected: str) -> None:
    resource = json.loads((corpora / "fhir" / "r4b-examples" / f"consent-example-{name}.json").read_text())
    if expected:
        assert refused(resource) == expected
    else:
        [found] = read(resource).provisions
        assert found.permits and found.valid[1] - found.valid[0] == 32 * 86_400_000


DAY = 86_400_000
TIMES = st.integers(1, 250_000_000_000_000)
SPANS = st.one_of(
    st.just((0, FOREVER)), TIMES.map(lambda end: (0, end)), TIMES.map(lambda start: (start, FOREVER)),
    st.tuples(TIMES, TIMES).filter(lambda one: one[0] < one[1]),
    st.integers(20_000, 21_000).map(lambda day: (day * DAY - DAY // 3, (day + 3) * DAY - DAY // 3)),
)  # fmt: skip
PROVISIONS = st.builds(
    Provision, st.booleans(), st.sets(st.sampled_from(PURPOSES), min_size=1).map(frozenset),
    st.sets(st.sampled_from(CLASSES)).map(lambda found: tuple(one for one in CLASSES if one in found)),
    st.sets(st.sampled_from([EAST, WEST, LAB, DISTRICT, INSURER])).map(lambda found: tuple(sorted(found))),
    st.sets(st.integers(1, 141), max_size=5).map(lambda found: tuple(sorted(found))), SPANS, SPANS,
)  # fmt: skip


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(PROVISIONS, min_size=1, max_size=5))
def test_a_statement_written_and_read_again_is_the_same_and_valid_fhir(provisions: list[Provision]) -> None:
    state = ConsentState(3, 40, False, bytes(32), b"", tuple(provisions))
    body = write_consent(state, "p0", "hospital-east", PARTIES, YEAR_2026)
    assert check_structure(body) is None
    assert read(body) == Read("p0", False, tuple(provisions))


def test_a_withdrawal_is_written_and_read_again() -> None:
    body = write_consent(ConsentState(3, 40, True, bytes(32), b"", ()), "p0", "hospital-east", PARTIES)
    assert check_structure(body) is None and read(body) == Read("p0", True, ())


def test_what_fhir_has_no_word_for_is_not_written() -> None:
    for strange in (Provision(True, types=(9_999,)), Provision(True, data=(FOREVER - 5, FOREVER - 2))):
        with pytest.raises(Refused):
            write_consent(ConsentState(1, 1, False, bytes(32), b"", (strange,)), "p0", "hospital-east", PARTIES)
