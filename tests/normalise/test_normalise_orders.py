"""Orders of services: requests from ORC and OBR, their timing, reasons, specimens, costs and who acts on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from schemas.records import Refusal, SourceContext

Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟"


def message(event: str, *segments: str) -> bytes:
    msh = rf"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, *segments)).encode()


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(found) == 1
    return found[0]


def test_order_is_a_request_and_only_mentions_its_patient(bodies: Bodies, context: SourceContext) -> None:
    content = message("ORM^O01", PID, "PV1|1|O", "ORC|NW|P1^HIS|||||||20261101080000", "OBR|1|P1^HIS||C14^呼气试验^L")
    found = convert(content, context)
    assert {one.type: one.mode for one in found.resources if one.patient}["Patient"] == "ensure"
    request = one(bodies(found, "ServiceRequest"))
    assert (request["status"], request["intent"]) == ("active", "order")
    assert request["authoredOn"] == "2026-11-01T08:00:00+08:00"
    assert request["encounter"]["reference"].startswith("Encounter/")
    assert bodies(found, "DiagnosticReport") == []


def test_order_and_its_result_are_about_the_same_request(bodies: Bodies) -> None:
    order = bodies(message("OML^O21", PID, "ORC|NW|P1^HIS", "OBR|1|P1^HIS||C^血^L"), "ServiceRequest")
    result = bodies(
        message("ORU^R01", PID, "OBR|1|P1^HIS|F1^LIS|C^血^L|||||||||||||||||||||F", "OBX|1|ST|1^a^L||x||||||F"),
        "ServiceRequest",
    )
    assert one(order)["id"] == one(result)["id"]


def test_order_that_tells_how_far_its_report_is_has_one(bodies: Bodies) -> None:
    content = message("OML^O21", PID, "ORC|SC|P1", "OBR|1|P1||C^血^L|||||||||||||||||||||I")
    assert one(bodies(content, "DiagnosticReport"))["status"] == "registered"


def test_every_orc_is_a_request_even_without_a_detail(bodies: Bodies) -> None:
    content = message("ORM^O01", PID, "ORC|OC|P1^HIS", "ORC|NW|P2^HIS", "OBR|1|P2^HIS||C^血^L")
    alone, whole = bodies(content, "ServiceRequest")
    assert (alone["status"], alone["identifier"][0]["value"], "code" in alone) == ("revoked", "P1", False)
    assert whole["code"]["text"] == "血"


def test_timing_before_and_after_the_detail_and_of_older_fields_is_the_same(bodies: Bodies) -> None:
    tq1 = "TQ1|1|2^片|Q6H|||3^d|20261101080000||S"
    orc7 = "ORC|NW|P1||||| 2&片^Q6H^D3^20261101080000^^S".replace(" ", "")
    before = one(bodies(message("OMG^O19", PID, "ORC|NW|P1", tq1, "OBR|1|||C^血^L"), "ServiceRequest"))
    after = one(bodies(message("OMG^O19", PID, "ORC|NW|P1", "OBR|1|||C^血^L", tq1), "ServiceRequest"))
    older = one(bodies(message("ORM^O01", PID, orc7, "OBR|1|||C^血^L"), "ServiceRequest"))
    assert before["quantityQuantity"] == after["quantityQuantity"] == older["quantityQuantity"]
    repeat = before["occurrenceTiming"]["repeat"]
    assert (repeat["frequency"], repeat["period"], repeat["periodUnit"]) == (1, 6, "h")
    assert repeat["boundsPeriod"] == {"start": "2026-11-01T08:00:00+08:00"}
    assert before["priority"] == after["priority"] == older["priority"] == "stat"
    assert before["occurrenceTiming"] == after["occurrenceTiming"] == older["occurrenceTiming"]


def test_pattern_with_event_and_offset_is_in_minutes(bodies: Bodies) -> None:
    content = message("OMG^O19", PID, "ORC|NW|P1", "TQ1|1||BID^^^^^^^ACM^1^h||||||||||15^min|5", "OBR|1|||C^血^L")
    repeat = one(bodies(content, "ServiceRequest"))["occurrenceTiming"]["repeat"]
    assert (repeat["when"], repeat["offset"], repeat["frequency"]) == (["ACM"], 60, 2)
    assert (repeat["duration"], repeat["durationUnit"], repeat["count"]) == (15, "min", 5)


def test_diagnosis_of_an_order_is_its_reason_and_none_of_the_visit(bodies: Bodies, context: SourceContext) -> None:
    found = convert(
        message(
            "ORM^O01", PID, "PV1|1|O", "ORC|NW|P1", "OBR|1|||C^血^L", "DG1|1||I10^高血压^I10", "DG1|2||E11^糖尿病^I10"
        ),
        context,
    )
    reasons = one(bodies(found, "ServiceRequest"))["reasonReference"]
    assert [reason["reference"] for reason in reasons] == [
        f"Condition/{one['id']}" for one in bodies(found, "Condition")
    ]
    assert "diagnosis" not in one(bodies(found, "Encounter"))


def test_observation_sent_along_supports_the_order_and_is_not_its_result(
    bodies: Bodies, context: SourceContext
) -> None:
    found = convert(
        message(
            "OML^O21", PID, "ORC|NW|P1", "OBR|1|P1||C^血^L", "OBX|1|NM|8302-2^身高^LN||170|cm|||||F", "NTE|1||站立"
        ),
        context,
    )
    observation = one(bodies(found, "Observation"))
    request = one(bodies(found, "ServiceRequest"))
    assert request["supportingInfo"] == [{"reference": f"Observation/{observation['id']}"}]
    assert observation["note"] == [{"text": "站立"}]
    assert "basedOn" not in observation


def test_requester_acts_for_the_ordering_facility(bodies: Bodies, context: SourceContext) -> None:
    orc = "ORC|NW|P1|||||||20261101|D2^李^录||D1^王^医|||||||D3^赵^护||东院^^E1|路1号^^市|138^WPN|家1号^^市"
    found = convert(message("OML^O21", PID, orc, "OBR|1|P1||C^血^L"), context)
    role = one(bodies(found, "PractitionerRole"))
    assert one(bodies(found, "ServiceRequest"))["requester"]["reference"] == f"PractitionerRole/{role['id']}"
    facility = next(body for body in bodies(found, "Organization") if body.get("name") == "东院")
    assert role["organization"]["reference"] == f"Organization/{facility['id']}"
    assert (facility["address"][0]["line"], facility["telecom"][0]["value"]) == (["路1号"], "138")
    doctor = next(body for body in bodies(found, "Practitioner") if body["identifier"][0]["value"] == "D1")
    assert doctor["address"][0]["line"] == ["家1号"]


def test_whoever_entered_or_acted_on_an_order_stands_in_its_provenance(bodies: Bodies, context: SourceContext) -> None:
    orc = "ORC|NW|P1|||||||20261101080000|D2^李^录|D4^钱^核|D1^王^医|||||||D3^赵^护"
    found = convert(message("OML^O21", PID, orc, "OBR|1|P1||C^血^L"), context)
    request = one(bodies(found, "ServiceRequest"))
    about = [body for body in bodies(found, "Provenance") if len(body["target"]) == 1]
    traced = next(body for body in about if body["target"][0]["reference"] == f"ServiceRequest/{request['id']}")
    agents = [agent["type"]["coding"][0]["code"] for agent in traced["agent"]]
    assert agents == ["enterer", "verifier", "author", "performer"]
    assert traced["activity"]["coding"][0]["code"] == "CREATE"
    assert traced["occurredDateTime"] == "2026-11-01T08:00:00+08:00"


def test_costs_account_and_study_belong_to_the_order(bodies: Bodies, context: SourceContext) -> None:
    found = convert(
        message(
            "ORM^O01",
            PID,
            "ORC|NW|P1",
            "OBR|1|P1||C^血^L",
            "FT1|1|T1||20261101||CG|A1^化验^L|||1|5.00&CNY",
            "CTI|RS1^LAB",
            "BLG|CR||AI1^^^EAST",
        ),
        context,
    )
    request, charge = one(bodies(found, "ServiceRequest")), one(bodies(found, "ChargeItem"))
    assert charge["supportingInformation"] == [{"reference": f"ServiceRequest/{request['id']}"}]
    account, study = one(bodies(found, "Account")), one(bodies(found, "ResearchStudy"))
    assert charge["account"] == [{"reference": f"Account/{account['id']}"}]
    said = {reference["reference"] for reference in request["supportingInfo"]}
    assert said == {f"Account/{account['id']}", f"ResearchStudy/{study['id']}"}


def test_specimen_has_its_collection_from_the_order_where_it_says_none(bodies: Bodies) -> None:
    obr = "OBR|1|P1||C^血^L|||20261101080000||5^mL|D6^采^血"
    spm = "SPM|1|S1&HIS^S2&LIS||BLD" + "|" * 13 + "{}"
    silent = one(bodies(message("OML^O21", PID, "ORC|NW|P1", obr, spm.format("")), "Specimen"))
    telling = one(bodies(message("OML^O21", PID, "ORC|NW|P1", obr, spm.format("20261031")), "Specimen"))
    assert silent["collection"]["collectedDateTime"] == "2026-11-01T08:00:00+08:00"
    assert silent["collection"]["quantity"] == {"value": 5, "unit": "mL"}
    assert telling["collection"]["collectedDateTime"] == "2026-10-31"
    assert [number["value"] for number in silent["identifier"]] == ["S1", "S2"]


def test_container_completes_its_specimen(bodies: Bodies) -> None:
    segments = (
        "ORC|NW|P1",
        "OBR|1|P1||C^血^L",
        "SPM|1|S1||BLD||||||||||||||||||||||||||AC1",
        "SAC||AC2|CO1" + "|" * 18 + "10|5||mL",
    )
    specimen = one(bodies(message("OML^O21", PID, *segments), "Specimen"))
    assert specimen["accessionIdentifier"]["value"] == "AC1"
    container = specimen["container"][0]
    assert container["identifier"][0]["value"] == "CO1"
    assert (container["capacity"], container["specimenQuantity"]) == (
        {"value": 10, "unit": "mL"},
        {"value": 5, "unit": "mL"},
    )


def test_results_follow_the_specimen_before_them(bodies: Bodies, context: SourceContext) -> None:
    found = convert(
        message(
            "OUL^R22",
            PID,
            "SPM|1|S1||BLD",
            "OBX|1|ST|1^溶血^L||无||||||F",
            "OBR|1|P1|F1|C^血^L|||||||||||||||||||||F",
            "ORC|RE|P1|F1||CM",
            "OBX|1|NM|718-7^Hb^LN||115|g/L|||||F",
            "SPM|2|S2||UR",
            "OBR|2|P2|F2|U^尿^L|||||||||||||||||||||F",
            "OBX|1|ST|5778-6^尿色^LN||黄||||||F",
        ),
        context,
    )
    blood, urine = bodies(found, "Specimen")
    haemolysis, haemoglobin, colour = bodies(found, "Observation")
    first, second = bodies(found, "DiagnosticReport")
    for body, specimen in ((haemolysis, blood), (haemoglobin, blood), (colour, urine)):
        assert body["specimen"]["reference"] == f"Specimen/{specimen['id']}"
    assert [reference["reference"] for reference in first["result"]] == [f"Observation/{haemoglobin['id']}"]
    assert [reference["reference"] for reference in second["specimen"]] == [f"Specimen/{urine['id']}"]
    assert [body["status"] for body in bodies(found, "ServiceRequest")] == ["completed", "unknown"]


@pytest.mark.parametrize(
    "segments",
    [
        ("OBR|1|P1||C^血^L", "PRT|1|AD||OP^^HL70443|D5^吴^敏", "ORC|RE|P1||G1", "OBR|2|P2||U^尿^L", "ORC|RE|P2||G2"),
        ("ORC|RE|P1||G1", "OBR|1|P1||C^血^L", "ORC|RE|P2||G2", "OBR|2|P2||U^尿^L"),
    ],
)
def test_common_part_before_or_after_its_detail_is_of_that_order(bodies: Bodies, segments: tuple[str, ...]) -> None:
    first, second = bodies(message("OUL^R22", PID, "SPM|1|S1||BLD", *segments), "ServiceRequest")
    assert [(one["identifier"][0]["value"], one["requisition"]["value"]) for one in (first, second)] == [
        ("P1", "G1"),
        ("P2", "G2"),
    ]


def test_diet_and_supply_are_orders_of_their_own(bodies: Bodies, context: SourceContext) -> None:
    found = convert(
        message(
            "ORM^O01",
            PID,
            "ORC|NW|P1|||||||20261101080000|||D1^王^医",
            "ODS|D||F1^低盐^L|少油",
            "ODS|P||V1^素食^L",
            "NTE|1||已告知",
            "ORC|OC|P2",
            "RQD|1|I1^纱布^L|||5|包|||W3^三病区^L|20261102",
            "DG1|1||T14^外伤^I10",
        ),
        context,
    )
    diet, supply = one(bodies(found, "NutritionOrder")), one(bodies(found, "SupplyRequest"))
    assert diet["oralDiet"]["type"][0]["text"] == "低盐"
    assert diet["oralDiet"]["instruction"] == "少油"
    assert diet["foodPreferenceModifier"][0]["text"] == "素食"
    assert (diet["dateTime"], diet["note"]) == ("2026-11-01T08:00:00+08:00", [{"text": "已告知"}])
    assert (supply["status"], supply["quantity"], supply["deliverTo"]["display"]) == (
        "cancelled",
        {"value": 5, "unit": "包"},
        "三病区",
    )
    assert len(supply["reasonReference"]) == 1
    assert bodies(found, "ServiceRequest") == []


@pytest.mark.parametrize(
    ("segments", "code", "where"),
    [
        ((PID,), "required", "OBR or ORC or RXA or RXD or RXE or RXO"),
        (("ORC|NW|P1", "OBR|1|||C^血^L"), "required", "PID"),
        (("ORC|NW|P1", PID, "OBR|1|||C^血^L"), "structure", "ORC[1]"),
    ],
)
def test_order_without_what_it_is_about_is_refused(
    refusal: Callable[..., Refusal], segments: tuple[str, ...], code: str, where: str
) -> None:
    found = refusal(message("ORM^O01", *segments))
    assert (found.code, found.where) == (code, where)


def test_parent_and_group_numbers_of_either_type_are_read(bodies: Bodies) -> None:
    orc = "ORC|NW|P1||G1&HIS^H1&LIS||||PA&HIS^FA&LIS"
    request = one(bodies(message("OML^O21", PID, orc, "OBR|1|P1||C^血^L" + "|" * 25 + "^FB&LIS"), "ServiceRequest"))
    assert request["requisition"]["value"] == "G1"
    assert [(one["type"], one["identifier"]["value"]) for one in request["basedOn"]] == [
        ("ServiceRequest", "PA"),
        ("ServiceRequest", "FB"),
    ]
