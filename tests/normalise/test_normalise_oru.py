"""What results become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from schemas.records import SourceContext

Bodies = Callable[..., list[dict[str, Any]]]
Build = Callable[..., bytes]
OBX = "OBX|{0}|NM|{1}^血红蛋白^LN||{2}|g/L^g/L^UCUM|130-175|L|||F|||20261101080000"


def test_order_report_and_results_refer_to_each_other(oru: Build, bodies: Bodies) -> None:
    content = oru(OBX.format(1, "718-7", "115.2"), OBX.format(2, "777-3", "120"))
    request, report = bodies(content, "ServiceRequest")[0], bodies(content, "DiagnosticReport")[0]
    observations = bodies(content, "Observation")
    assert report["basedOn"] == [{"reference": f"ServiceRequest/{request['id']}"}]
    assert report["result"] == [{"reference": f"Observation/{one['id']}"} for one in observations]
    assert all(one["basedOn"] == report["basedOn"] for one in observations)
    assert [one["type"]["coding"][0]["code"] for one in report["identifier"]] == ["PLAC", "FILL"]


def test_patient_has_the_same_id_as_in_adt(oru: Build, adt: Build, bodies: Bodies) -> None:
    from_adt = bodies(adt("A08", "PID|1||7^^^EAST&1.2.156.1&ISO^MR~110101199003070038^^^公安部^NI||张伟"), "Patient")
    assert bodies(oru(OBX.format(1, "718-7", "1")), "Patient")[0]["id"] == from_adt[0]["id"]


def test_result_mentions_patient_and_visit_and_is_news_of_the_rest(oru: Build) -> None:
    found = convert(oru(OBX.format(1, "718-7", "1")), SourceContext("s", "i", "Asia/Shanghai"))
    modes = {one.type: one.mode for one in found.resources}
    assert modes["Patient"] == modes["Organization"] == "ensure"
    assert {modes[one] for one in ("ServiceRequest", "DiagnosticReport", "Observation", "Provenance")} == {"update"}


def test_corrected_result_has_the_id_of_the_one_it_corrects(oru: Build, bodies: Bodies) -> None:
    first = bodies(oru(OBX.format(1, "718-7", "115.2")), "Observation")[0]
    corrected = bodies(oru(OBX.format(1, "718-7", "151.2").replace("|F|", "|C|")), "Observation")[0]
    assert first["id"] == corrected["id"]
    assert (first["status"], corrected["status"]) == ("final", "corrected")


def test_results_of_one_code_are_told_apart(oru: Build, bodies: Bodies) -> None:
    lines = [f"OBX|{number}|TX|REPORT^Text^L||line {number}||||||F" for number in ("1", "2", "", "")]
    assert len({one["id"] for one in bodies(oru(*lines), "Observation")}) == 4


def test_note_stands_with_the_result_or_the_order_before_it(oru: Build, bodies: Bodies) -> None:
    content = oru("NTE|1||of the order", OBX.format(1, "718-7", "1"), r"NTE|1|L|标本轻度溶血\T\复查~line 2")
    assert bodies(content, "ServiceRequest")[0]["note"] == [{"text": "of the order"}]
    assert bodies(content, "Observation")[0]["note"] == [{"text": "标本轻度溶血&复查\nline 2"}]


def test_note_says_who_wrote_it_and_when(oru: Build, bodies: Bodies) -> None:
    content = oru(OBX.format(1, "718-7", "1"), "NTE|1|L|复查||D9^李^强|20261101090000")
    note = bodies(content, "Observation")[0]["note"][0]
    assert (note["text"], note["authorReference"]["display"]) == ("复查", "李强")
    assert note["time"] == "2026-11-01T09:00:00+08:00"


def test_participation_stands_where_its_role_belongs(oru: Build, bodies: Bodies) -> None:
    content = oru(
        "PRT|1|AD||OP|D1^周^敏", "PRT|2|AD||PRI|D2^吴^静", "PRT|3|AD||PO||||检验中心^^M1",
        OBX.format(1, "718-7", "1"), "PRT|4|AD||EQUIP|||||W3^^^EAST|E7^LAB", "TQ1|1||||||||S||空腹|",
    )  # fmt: skip
    request, report = bodies(content, "ServiceRequest")[0], bodies(content, "DiagnosticReport")[0]
    assert request["requester"]["display"] == "周敏"
    assert (request["priority"], request["note"]) == ("stat", [{"text": "空腹"}])
    assert [one["display"] for one in report["resultsInterpreter"]] == ["吴静"]
    assert [one["display"] for one in report["performer"]] == ["检验中心"]
    observation = bodies(content, "Observation")[0]
    (device,) = bodies(content, "Device")
    assert observation["device"] == {"reference": f"Device/{device['id']}"}
    assert device["identifier"][0]["value"] == "E7"
    assert observation["extension"][0]["url"].endswith("event-location")


def test_performing_organisation_has_its_address(oru: Build, bodies: Bodies) -> None:
    obx = OBX.format(1, "718-7", "1") + "|" * 9 + "检验中心^^M1|杏林路1号^^北京市"
    performer = bodies(oru(obx, obx.replace("OBX|1", "OBX|2")), "Observation")[0]["performer"][0]
    laboratory = next(one for one in bodies(oru(obx), "Organization") if one.get("name") == "检验中心")
    assert performer["reference"] == f"Organization/{laboratory['id']}"
    assert laboratory["address"] == [{"line": ["杏林路1号"], "city": "北京市", "text": "北京市杏林路1号"}]


def test_observation_without_a_time_has_that_of_the_order(oru: Build, bodies: Bodies) -> None:
    found = bodies(oru("OBX|1|NM|718-7^Hb^LN||115|g/L|||||F"), "Observation")[0]
    assert found["effectiveDateTime"] == "2026-11-01T08:00:00+08:00"
    obr = "OBR|1|P1|F1|58410-2^CBC^LN|||20261101080000+0800|20261101090000+0800"
    period = bodies(oru("OBX|1|NM|718-7^Hb^LN||115|g/L|||||F", obr=obr), "Observation")[0]["effectivePeriod"]
    assert period == {"start": "2026-11-01T08:00:00+08:00", "end": "2026-11-01T09:00:00+08:00"}


@pytest.mark.parametrize("type_", ["TX", "FT", "ST", ""])
def test_words_without_a_code_are_about_what_was_ordered(oru: Build, bodies: Bodies, type_: str) -> None:
    content = oru(f"OBX|1|{type_}|||心影不大||||||F", f"OBX|2|{type_}|||两肺纹理清晰||||||F", "OBX|3|TX|||||||||F")
    found = bodies(content, "Observation")
    assert [one["code"] for one in found] == [{"text": "CBC"}] * 2
    assert [one["valueString"] for one in found] == ["心影不大", "两肺纹理清晰"]
    assert len({one["id"] for one in found}) == 2
    notes = convert(content, SourceContext("s", "i", "Asia/Shanghai")).notes
    assert ("required", "OBX[1]-3") in [(one.code, one.where) for one in notes]
    assert ("required", "OBX[3]-5") in [(one.code, one.where) for one in notes]


def test_reference_range_keeps_its_text_and_has_ends_when_they_are_plain(oru: Build, bodies: Bodies) -> None:
    def ranges(text: str) -> dict[str, Any]:
        return bodies(oru(f"OBX|1|NM|718-7^Hb^LN||115|g/L|{text}||||F"), "Observation")[0]["referenceRange"][0]

    assert ranges("130-175") == {
        "text": "130-175",
        "low": {"value": 130, "unit": "g/L"},
        "high": {"value": 175, "unit": "g/L"},
    }
    assert ranges("70_105") == {"text": "70_105"}
    assert ranges("175-130") == {"text": "175-130"}
    assert ranges("阴性") == {"text": "阴性"}


def test_specimen_is_named_by_request_report_and_results(oru: Build, bodies: Bodies) -> None:
    content = oru(
        OBX.format(1, "718-7", "1"),
        "SPM|1|S7&LAB^S8&LAB||BLD^全血^HL70487|||||||||||||20261101075500|20261101081000||Y",
    )
    specimen = bodies(content, "Specimen")[0]
    reference = {"reference": f"Specimen/{specimen['id']}"}
    assert bodies(content, "Observation")[0]["specimen"] == reference
    assert bodies(content, "DiagnosticReport")[0]["specimen"] == [reference]
    assert specimen["collection"]["collectedDateTime"] == "2026-11-01T07:55:00+08:00"
    assert (specimen["status"], specimen["type"]["text"]) == ("available", "全血")
    assert [one["value"] for one in specimen["identifier"]] == ["S7", "S8"]


def test_specimen_source_of_older_versions_is_a_specimen(oru: Build, bodies: Bodies) -> None:
    source = "BLD&Whole blood&HL70070^HEP&Heparin^left arm^LA&Arm&L"
    obr = f"OBR|1|P1|F1|58410-2^CBC^LN|||20261101080000|||||||20261101081000|{source}"
    specimen = bodies(oru(OBX.format(1, "718-7", "1"), obr=obr), "Specimen")[0]
    assert specimen["container"][0]["additiveCodeableConcept"]["text"] == "Heparin"
    assert specimen["note"] == [{"text": "left arm"}]
    assert specimen["collection"]["bodySite"]["text"] == "Arm"
    assert specimen["accessionIdentifier"]["value"] == "P1"
    assert specimen["receivedTime"] == "2026-11-01T08:10:00+08:00"


def test_order_status_and_requester_come_from_orc(oru: Build, bodies: Bodies) -> None:
    orc = "ORC|NW|P1|F1|G1|CM||||20261101070000|||D1^欧阳^芳"
    content = oru(OBX.format(1, "718-7", "1"), obr=orc + "\rOBR|1|||58410-2^CBC^LN")
    request = bodies(content, "ServiceRequest")[0]
    assert (request["status"], request["authoredOn"]) == ("completed", "2026-11-01T07:00:00+08:00")
    assert request["requester"]["display"] == "欧阳芳"
    assert [one["value"] for one in request["identifier"]] == ["P1", "F1"]
    assert request["requisition"]["value"] == "G1"


@pytest.mark.parametrize(
    ("sent", "status"),
    [("F", "final"), ("P", "preliminary"), ("C", "corrected"), ("X", "cancelled"), ("A", "partial"), ("", "unknown")],
)
def test_report_status(oru: Build, bodies: Bodies, sent: str, status: str) -> None:
    obr = "OBR|1|P1|F1|58410-2^CBC^LN" + "|" * 21 + sent
    assert bodies(oru(OBX.format(1, "718-7", "1"), obr=obr), "DiagnosticReport")[0]["status"] == status


def test_results_of_two_patients_stay_apart(oru: Build, bodies: Bodies) -> None:
    content = oru(
        OBX.format(1, "718-7", "1"), "PID|2||8^^^EAST", "OBR|1|P2|F2|58410-2^CBC^LN", OBX.format(1, "718-7", "2")
    )
    found = convert(content, SourceContext("s", "hospital-east", "Asia/Shanghai"))
    patients = [one["id"] for one in bodies(found, "Patient")]
    assert [one.patient for one in found.resources if one.type == "Observation"] == patients
    assert [one.patient for one in found.resources if one.type == "Provenance"] == patients


def test_codes_keep_every_coding_and_local_ones_are_the_institutions(oru: Build, bodies: Bodies) -> None:
    coding = bodies(oru("OBX|1|NM|718-7^血红蛋白^LN^HGB^血色素^L^2.74||115||||||F"), "Observation")[0]["code"]["coding"]
    assert coding == [
        {"code": "718-7", "system": "http://loinc.org", "version": "2.74", "display": "血红蛋白"},
        {"code": "HGB", "system": "urn:xinglin:hospital-east:codes:L", "display": "血色素"},
    ]


def test_numbers_do_not_decide_ids_but_order_numbers_do(oru: Build, bodies: Bodies) -> None:
    first = oru(OBX.format(1, "718-7", "1"))
    other = oru(OBX.format(1, "718-7", "1"), obr="OBR|1|P1|F2|58410-2^CBC^LN")
    assert bodies(first, "Observation")[0]["id"] != bodies(other, "Observation")[0]["id"]
    assert bodies(first, "ServiceRequest")[0]["id"] == bodies(other, "ServiceRequest")[0]["id"]
