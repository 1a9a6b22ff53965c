"""Resources of others made ours: the same thing has the same id, and belongs to the patient whose it is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalise.errors import SetAside
from normalise.fhir import MAPPING, convert
from normalise.media import convert as convert_media
from normalise.patients import patient_id
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, Resource, SourceContext

BASE = "https://his.example.org/fhir"
CONTEXT = SourceContext("east-fhir", "hospital-east", "Asia/Shanghai", mapping={"fhir": {"bases": [BASE]}})
Body = dict[str, Any]
UUID = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0{}"


def converted(body: Body, context: SourceContext = CONTEXT) -> Normalised:
    return convert(json.dumps(body, ensure_ascii=False).encode(), context)


def refused(body: Body | bytes) -> tuple[str, str]:
    with pytest.raises(SetAside) as caught:
        convert(body if isinstance(body, bytes) else json.dumps(body).encode(), CONTEXT)
    assert caught.value.refusal.code in REASONS
    return caught.value.refusal.code, caught.value.refusal.where


def observation(subject: str = "Patient/p1", **more: Any) -> Body:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "meta": {"versionId": "3", "lastUpdated": "2026-01-05T08:00:00.123+08:00"},
        "status": "final",
        "code": {"text": "体温"},
        "subject": {"reference": subject},
        **more,
    }


def patient(id_: str = "p1", **more: Any) -> Body:
    return {"resourceType": "Patient", "id": id_, **more}


def bundle(type_: str, *entries: Body, **more: Any) -> Body:
    return {"resourceType": "Bundle", "type": type_, "entry": list(entries), **more}


def of(found: Normalised, type_: str) -> list[Resource]:
    return [one for one in found.resources if one.type == type_]


def one_of(found: Normalised, type_: str) -> Resource:
    (one,) = of(found, type_)
    return one


def test_what_a_resource_says_stays_and_only_id_and_references_are_ours() -> None:
    sent = observation(extension=[{"url": "urn:x", "valueString": "y"}], performer=[{"display": "护士"}])
    found = one_of(converted(sent), "Observation")
    kept = {key: value for key, value in sent.items() if key not in ("id", "subject")}
    assert {key: value for key, value in found.body.items() if key not in ("id", "subject")} == kept
    assert found.id != "o1" and found.body["subject"] == {"reference": f"Patient/{found.patient}"}
    assert found.segment == "Observation"


def test_resource_and_what_refers_to_it_meet_whatever_record_each_comes_in() -> None:
    alone = one_of(converted(patient()), "Patient")
    for reference in ("Patient/p1", f"{BASE}/Patient/p1", "Patient/p1/_history/4", f"{BASE}/Patient/p1/_history/2"):
        assert one_of(converted(observation(reference)), "Observation").patient == alone.id
    both = converted(
        bundle(
            "collection",
            {"fullUrl": f"{BASE}/Observation/o1", "resource": observation()},
            {"fullUrl": f"{BASE}/Patient/p1", "resource": patient()},
        )
    )
    assert one_of(both, "Patient").id == alone.id == one_of(both, "Observation").patient
    assert one_of(both, "Observation").id == one_of(converted(observation()), "Observation").id


def test_other_servers_and_institutions_have_patients_of_their_own() -> None:
    ids = {
        one_of(converted(observation("Patient/p1")), "Observation").patient,
        one_of(converted(observation("https://other.example.org/r4/Patient/p1")), "Observation").patient,
        one_of(
            converted(observation(), SourceContext("other", "hospital-east", "Asia/Shanghai")), "Observation"
        ).patient,
        one_of(converted(observation(), SourceContext("east-fhir", "hospital-west", "UTC")), "Observation").patient,
    }
    assert len(ids) == 4


def test_two_sources_of_one_server_name_its_resources_alike() -> None:
    mapping = {"fhir": {"server": "east-his", "bases": [BASE]}}
    ids = {
        one_of(
            converted(patient(), SourceContext(name, "hospital-east", "Asia/Shanghai", mapping=mapping)), "Patient"
        ).id
        for name in ("labs", "wards")
    }
    assert len(ids) == 1


def test_patient_that_only_a_message_holds_is_known_by_its_identifiers() -> None:
    identifier = [{"system": "urn:oid:1.2.3", "value": "F1"}]
    entries = [
        {"fullUrl": UUID.format(1), "resource": {"resourceType": "Patient", "identifier": identifier}},
        {"fullUrl": UUID.format(2), "resource": {**observation(UUID.format(1)), "id": "x"}},
    ]
    found = converted(bundle("collection", *entries))
    assert one_of(found, "Patient").id == patient_id(identifier, "hospital-east")
    assert one_of(found, "Observation").patient == one_of(found, "Patient").id
    conditional = converted(observation("Patient?identifier=urn:oid:1.2.3|F1"))
    assert one_of(conditional, "Observation").patient == one_of(found, "Patient").id


def test_patient_named_by_an_identifier_alone_is_referred_to() -> None:
    subject = {"type": "Patient", "identifier": {"system": "urn:oid:1.2.3", "value": "F1"}}
    found = one_of(converted({**observation(), "subject": subject}), "Observation")
    assert found.patient == patient_id([subject["identifier"]], "hospital-east")  # type: ignore[list-item]
    assert found.body["subject"]["reference"] == f"Patient/{found.patient}"


def test_patient_that_stands_inside_its_own_result_is_a_resource_of_its_own_too() -> None:
    inner = {"resourceType": "Patient", "id": "me", "identifier": [{"system": "urn:oid:1.2.3", "value": "F9"}]}
    found = converted(observation("#me", contained=[inner]))
    held = one_of(found, "Patient")
    assert held.mode == "ensure" and held.id == patient_id(inner["identifier"], "hospital-east")  # type: ignore[arg-type]
    assert one_of(found, "Observation").patient == held.id
    assert one_of(found, "Observation").body["contained"] == [inner]


def test_provenance_of_a_result_belongs_to_the_results_patient() -> None:
    sent = {
        "resourceType": "Provenance",
        "target": [{"reference": "Observation/o1"}],
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Organization/a"}}],
    }
    found = converted(bundle("collection", {"resource": observation()}, {"resource": sent}, {"resource": patient()}))
    own = {one.patient for one in of(found, "Provenance")}
    assert own == {one_of(found, "Patient").id}


def test_every_patient_of_a_record_has_a_provenance_that_names_source_place_and_mapping() -> None:
    found = converted(observation())
    proof = one_of(found, "Provenance").body
    assert proof["recorded"] == "2026-01-05T08:00:00.123+08:00"
    assert proof["entity"][0]["what"]["identifier"]["value"] == "Observation/o1/_history/3"
    assert proof["target"][0]["extension"][0]["valueString"] == "Observation"
    assert MAPPING in proof["agent"][1]["who"]["display"] and found.mapping == MAPPING
    assert check_structure(proof) is None and check_invariants(proof) is None


def test_institutions_own_resources_are_nobodys() -> None:
    found = converted({"resourceType": "Organization", "id": "a", "name": "内科"})
    assert [(one.type, one.patient) for one in found.resources] == [("Organization", None), ("Provenance", None)]
    group = {"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/p1"}}]}
    assert one_of(converted(group), "Group").patient is None


def test_second_record_of_the_same_bytes_gives_the_same_in_every_byte() -> None:
    body = bundle("collection", {"resource": observation()}, {"resource": patient()})
    assert converted(body) == converted(copy.deepcopy(body))
    assert convert_media("fhir", json.dumps(body, ensure_ascii=False).encode(), CONTEXT) == converted(body)


# Deletions


def test_deleted_resource_says_so_in_its_own_terms_and_its_patient_is_marked_inactive() -> None:
    gone = ("Observation/o1", "Patient/p1", "Condition/c", "Provenance/x")
    found = converted(bundle("transaction", *({"request": {"method": "DELETE", "url": one}} for one in gone)))
    assert one_of(found, "Observation").body["status"] == "entered-in-error"
    assert one_of(found, "Observation").id == one_of(converted(observation()), "Observation").id
    assert one_of(found, "Patient").body["active"] is False
    assert one_of(found, "Patient").patient == one_of(converted(patient()), "Patient").id
    assert one_of(found, "Condition").body["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    proofs = [one.body for one in of(found, "Provenance") if "coding" in one.body.get("activity", {})]
    assert len(proofs) == 4
    assert {one["activity"]["coding"][0]["code"] for one in proofs} == {"DELETE"}
    assert all(check_structure(one.body) is None and check_invariants(one.body) is None for one in found.resources)


def test_newest_version_of_a_history_is_the_one_that_is_kept() -> None:
    request = {"method": "PUT", "url": "Patient/p1"}
    older = {"resource": patient(active=True, gender="male"), "request": request, "response": {"status": "200"}}
    newest = {"request": {"method": "DELETE", "url": "Patient/p1"}, "response": {"status": "204"}}
    found = converted(bundle("history", newest, older))
    assert one_of(found, "Patient").body["active"] is False and "gender" not in one_of(found, "Patient").body
    assert [one.code for one in found.notes] == ["structure"]


def test_what_a_transaction_only_asks_for_is_no_record() -> None:
    found = converted(
        bundle(
            "transaction",
            {"request": {"method": "GET", "url": "Patient/p1"}},
            {"request": {"method": "DELETE", "url": "Patient?identifier=1"}},
            {"request": {"method": "POST", "url": "Patient"}, "fullUrl": UUID.format(1), "resource": patient("new")},
        )
    )
    assert [one.type for one in found.resources] == ["Patient", "Provenance"]
    assert [one.where for one in found.notes] == ["Bundle.entry[1]"]


# Refusals

POST = {"method": "POST", "url": "Observation"}
BAD: list[tuple[str, Body | bytes, str, str]] = [
    ("no JSON", b"not json", "not_fhir", "line 1 column 1"),
    ("a comment", b'{"resourceType": "Patient" /* x */}', "not_fhir", "line 1 column 28"),
    ("no number", b'{"resourceType": "Patient", "x": NaN}', "not_fhir", "line 1 column 34"),
    ("a name twice", b'{"resourceType": "Patient", "id": "a", "id": "b"}', "bad_value", "JSON"),
    (
        "a name twice inside",
        b'{"resourceType":"Patient","name":[{"text":"a","text":"\\u0022:b"}]}',
        "bad_value",
        "JSON",
    ),
    ("GB18030", '{"resourceType": "Patient", "name": [{"text": "王"}]}'.encode("gb18030"), "charset", "byte 47"),
    ("an array", b"[]", "not_fhir", "resourceType"),
    ("no type", {"id": "a"}, "not_fhir", "resourceType"),
    ("an unknown type", {"resourceType": "Kunde"}, "not_fhir", "Kunde.resourceType"),
    ("nested without end", b'{"resourceType":"Patient","x":' + b"[" * 500 + b"]" * 500 + b"}", "not_fhir", "JSON"),
    ("nested beyond any parser", b"[" * 100_000, "not_fhir", "line 1 column 1026"),
    ("a bad id", patient("a_b"), "bad_value", "Patient.id"),
    ("a long id", patient("a" * 65), "bad_value", "Patient.id"),
    ("no reference", observation("p1"), "bad_value", "Observation.subject.reference"),
    ("a reference to no type", observation("Kunde/1"), "bad_value", "Observation.subject.reference"),
    (
        "a modifier",
        observation(modifierExtension=[{"url": "urn:not"}]),
        "fhir_modifier",
        "Observation.modifierExtension",
    ),
    ("rules", observation(implicitRules="urn:x"), "fhir_modifier", "Observation.implicitRules"),
    ("a bundle of no type", {"resourceType": "Bundle"}, "fhir_bundle", "Bundle.type"),
    ("entries that are none", {"resourceType": "Bundle", "type": "batch", "entry": 1}, "fhir_bundle", "Bundle.entry"),
    ("an empty entry", bundle("collection", {}), "fhir_bundle", "Bundle.entry[0]"),
    (
        "a request where none is",
        bundle("collection", {"request": {}, "resource": patient()}),
        "fhir_bundle",
        "Bundle.entry[0]",
    ),
    ("a resource that is none", bundle("collection", {"resource": 1}), "fhir_bundle", "Bundle.entry[0].resource"),
    (
        "a relative address",
        bundle("collection", {"fullUrl": "Patient/1", "resource": patient()}),
        "fhir_bundle",
        "Bundle.entry[0].fullUrl",
    ),
    (
        "an address with another id",
        bundle("collection", {"fullUrl": f"{BASE}/Patient/2", "resource": patient()}),
        "fhir_bundle",
        "Bundle.entry[0].fullUrl",
    ),
    (
        "a UUID that is none",
        bundle("collection", {"fullUrl": "urn:uuid:1", "resource": patient()}),
        "fhir_bundle",
        "Bundle.entry[0].fullUrl",
    ),
    (
        "one address twice",
        bundle("collection", *[{"fullUrl": UUID.format(1), "resource": patient()}] * 2),
        "fhir_bundle",
        "Bundle.entry[1].fullUrl",
    ),
    ("a link twice", bundle("searchset", link=[{"relation": "self", "url": "x"}] * 2), "fhir_bundle", "Bundle.link"),
    ("a total where none is", bundle("collection", total=1), "fhir_bundle", "Bundle.total"),
    ("a document without composition", bundle("document", {"resource": patient()}), "fhir_bundle", "Bundle.entry[0]"),
    ("a message without header", bundle("message", {"resource": patient()}), "fhir_bundle", "Bundle.entry[0]"),
    (
        "a patch",
        bundle("transaction", {"request": {"method": "PATCH", "url": "Patient/1"}}),
        "fhir_bundle",
        "Bundle.entry[0]",
    ),
    (
        "a deletion of nothing",
        bundle("transaction", {"request": {"method": "DELETE", "url": "x"}}),
        "fhir_bundle",
        "Bundle.entry[0].request.url",
    ),
    (
        "something that did not come",
        bundle("transaction", {"request": POST, "resource": observation(UUID.format(1))}),
        "fhir_bundle",
        "Bundle.entry[0].resource.subject.reference",
    ),
]


@pytest.mark.parametrize(("body", "code", "where"), [one[1:] for one in BAD], ids=[one[0] for one in BAD])
def test_record_is_refused_by_name_in_the_senders_terms(body: Body | bytes, code: str, where: str) -> None:
    assert refused(body) == (code, where)


def test_refusal_holds_no_value_of_the_patient() -> None:
    with pytest.raises(SetAside) as caught:
        converted(observation("王小明"))
    assert "王小明" not in str(caught.value)
    with pytest.raises(SetAside) as caught:
        converted(observation(modifierExtension=[{"url": "王小明"}]))
    assert "王小明" not in str(caught.value)


def test_reference_to_what_did_not_come_is_kept_as_an_identifier_with_a_note() -> None:
    found = converted(observation("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"))
    body = one_of(found, "Observation").body
    assert "reference" not in body["subject"] and body["subject"]["identifier"]["value"].startswith("urn:uuid:61ebe359")
    assert [(one.code, one.where) for one in found.notes] == [("unresolved", "Observation.subject.reference")]


def test_byte_order_mark_and_escapes_are_read_as_what_they_are() -> None:
    sent = b"\xef\xbb\xbf" + b'{"resourceType":"Patient","id":"a","name":[{"text":"\\u738b\\u0022:"}]}'
    assert one_of(convert(sent, CONTEXT), "Patient").body["name"] == [{"text": '王":'}]


WORDS = (
    "resourceType id reference identifier value system type entry resource fullUrl meta request method url contained "
    "subject modifierExtension parameter part target link"
)
NAMES = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
TYPES = st.sampled_from(["Bundle", "Patient", "Observation", "Parameters", "Provenance", "Composition"])


@given(TYPES, st.dictionaries(NAMES, JSON, max_size=5))
def test_whatever_comes_is_converted_or_set_aside_and_nothing_else_is_raised(type_: str, body: Body) -> None:
    try:
        found = convert(json.dumps({**body, "resourceType": type_}).encode(), CONTEXT)
    except SetAside as refusal:
        assert refusal.refusal.code in REASONS
    else:
        assert all(isinstance(one.id, str) for one in found.resources)


@given(st.binary(max_size=60))
def test_whatever_bytes_come_are_set_aside_and_nothing_else_is_raised(content: bytes) -> None:
    with pytest.raises(SetAside):
        convert(content, CONTEXT)
