"""What research needs stays: codes, values, links, totals. Each class of data is changed as its profile says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sharing.deidentify import Deidentifier, Pseudonyms, load_profile
from sharing.deidentify.elements import IDENTIFIERS
from sharing.deidentify.run import LOCAL_CODES

SECRET = bytes(range(32))
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


def deidentified(body: dict[str, Any], profile: str = "gbt-37964", secret: bytes = SECRET) -> dict[str, Any]:
    before = copy.deepcopy(body)
    found = Deidentifier(load_profile(profile), secret).resource(body, b"person")
    assert body == before, "what comes is not changed"
    assert found is not None
    return found


def observation(**elements: Any) -> dict[str, Any]:
    code = {"coding": [{"system": LOINC, "code": "718-7", "display": "血红蛋白 张三"}], "text": "血红蛋白 张三"}
    return {"resourceType": "Observation", "id": "o1", "status": "final", "code": code, **elements}


def test_an_observation_keeps_what_was_measured_and_loses_what_was_written() -> None:
    found = deidentified(
        observation(
            subject={"reference": "Patient/1", "display": "张三"},
            valueQuantity={"value": 123.5, "unit": "g/L", "system": UCUM, "code": "g/L"},
            interpretation=[{"coding": [{"system": "urn:x", "code": "H"}], "text": "High"}],
            referenceRange=[{"low": {"value": 130, "unit": "g/L"}, "text": "130-175"}, {"text": "见张三医生"}],
            note=[{"text": "张三，电话13912340028", "authorString": "李四"}],
            method={"text": "手工"},
        )
    )
    assert found["code"] == {"coding": [{"system": LOINC, "code": "718-7", "display": "血红蛋白"}]}
    assert found["valueQuantity"] == {"value": 123.5, "unit": "g/L", "system": UCUM, "code": "g/L"}
    assert found["referenceRange"] == [{"low": {"value": 130, "unit": "g/L"}, "text": "130-175"}]
    assert found["interpretation"][0]["coding"][0]["system"] == LOCAL_CODES
    assert set(found["subject"]) == {"reference"}
    assert not {"note", "method"} & set(found)
    assert found["meta"]["security"][0]["code"] == "PSEUDED"


@pytest.mark.parametrize(
    "text", ["阴性", "阳性(+)", "<0.01", "1:160", "3.5-9.5", "++", "120/80", "清亮", "negative", "12.5", "±"]
)
def test_a_result_in_words_of_laboratories_stays(text: str) -> None:
    assert deidentified(observation(valueString=text))["valueString"] == text


@pytest.mark.parametrize(
    "text",
    [
        "张三",
        "110105194912310021",
        "13912340028",
        "139-1234-0028",
        "12345678",
        "2026-06-01",
        "Zhang San",
        "阴性 张三",
        "ZY00000016",
        "见报告",
        "http://a.b",
        "阴性\n张三",
        "1:1391234",
    ],
)
def test_a_result_in_other_words_is_dropped_and_said_to_be_masked(text: str) -> None:
    found = deidentified(observation(valueString=text))
    assert "valueString" not in found
    assert found["dataAbsentReason"]["coding"][0]["code"] == "masked"


def test_a_reason_that_the_sender_gave_is_kept_beside_a_dropped_value() -> None:
    reason = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "error"}]}
    found = deidentified(observation(valueString="张三", dataAbsentReason=reason))
    assert found["dataAbsentReason"]["coding"][0]["code"] == "error"


@pytest.mark.parametrize("value", [0, -1, 36.6, 0.00012, 250_000_000_000, 6.5e9, 999_999_999])
def test_measurements_stay(value: float) -> None:
    assert deidentified(observation(valueQuantity={"value": value}))["valueQuantity"]["value"] == value


@pytest.mark.parametrize(
    "value", [13912340028, 110105194912310021, 1391234002.8, 10**30, float("nan"), float("inf"), True, "12", None]
)
def test_numbers_that_may_be_somebodys_are_dropped(value: Any) -> None:
    found = deidentified(observation(valueQuantity={"value": value, "unit": "g/L"}))
    assert "valueQuantity" not in found


@pytest.mark.parametrize("unit", ["张三", "13912340028", "{张三}", "g/L 张三", "12345678", "110105194912310021"])
def test_a_unit_that_is_none_is_dropped_and_the_number_stays(unit: str) -> None:
    found = deidentified(observation(valueQuantity={"value": 1, "unit": unit, "system": UCUM, "code": unit}))
    assert found["valueQuantity"] == {"value": 1}


@pytest.mark.parametrize(
    "unit", ["10*9/L", "mm[Hg]", "mmol/L", "kg/m2", "/min", "u[IU]/mL", "%", "次/分", "mL/min/{1.73_m2}"]
)
def test_units_stay(unit: str) -> None:
    assert deidentified(observation(valueQuantity={"value": 1, "unit": unit}))["valueQuantity"]["unit"] == unit


def test_a_comparator_that_fhir_does_not_know_takes_the_number_with_it() -> None:
    assert "valueQuantity" not in deidentified(observation(valueQuantity={"value": 1, "comparator": "not"}))


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("urn:oid:2.16.156.10011.2.3.3.11.3", "I10.x02"),
        ("http://hl7.org/fhir/sid/icd-10", "E11.9"),
        ("http://snomed.info/sct", "409137002"),
        ("http://www.whocc.no/atc", "C08CA01"),
        ("urn:xinglin:hospital-west:codes:lab-item", "HBsAg"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IMP"),
    ],
)
def test_codes_of_listed_systems_stay(system: str, code: str) -> None:
    found = deidentified(observation(code={"coding": [{"system": system, "code": code, "display": "张三"}]}))
    coding = found["code"]["coding"][0]
    assert (coding["system"], coding["code"]) == (system, code)
    assert coding.get("display") != "张三"


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (LOINC, "718-8"),  # check digit
        (LOINC, "张三"),
        ("http://snomed.info/sct", "110105194912310021"),
        ("http://snomed.info/sct", "13912340028"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "WANG"),
        ("urn:xinglin:hospital-west:codes:lab-item", "ZY00000016"),
        ("urn:xinglin:hospital-west:codes:张三", "GLU"),
        ("urn:xinglin:local:codes:L", "欧阳宇"),
        ("", "D1024"),
    ],
)
def test_codes_that_nobody_listed_become_pseudonyms_that_are_equal_where_they_were_equal(
    system: str, code: str
) -> None:
    sent = {"coding": [{"system": system, "code": code}]} if system else {"coding": [{"code": code}]}
    one, other = (deidentified(observation(id=name, code=sent))["code"]["coding"][0] for name in ("o1", "o2"))
    assert one == other == {"system": LOCAL_CODES, "code": Pseudonyms(SECRET).value(system, code)}
    assert one != deidentified(observation(code=sent), secret=bytes(32))["code"]["coding"][0]


def test_an_element_that_fhir_demands_is_masked_where_nothing_of_it_may_leave() -> None:
    found = deidentified({"resourceType": "Observation", "id": "1", "status": "张三", "code": {"text": "张三"}})
    masked = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]
    }
    assert found["_status"] == found["code"] == masked
    assert "status" not in found


def test_references_lead_to_the_ids_of_the_same_dataset_and_to_none_of_another() -> None:
    patient = deidentified({"resourceType": "Patient", "id": "p1"})
    spelled = ("Patient/p1", "https://his.example/fhir/Patient/p1", "Patient/p1/_history/3")
    for literal in spelled:
        found = deidentified(observation(subject={"reference": literal, "type": "Patient"}))
        assert found["subject"] == {"reference": f"Patient/{patient['id']}", "type": "Patient"}
    other = deidentified({"resourceType": "Patient", "id": "p1"}, secret=bytes(32))
    assert other["id"] != patient["id"]
    assert (
        deidentified({"resourceType": "Encounter", "id": "p1", "status": "finished", "class": {}})["id"]
        != patient["id"]
    )


def test_a_reference_to_what_stays_behind_is_dropped() -> None:
    found = deidentified(
        observation(focus=[{"reference": "Group/1"}, {"reference": "Person/2"}, {"reference": "Patient/1"}])
    )
    assert [one["reference"].partition("/")[0] for one in found["focus"]] == ["Patient"]


def test_a_reference_by_number_leads_to_the_identifier_of_that_number() -> None:
    number = {"system": "urn:oid:2.16.156.10011.1.3", "value": "110199194912310021"}
    patient = deidentified(
        {"resourceType": "Patient", "identifier": [{**number, "use": "official", "assigner": {"display": "公安部"}}]}
    )
    found = deidentified(observation(subject={"identifier": number}))
    assert found["subject"]["identifier"] == patient["identifier"][0]
    assert patient["identifier"][0]["system"] == IDENTIFIERS
    assert set(patient["identifier"][0]) == {"system", "value"}


def test_safe_harbor_has_no_identifiers_and_still_links_by_id() -> None:
    found = deidentified({"resourceType": "Patient", "id": "1", "identifier": [{"value": "1"}]}, "hipaa-safe-harbor")
    assert "identifier" not in found
    assert len(found["id"]) == 32


def test_safe_harbor_keeps_the_uids_that_its_images_bear() -> None:
    study = {"resourceType": "ImagingStudy", "status": "available", "subject": {"reference": "Patient/1"}}
    numbers = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}, {"system": "urn:x", "value": "ACC00002"}]
    found = deidentified({**study, "identifier": numbers}, "hipaa-safe-harbor")
    assert [one["value"] for one in found["identifier"]] == [f"urn:oid:{Pseudonyms(SECRET).uid('1.2.3')}"]


def test_contained_resources_stay_where_they_are_listed_and_referred_to() -> None:
    body = observation(
        contained=[
            {"resourceType": "Practitioner", "id": "doctor", "name": [{"text": "李四"}]},
            {"resourceType": "Practitioner", "id": "nobody", "name": [{"text": "王五"}]},
            {"resourceType": "Basic", "id": "strange"},
            {
                "resourceType": "Specimen",
                "id": "blood",
                "subject": {"reference": "#"},
                "collection": {"collector": {"reference": "#doctor"}},
            },
        ],
        specimen={"reference": "#blood"},
        performer=[{"reference": "#strange"}, {"reference": "#missing"}],
    )
    found = deidentified(body)
    doctor, blood = found["contained"]
    assert (doctor["resourceType"], blood["resourceType"]) == ("Practitioner", "Specimen")
    assert found["specimen"]["reference"] == f"#{blood['id']}"
    assert blood["collection"]["collector"]["reference"] == f"#{doctor['id']}"
    assert "performer" not in found
    assert "name" not in doctor


def test_references_inside_a_bundle_still_meet() -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "identifier": {"value": "msg-1"},
        "entry": [
            {
                "fullUrl": "urn:uuid:7d1c0d5e-0000-4000-8000-000000000001",
                "resource": {"resourceType": "Patient", "id": "1"},
            },
            {
                "fullUrl": "http://his/fhir/Encounter/7",
                "resource": {
                    "resourceType": "Encounter",
                    "id": "7",
                    "status": "finished",
                    "class": {"code": "IMP"},
                    "subject": {"reference": "urn:uuid:7d1c0d5e-0000-4000-8000-000000000001"},
                },
            },
            {
                "fullUrl": "urn:uuid:7d1c0d5e-0000-4000-8000-000000000009",
                "resource": {"resourceType": "Basic", "id": "9"},
            },
            {
                "resource": observation(
                    encounter={"reference": "Encounter/7"},
                    focus=[{"reference": "urn:uuid:7d1c0d5e-0000-4000-8000-000000000009"}],
                )
            },
        ],
    }
    found = Deidentifier(load_profile("gbt-37964"), SECRET).bundle(bundle, lambda _: b"p")
    patient, encounter, measured = found["entry"]
    assert (found["type"], len(found["entry"])) == ("collection", 3)
    assert encounter["resource"]["subject"]["reference"] == patient["fullUrl"]
    assert encounter["fullUrl"].endswith(measured["resource"]["encounter"]["reference"])
    assert "focus" not in measured["resource"]


def test_uids_of_a_study_are_those_of_its_deidentified_images() -> None:
    study = {
        "resourceType": "ImagingStudy",
        "status": "available",
        "subject": {"reference": "Patient/1"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        "series": [
            {
                "uid": "1.2.3.4",
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
                "instance": [
                    {
                        "uid": "1.2.3.4.5",
                        "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
                    }
                ],
            }
        ],
    }
    found, ours = deidentified(study), Pseudonyms(SECRET)
    assert found["identifier"][0]["value"] == f"urn:oid:{ours.uid('1.2.3')}"
    assert found["series"][0]["uid"] == ours.uid("1.2.3.4")
    assert found["series"][0]["modality"]["code"] == "CT"
    assert found["series"][0]["instance"][0]["sopClass"]["code"] == "urn:oid:1.2.840.10008.5.1.4.1.1.2"


def test_a_patient_is_left_with_sex_year_region_and_kind() -> None:
    body = {
        "resourceType": "Patient",
        "gender": "female",
        "birthDate": "1962-03-17",
        "name": [{"text": "欧阳静"}],
        "telecom": [{"system": "phone", "value": "13912340028"}],
        "photo": [{"data": "AAAA"}],
        "address": [
            {
                "use": "home",
                "state": "广东省",
                "city": "深圳市",
                "district": "南山区",
                "postalCode": "518057",
                "line": ["科苑路15号"],
                "text": "广东省深圳市南山区科苑路15号",
                "country": "CHN",
            }
        ],
        "maritalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]
        },
        "extension": [
            {
                "url": "urn:xinglin:fhir:StructureDefinition:ethnic-group",
                "valueCodeableConcept": {
                    "coding": [{"system": "urn:oid:2.16.156.10011.2.3.3.3", "code": "05"}],
                    "text": "维吾尔族",
                },
            },
            {"url": "urn:made:up", "valueString": "欧阳静"},
        ],
        "contact": [{"name": {"text": "欧阳强"}}],
        "managingOrganization": {"reference": "Organization/1"},
    }
    found = deidentified(body)
    assert found["address"] == [
        {"use": "home", "state": "广东省", "city": "深圳市", "district": "南山区", "postalCode": "5180"}
    ]
    assert (found["birthDate"], found["gender"]) == ("1962", "female")
    assert [one["valueCodeableConcept"]["coding"][0]["code"] for one in found["extension"]] == ["97"]
    assert not {"name", "telecom", "photo", "contact"} & set(found)
    harbour = deidentified(body, "hipaa-safe-harbor")
    assert harbour["address"] == [{"use": "home", "state": "广东省", "country": "CHN"}]
    assert "extension" not in harbour


@pytest.mark.parametrize("said", ["汉族", "01", "维吾尔族", "其他", "White", "99", "", 1])
def test_a_people_is_han_or_another_or_not_said(said: Any) -> None:
    url = "urn:xinglin:fhir:StructureDefinition:nation"
    found = deidentified({"resourceType": "Patient", "extension": [{"url": url, "valueString": said}]})
    left = [one["valueString"] for one in found.get("extension", ())]
    assert left == {"汉族": ["汉族"], "01": ["汉族"], "维吾尔族": ["其他"], "其他": ["其他"]}.get(said, [])


@pytest.mark.parametrize("level", ["state", "city", "district"])
@pytest.mark.parametrize("name", ["李旗", "王州", "张家市", "海淀区中关村1号", "Zhang", ""])
def test_a_place_that_gbt_2260_does_not_know_is_dropped(level: str, name: str) -> None:
    assert "address" not in deidentified({"resourceType": "Patient", "address": [{level: name}]})


@pytest.mark.parametrize(
    ("sent", "left"), [("90210", "902"), ("03601", "000"), ("90210-1234", "902"), ("518057", None), ("9021", None)]
)
def test_safe_harbor_leaves_three_digits_of_a_zip_code_and_none_where_few_live(sent: str, left: str | None) -> None:
    found = deidentified({"resourceType": "Patient", "address": [{"postalCode": sent}]}, "hipaa-safe-harbor")
    assert found.get("address", [{}])[0].get("postalCode") == left


def test_totals_of_a_bill_stay_and_its_words_go() -> None:
    money = {"value": 30.7, "currency": "CNY"}
    found = deidentified(
        {
            "resourceType": "Invoice",
            "status": "issued",
            "totalNet": money,
            "totalGross": {"value": 1, "currency": "张三"},
            "lineItem": [
                {
                    "chargeItemReference": {"reference": "ChargeItem/1"},
                    "priceComponent": [{"type": "base", "amount": money}],
                }
            ],
            "cancelledReason": "张三",
            "note": [{"text": "张三"}],
        }
    )
    assert found["totalNet"] == money
    assert found["totalGross"] == {"value": 1}
    assert found["lineItem"][0]["priceComponent"] == [{"type": "base", "amount": money}]
    assert not {"note", "cancelledReason"} & set(found)


def test_documents_stay_and_that_they_exist_is_said() -> None:
    found = deidentified(
        {
            "resourceType": "DocumentReference",
            "status": "current",
            "subject": {"reference": "Patient/1"},
            "content": [
                {
                    "attachment": {
                        "contentType": "text/plain; name=张三",
                        "data": "5byg5LiJ",
                        "title": "张三",
                        "url": "http://a",
                    }
                }
            ],
        }
    )
    assert found["content"] == [{"attachment": {"contentType": "text/plain"}}]


def test_a_section_without_entries_goes_with_its_text() -> None:
    code = {"coding": [{"system": LOINC, "code": "10154-3"}]}
    found = deidentified(
        {
            "resourceType": "Composition",
            "status": "final",
            "type": {},
            "date": "2026-06-01",
            "author": [{"display": "李四"}],
            "title": "张三的病历",
            "section": [
                {"title": "主诉", "code": code, "text": {"status": "generated", "div": "<div>张三</div>"}},
                {"title": "外", "section": [{"title": "内", "code": code, "entry": [{"reference": "Observation/1"}]}]},
            ],
        }
    )
    assert len(found["section"]) == 1
    assert found["section"][0]["section"][0]["code"]["coding"][0]["code"] == "10154-3"
    assert found["_title"]["extension"][0]["valueCode"] == "masked"
    assert found["author"][0]["extension"][0]["valueCode"] == "masked"


def test_the_same_dataset_gives_the_same_bytes_in_any_order() -> None:
    first, second = observation(id="a", valueString="阴性"), observation(id="b", subject={"reference": "Patient/1"})
    one, other = (Deidentifier(load_profile("gbt-37964"), SECRET) for _ in range(2))
    forwards = [one.resource(body, b"p") for body in (first, second)]
    backwards = [other.resource(body, b"p") for body in (second, first)]
    assert forwards == backwards[::-1]
    assert one.report == other.report


def test_a_secret_of_another_length_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Deidentifier(load_profile("gbt-37964"), b"short")
