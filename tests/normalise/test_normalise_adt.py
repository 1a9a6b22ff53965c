"""What messages about patients and visits become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from schemas.records import SourceContext

Bodies = Callable[..., list[dict[str, Any]]]
Build = Callable[..., bytes]
PID = "PID|1||7^^^EAST^MR||张伟|||M"
PV1 = "PV1|1|I|W1^R2^B3^EAST||||D1^欧阳芳^^^^主任医师" + "|" * 12 + "V9^^^EAST^VN"


@pytest.mark.parametrize(
    ("event", "pv1", "status"),
    [
        ("A01", PV1, "in-progress"),
        ("A03", PV1, "finished"),
        ("A04", PV1, "arrived"),
        ("A05", PV1, "planned"),
        ("A11", PV1, "cancelled"),
        ("A08", PV1, "in-progress"),
        ("A08", PV1.replace("|I|", "|P|"), "planned"),
        ("A08", PV1 + "|" * 26 + "20261102", "finished"),
        ("A08", "PV1|1|", "unknown"),
    ],
)
def test_encounter_status_is_what_the_event_says(adt: Build, bodies: Bodies, event: str, pv1: str, status: str) -> None:
    assert bodies(adt(event, PID, pv1), "Encounter")[0]["status"] == status


def test_visit_names_its_patient_doctor_and_place(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, PV1)
    encounter = bodies(content, "Encounter")[0]
    assert encounter["subject"] == {"reference": f"Patient/{bodies(content, 'Patient')[0]['id']}"}
    doctor = bodies(content, "Practitioner")[0]
    assert encounter["participant"][0]["individual"]["reference"] == f"Practitioner/{doctor['id']}"
    assert encounter["participant"][0]["type"][0]["coding"][0]["code"] == "ATND"
    places = {one["id"]: one for one in bodies(content, "Location")}
    chain = []
    reference = encounter["location"][0]["location"]
    while reference:
        place = places[reference["reference"].removeprefix("Location/")]
        chain.append((place["name"], place["physicalType"]["coding"][0]["code"]))
        reference = place.get("partOf")
    assert chain == [("B3", "bd"), ("R2", "ro"), ("W1", "wa"), ("EAST", "si")]


def test_the_same_visit_has_the_same_id_in_every_message(adt: Build, bodies: Bodies) -> None:
    ids = {bodies(adt(event, PID, PV1), "Encounter")[0]["id"] for event in ("A01", "A08", "A03")}
    assert len(ids) == 1


def test_visit_without_number_is_known_by_its_admission_else_stands_alone_with_a_note(
    adt: Build, bodies: Bodies
) -> None:
    admitted = "PV1|1|I" + "|" * 42 + "20261101080000"
    assert (
        bodies(adt("A01", PID, admitted), "Encounter")[0]["id"]
        == bodies(adt("A08", PID, admitted), "Encounter")[0]["id"]
    )
    alone = convert(adt("A01", PID, "PV1|1|I"), SourceContext("s", "i", "Asia/Shanghai"))
    assert ("required", "PV1-19") in [(one.code, one.where) for one in alone.notes]


def test_diagnosis_is_one_condition_however_often_it_comes(adt: Build, bodies: Bodies) -> None:
    admitting = bodies(adt("A01", PID, PV1, "DG1|1||I10.x02^高血压病2级^GB/T 14396-2016||20261101|A"), "Condition")
    final = bodies(adt("A03", PID, PV1, "DG1|1||I10.x02^高血压^GB/T 14396-2016||20261101|F"), "Condition")
    assert admitting[0]["id"] == final[0]["id"]
    assert admitting[0]["code"]["coding"][0]["system"] == "urn:oid:2.16.156.10011.2.3.3.11.3"


def test_diagnosis_says_its_role_in_the_encounter(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, PV1, "DG1|1||I10^Hypertension^I10|||A|||||||||2", "DG1|2|||Headache")
    roles = bodies(content, "Encounter")[0]["diagnosis"]
    assert [one["use"]["coding"][0]["code"] for one in roles[:1]] == ["AD"]
    assert roles[0]["rank"] == 2
    conditions = bodies(content, "Condition")
    assert [one["condition"]["reference"] for one in roles] == [f"Condition/{one['id']}" for one in conditions]
    assert conditions[1]["code"] == {"text": "Headache"}


def test_deleted_diagnosis_is_entered_in_error(adt: Build, bodies: Bodies) -> None:
    condition = bodies(adt("A08", PID, PV1, "DG1|1||I10^Hypertension^I10" + "|" * 18 + "D"), "Condition")[0]
    assert condition["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in condition


def test_allergy_with_reaction_and_one_with_severity_alone(adt: Build, bodies: Bodies) -> None:
    first, second = bodies(
        adt("A01", PID, PV1, "AL1|1|DA|P^青霉素^L|SV|皮疹~Hives", "AL1|2|FA|E^Egg^L|MI"), "AllergyIntolerance"
    )
    assert (first["category"], first["type"]) == (["medication"], "allergy")
    assert first["reaction"][0]["severity"] == "severe"
    assert [one["text"] for one in first["reaction"][0]["manifestation"]] == ["皮疹", "Hives"]
    assert (second["criticality"], "reaction" in second) == ("low", False)


def test_allergy_taken_back_is_entered_in_error(adt: Build, bodies: Bodies) -> None:
    found = bodies(adt("A60", PID, "IAM|1|DA|P^Penicillin^L|SV|Rash|D"), "AllergyIntolerance")[0]
    assert found["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in found


def test_insurance_names_insurer_and_insured(adt: Build, bodies: Bodies) -> None:
    in1 = "IN1|1|P1^城镇职工^L|I1^^^医保局|市医保局|人民路1号^^北京市|||G7||||20260101|20261231|||王芳|SPO|19900101"
    content = adt("A01", PID, PV1, in1)
    coverage = bodies(content, "Coverage")[0]
    insurer = next(one for one in bodies(content, "Organization") if one.get("name") == "市医保局")
    spouse = bodies(content, "RelatedPerson")[0]
    assert coverage["payor"][0]["reference"] == f"Organization/{insurer['id']}"
    assert coverage["subscriber"]["reference"] == f"RelatedPerson/{spouse['id']}"
    assert (spouse["name"][0]["text"], spouse["birthDate"]) == ("王芳", "1990-01-01")
    classes = [(one["type"]["coding"][0]["code"], one["value"], one.get("name")) for one in coverage["class"]]
    assert classes == [("plan", "P1", "城镇职工"), ("group", "G7", None)]


def test_numbers_of_in2_stand_in_the_coverage_before_it(adt: Build, bodies: Bodies) -> None:
    in2 = "IN2|1|||||MC-1||MA-2" + "|" * 53 + "MB-3^^^EAST^MB"
    coverage = bodies(adt("A01", PID, PV1, "IN1|1|P1", in2, "IN1|2|P2"), "Coverage")
    numbers = [[(one["value"], one.get("type")) for one in body["identifier"]] for body in coverage]
    assert [one[0] for one in numbers[0]] == ["P1", "MC-1", "MA-2", "MB-3"]
    assert [one[1]["coding"][0]["code"] for one in numbers[0][1:] if one[1]] == ["MC", "MA", "MB"]
    assert [one[0] for one in numbers[1]] == ["P2"]


def test_guarantor_pays_the_account_of_the_patient(adt: Build, bodies: Bodies) -> None:
    pid = PID + "|" * 10 + "A77^^^EAST^AN"
    gt1 = "GT1|1|G1^^^EAST|王芳||人民路1号^^北京市|13800000000||19650301|F||SPO||20260101|20261231"
    content = adt("A01", pid, PV1, gt1)
    account, payer = bodies(content, "Account")[0], bodies(content, "RelatedPerson")[0]
    assert (account["identifier"][0]["value"], account["status"]) == ("A77", "active")
    assert account["subject"] == [bodies(content, "Encounter")[0]["subject"]]
    assert bodies(content, "Encounter")[0]["account"][0]["reference"] == f"Account/{account['id']}"
    guarantor = account["guarantor"][0]
    assert guarantor["party"]["reference"] == f"RelatedPerson/{payer['id']}"
    assert guarantor["period"] == {"start": "2026-01-01", "end": "2026-12-31"}
    assert (payer["name"][0]["text"], payer["gender"], payer["birthDate"]) == ("王芳", "female", "1965-03-01")
    assert payer["relationship"][0]["coding"][0]["code"] == "SPS"


@pytest.mark.parametrize(
    ("gt1", "party"),
    [("GT1|1||张伟||||||||SEL", "Patient"), ("GT1|1" + "|" * 20 + "市医保局^^M1", "Organization")],
)
def test_patient_or_organisation_may_be_the_guarantor(adt: Build, bodies: Bodies, gt1: str, party: str) -> None:
    content = adt("A01", PID + "|" * 10 + "A77", PV1, gt1)
    assert bodies(content, "Account")[0]["guarantor"][0]["party"]["reference"].startswith(f"{party}/")
    assert bodies(content, "RelatedPerson") == []


def test_important_person_is_marked(adt: Build, bodies: Bodies) -> None:
    pv1 = "PV1|1|I" + "|" * 14 + "VIP^要客"
    extension = bodies(adt("A01", PID, pv1), "Patient")[0]["extension"][0]
    assert extension["url"].endswith("patient-importance")
    assert extension["valueCodeableConcept"]["text"] == "要客"


@pytest.mark.parametrize(
    "role", ["ROL|1|AD|{}^^HL70443|D9^李^强|20260101|20260601", "PRT|1|AD||{}^^HL70912|D9^李^强||||||20260101|20260601"]
)
def test_role_is_about_the_segment_before_it(adt: Build, bodies: Bodies, role: str) -> None:
    pr1 = "PR1|1||A1^阑尾切除^L||20261101"
    content = adt("A01", PID, role.format("PP"), PV1, role.format("AT"), pr1, role.format("XX"), "IN1|1|P1", role)
    doctor = f"Practitioner/{next(one['id'] for one in bodies(content, 'Practitioner') if 'D9' in str(one))}"
    roles = {f"PractitionerRole/{one['id']}": one for one in bodies(content, "PractitionerRole")}
    (general,) = bodies(content, "Patient")[0]["generalPractitioner"]  # which could not say since when
    assert (general["display"], roles[general["reference"]]["practitioner"]["reference"]) == ("李强", doctor)
    assert roles[general["reference"]]["period"] == {"start": "2026-01-01", "end": "2026-06-01"}
    participant = bodies(content, "Encounter")[0]["participant"][-1]
    assert participant["individual"]["reference"] == doctor
    assert participant["type"][0]["coding"][0]["code"] == "ATND"
    assert participant["period"] == {"start": "2026-01-01", "end": "2026-06-01"}
    performer = bodies(content, "Procedure")[0]["performer"][0]
    assert roles[performer["actor"]["reference"]]["practitioner"]["reference"] == doctor
    assert performer["function"]["coding"][0]["code"] == "XX"
    notes = convert(content, SourceContext("s", "i", "Asia/Shanghai")).notes
    assert ("structure", f"{role[:3]}[4]") in [(one.code, one.where) for one in notes]


def test_role_that_is_taken_back_is_left_out(adt: Build, bodies: Bodies) -> None:
    content = adt("A08", PID, "ROL|1|DE|PP^^HL70443|D9^李^强", PV1)
    assert "generalPractitioner" not in bodies(content, "Patient")[0]


def test_financial_class_is_a_coverage(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, PV1 + "|01^城镇职工基本医疗保险~07^20260101")
    first, second = bodies(content, "Coverage")
    assert first["type"]["text"] == "城镇职工基本医疗保险"
    assert second["type"] == {"coding": [{"code": "07"}]}


def test_next_of_kin_is_contact_and_related_person(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, "NK1|1|李娜|SPO^配偶^HL70063||^PRN^CP^^86^^13900000000", "NK1|2|ACME Ltd|EMR", PV1)
    assert [one["name"]["text"] for one in bodies(content, "Patient")[0]["contact"] if "text" in one["name"]] == [
        "李娜"
    ]
    related = bodies(content, "RelatedPerson")
    assert [one["name"][0]["text"] for one in related] == ["李娜"]
    assert [one["code"] for one in related[0]["relationship"][0]["coding"]] == ["SPS", "SPO"]


def test_procedure_names_who_did_it(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, PV1, "PR1|1||47.0^阑尾切除术^I9C||202611010900|P||D2^王^强|||D3^李^四")
    found = bodies(content, "Procedure")[0]
    assert [one["function"]["coding"][0]["code"] for one in found["performer"]] == ["88189002", "304292004"]
    assert found["performedDateTime"] == "2026-11-01T09:00:00+08:00"


def test_height_and_weight_in_adt_are_observations_of_the_visit(adt: Build, bodies: Bodies) -> None:
    content = adt(
        "A01", PID, PV1, "OBX|1|NM|1010.3^Body Weight^L||62|kg|||||F", "OBX|2|NM|1010.1^Body Height^L||190|cm|||||F"
    )
    weight, height = bodies(content, "Observation")
    assert weight["valueQuantity"] == {"value": 62, "unit": "kg"}
    assert height["encounter"]["reference"] == f"Encounter/{bodies(content, 'Encounter')[0]['id']}"


def test_merge_links_survivor_and_merged_each_under_its_own_id(adt: Build, bodies: Bodies) -> None:
    content = adt("A40", PID, "MRG|8^^^EAST||||||张伟")
    found = convert(content, SourceContext("hospital-east-his", "hospital-east", "Asia/Shanghai"))
    survivor, merged = bodies(content, "Patient")
    assert survivor["active"] is True
    assert survivor["link"] == [{"other": {"reference": f"Patient/{merged['id']}"}, "type": "replaces"}]
    assert merged["active"] is False
    assert merged["link"] == [{"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}]
    owners = {one.id: one.patient for one in found.resources if one.type == "Patient"}
    assert owners == {survivor["id"]: survivor["id"], merged["id"]: merged["id"]}
    assert merged["id"] == bodies(adt("A01", "PID|1||8^^^EAST&1.2.156.1&ISO^MR||张伟", PV1), "Patient")[0]["id"]


def test_merge_of_several_pairs_makes_each_link(adt: Build, bodies: Bodies) -> None:
    patients = bodies(adt("A40", PID, "MRG|8^^^EAST", PID.replace("|7^", "|9^"), "MRG|10^^^EAST"), "Patient")
    assert [one["active"] for one in patients] == [True, False, True, False]


def test_event_about_a_person_makes_no_encounter(adt: Build, bodies: Bodies) -> None:
    assert bodies(adt("A31", PID, "PV1|1|N"), "Encounter") == []


def test_segment_that_is_not_mapped_is_noted_once(adt: Build) -> None:
    found = convert(adt("A01", PID, PV1, "ZZZ|1", "ZZZ|2"), SourceContext("s", "i", "Asia/Shanghai"))
    assert [one.where for one in found.notes if "not mapped" in one.message] == ["ZZZ[1]"]


def test_provenance_says_who_sent_what_and_from_which_segment(adt: Build, bodies: Bodies) -> None:
    content = adt("A01", PID, PV1, "DG1|1||I10^Hypertension^I10")
    provenance = bodies(content, "Provenance")[0]
    assert provenance["recorded"] == "2026-11-01T08:30:00+08:00"
    assert provenance["activity"]["text"] == "ADT^A01"
    assert provenance["entity"][0]["what"]["identifier"]["value"] == "C1"
    sender = next(one for one in bodies(content, "Organization") if one["name"] == "EAST")
    assert provenance["agent"][0]["who"]["reference"] == f"Organization/{sender['id']}"
    segments = {one["reference"].partition("/")[0]: one["extension"][0]["valueString"] for one in provenance["target"]}
    of_the_patient = {"Patient": "PID", "Encounter": "PV1", "Condition": "DG1[1]"}
    assert segments == {**of_the_patient, "Location": "PV1", "Organization": "MSH", "Practitioner": "PV1"}


def test_what_is_mentioned_is_ensured_and_what_is_news_is_updated(adt: Build) -> None:
    found = convert(adt("A01", PID, PV1), SourceContext("s", "i", "Asia/Shanghai"))
    modes = {one.type: (one.mode, one.patient is None) for one in found.resources}
    assert modes == {
        "Patient": ("update", False),
        "Location": ("ensure", True),
        "Practitioner": ("ensure", True),
        "Encounter": ("update", False),
        "Organization": ("ensure", True),
        "Provenance": ("update", False),
    }
