"""Blood ordered, handed out and transfused: OMB, BPS and BTS."""

from __future__ import annotations

from typing import Any

import pytest

from normalise.errors import SetAside
from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import SourceContext

Body = dict[str, Any]
CONTEXT = SourceContext("bank", "east", "Asia/Shanghai")
PID = "PID|1||P1^^^EAST^MR||王^芳||19800101|F"
ORC = "ORC|SC|P1|F1||IP||||20261101080000|||D1^王^医"
PRODUCT = "urn:xinglin:fhir:StructureDefinition:product"


def message(event: str, *segments: str) -> bytes:
    head = rf"MSH|^~\&|BB|EAST^1.2.156.1^ISO|HUB|R|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((head, *segments)).encode()


def bodies(event: str, *segments: str) -> dict[str, list[Body]]:
    found: dict[str, list[Body]] = {}
    for one in convert(message(event, *segments), CONTEXT).resources:
        assert check_structure(one.body) is None
        found.setdefault(one.type, []).append(one.body)
    return found


def test_order_says_what_how_much_when_and_where_to() -> None:
    found = bodies(
        "OMB^O27",
        PID,
        ORC,
        "BPO|1|RBC^红细胞^L|IRR^辐照^L|2|400|mL|20261102090000||||W3^^^EAST||AN^贫血^L",
        "OBX|1|NM|718-7^Hb^LN||60|g/L|||||F",
        "DG1|1||D64.9^贫血^I10",
        "NTE|1||尽快",
    )
    (order,) = found["ServiceRequest"]
    assert (order["code"]["text"], order["orderDetail"][0]["text"], order["reasonCode"][0]["text"]) == (
        "红细胞",
        "辐照",
        "贫血",
    )
    assert order["quantityQuantity"] == {"value": 400, "unit": "mL"}
    assert {"url": "urn:xinglin:fhir:StructureDefinition:units", "valueInteger": 2} in order["extension"]
    assert order["occurrenceDateTime"] == "2026-11-02T09:00:00+08:00"
    assert order["locationReference"][0]["reference"] in {f"Location/{one['id']}" for one in found["Location"]}
    assert order["supportingInfo"] == [{"reference": f"Observation/{found['Observation'][0]['id']}"}]
    assert order["reasonReference"][0]["reference"] == f"Condition/{found['Condition'][0]['id']}"


def test_order_without_an_amount_counts_units() -> None:
    assert bodies("OMB^O27", PID, ORC, "BPO|1|RBC||2")["ServiceRequest"][0]["quantityQuantity"] == {"value": 2}


@pytest.mark.parametrize(
    ("said", "status"), [("DS", "completed"), ("RD", "in-progress"), ("WA", "abandoned"), ("?", None)]
)
def test_product_handed_out_is_a_delivery_of_a_product(said: str, status: str | None) -> None:
    found = bodies(
        "BPS^O29",
        PID,
        ORC,
        "BPO|1|RBC^红细胞^L",
        f"BPX|1|{said}|F|20261101100000|DON1^BC^1.2.3^ISO|E0336^红细胞悬液^ISBT|||XB^血站||A+^A阳性^L||20261201|1|200|mL|U1"
        "|W3^^^EAST||N1^李^护|N2^张^技",
    )
    (product,), (delivery,) = found["BiologicallyDerivedProduct"], found["SupplyDelivery"]
    (order,) = found["ServiceRequest"]
    assert product["identifier"][0] == {"system": "urn:oid:1.2.3", "value": "DON1", "assigner": {"display": "BC"}}
    assert product["request"] == [{"reference": f"ServiceRequest/{order['id']}"}]
    assert delivery.get("status") == status
    assert delivery["suppliedItem"]["quantity"] == {"value": 200, "unit": "mL"}
    assert delivery["receiver"][0]["display"] == "李护"
    assert delivery["supplier"]["display"] == "张技"
    assert {
        "url": PRODUCT,
        "valueReference": {"reference": f"BiologicallyDerivedProduct/{product['id']}"},
    } in delivery["extension"]


@pytest.mark.parametrize(
    ("disposition", "news", "interrupted", "status"),
    [
        ("TX", "F", "", "completed"),
        ("TR", "F", "FEV^发热^L", "stopped"),
        ("WA", "F", "", "not-done"),
        ("TX", "D", "", "entered-in-error"),
        ("", "F", "", "unknown"),
    ],
)
def test_transfusion_is_a_procedure_of_the_product(disposition: str, news: str, interrupted: str, status: str) -> None:
    handed = bodies("BPS^O29", PID, ORC, "BPO|1|RBC", "BPX|1|DS|F||DON1^BC|E0336^红^ISBT|||||||||||U1")
    found = bodies(
        "BTS^O31",
        PID,
        ORC,
        "BPO|1|RBC",
        f"BTX|1|DON1^BC|E0336^红^ISBT|||||1|200|mL|{disposition}|{news}|20261101130000|N1^李^护|N2^赵^护"
        f"|20261101120000|20261101130000|{interrupted}|{interrupted}",
        "NTE|1||无不适",
    )
    (transfusion,) = found["Procedure"]
    assert transfusion["status"] == status
    assert transfusion["performedPeriod"] == {"start": "2026-11-01T12:00:00+08:00", "end": "2026-11-01T13:00:00+08:00"}
    assert transfusion["note"] == [{"text": "无不适"}]
    assert [one["text"] for one in transfusion.get("complication", ())] == (["发热"] if interrupted else [])
    (before,), (after,) = handed["BiologicallyDerivedProduct"], found["BiologicallyDerivedProduct"]
    assert before["id"] == after["id"]


def test_product_twice_in_a_message_is_one_product() -> None:
    found = bodies("BPS^O29", PID, ORC, "BPO|1|RBC", "BPX|1|DS|F||D1|C1", "ORC|SC|P2", "BPO|2|RBC", "BPX|1|RA|F||D1|C1")
    assert (len(found["BiologicallyDerivedProduct"]), len(found["SupplyDelivery"])) == (1, 2)


@pytest.mark.parametrize(("segment", "where"), [("BPX|1|DS", "BPX[1]-5"), ("BTX|1||||||||||TX", "BTX[1]-2")])
def test_product_without_name_is_left_out_with_a_note(segment: str, where: str) -> None:
    found = convert(message("BPS^O29", PID, ORC, "BPO|1|RBC", segment), CONTEXT)
    assert [(one.code, one.where) for one in found.notes] == [("required", where)]
    assert not any(one.type in ("SupplyDelivery", "Procedure") for one in found.resources)


def test_product_before_any_order_is_left_out_with_a_note() -> None:
    found = convert(message("BPS^O29", PID, "BPX|1|DS|F||D1", ORC, "BPO|1|RBC"), CONTEXT)
    assert [one.where for one in found.notes] == ["BPX[1]"]


@pytest.mark.parametrize(
    ("segments", "where"), [((PID, ORC), "BPO"), ((ORC, "BPO|1|RBC"), "PID"), ((ORC, PID, "BPO|1|RBC"), "ORC[1]")]
)
def test_refused_by_name(segments: tuple[str, ...], where: str) -> None:
    with pytest.raises(SetAside) as caught:
        convert(message("BPS^O29", *segments), CONTEXT)
    assert caught.value.refusal.where == where
