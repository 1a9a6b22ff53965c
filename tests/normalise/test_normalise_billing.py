"""Charges and accounts: DFT and BAR."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import Refusal, SourceContext

Build = Callable[..., bytes]
Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟||19900307|M||||||||||A9^^^EAST^AN"
PV1 = "PV1|1|O|||||||||||||||||V1^^^EAST^VN"
PRECISION = "http://hl7.org/fhir/StructureDefinition/quantity-precision"
UNIT_PRICE = "urn:xinglin:fhir:StructureDefinition:unit-price"


@pytest.mark.parametrize(
    ("sent", "value", "places"),
    [
        ("12.50&CNY", 12.5, 2),
        ("0.00&CNY", 0.0, 2),
        ("-3.20&CNY", -3.2, 2),
        ("100&CNY", 100, None),
        ("0.1234&CNY", 0.1234, None),
    ],
)
def test_amount_keeps_every_digit(sent: str, value: float, places: int | None, event: Build, bodies: Bodies) -> None:
    (charge,) = bodies(event("DFT^P03", PID, PV1, f"FT1|1|T1||20261101||CG|A^化验^L||||{sent}"), "ChargeItem")
    price = charge["priceOverride"]
    assert (price["value"], price["currency"]) == (value, "CNY")
    kept = {one["url"]: one["valueInteger"] for one in price.get("_value", {}).get("extension", ())}
    assert kept.get(PRECISION) == places


@pytest.mark.parametrize("sent", ["abc&CNY", "1e5&CNY", "12,50&CNY", "&CNY"])
def test_what_is_no_amount_is_left_out_with_a_note(sent: str, event: Build, context: SourceContext) -> None:
    found = convert(event("DFT^P03", PID, PV1, f"FT1|1|T1||20261101||CG|A^化验^L||||{sent}"), context)
    (charge,) = [one.body for one in found.resources if one.type == "ChargeItem"]
    assert "priceOverride" not in charge
    assert [one.code for one in found.notes if one.where == "FT1[1]-11"] == ["bad_value"]


def test_a_currency_that_is_none_is_left_out(event: Build, bodies: Bodies) -> None:
    (charge,) = bodies(event("DFT^P03", PID, PV1, "FT1|1|T1||20261101||CG|A^化验^L||||5&元"), "ChargeItem")
    assert charge["priceOverride"] == {"value": 5}


@pytest.mark.parametrize(
    ("type_", "status"), [("CG", "billable"), ("CD", "billable"), ("CR", "unknown"), ("PY", "not-billable")]
)
def test_a_charge_is_billable_a_payment_is_not_a_credit_is_neither(
    type_: str, status: str, event: Build, bodies: Bodies
) -> None:
    (charge,) = bodies(event("DFT^P03", PID, PV1, f"FT1|1|T1||20261101||{type_}|A^化验^L"), "ChargeItem")
    assert charge["status"] == status


def test_a_credit_with_the_number_of_its_charge_is_another_item(event: Build, bodies: Bodies) -> None:
    charges = bodies(
        event(
            "DFT^P03",
            PID,
            PV1,
            "FT1|1|T1||20261101||CG|A^化验^L||||5.00&CNY",
            "FT1|2|T1||20261102||CR|A^化验^L||||-5.00&CNY",
        ),
        "ChargeItem",
    )
    assert len({one["id"] for one in charges}) == 2


def test_the_same_transaction_in_another_message_is_the_same_item(event: Build, bodies: Bodies) -> None:
    first, second = (
        bodies(event("DFT^P03", PID, PV1, f"FT1|{set_}|T1||20261101||CG|A^化验^L"), "ChargeItem")[0] for set_ in (1, 2)
    )
    assert first["id"] == second["id"]


def test_a_charge_belongs_to_patient_visit_account_diagnosis_and_procedure(event: Build, bodies: Bodies) -> None:
    content = event(
        "DFT^P03",
        PID,
        PV1,
        "FT1|1|T1||20261101080000||CG|A^化验^L|||2^次|25.00&CNY|12.50&CNY|LAB^检验科||||||R10^腹痛^I10|D1^王^医||10&CNY|P1|D2^李^记",
        "PR1|1||4701^切除^L||20261101",
        "DG1|1||K35^阑尾炎^I10||20261101|F",
        "NTE|1||已结",
    )
    (charge,) = bodies(content, "ChargeItem")
    (account,), (patient,), (visit,) = (bodies(content, type_) for type_ in ("Account", "Patient", "Encounter"))
    (condition,), (procedure,) = bodies(content, "Condition"), bodies(content, "Procedure")
    assert charge["subject"]["reference"] == f"Patient/{patient['id']}"
    assert charge["context"]["reference"] == f"Encounter/{visit['id']}"
    assert charge["account"] == [{"reference": f"Account/{account['id']}"}]
    assert charge["service"] == [{"reference": f"Procedure/{procedure['id']}"}]
    assert charge["supportingInformation"] == [
        {"identifier": {"value": "P1"}},
        {"reference": f"Condition/{condition['id']}"},
    ]
    assert charge["quantity"] == {"value": 2, "unit": "次"}
    assert [one["valueMoney"]["value"] for one in charge["extension"] if one["url"] == UNIT_PRICE] == [12.5]
    assert (charge["reason"][0]["text"], charge["costCenter"]["display"], charge["enterer"]["display"]) == (
        "腹痛",
        "检验科",
        "李记",
    )
    assert charge["note"] == [{"text": "已结"}]


def test_a_procedure_charged_is_the_charges_code_where_there_is_no_other(event: Build, bodies: Bodies) -> None:
    content = event("DFT^P03", PID, PV1, f"FT1|1|T1||20261101||CG{'|' * 19}P1^穿刺^L")
    (charge,), (procedure,) = bodies(content, "ChargeItem"), bodies(content, "Procedure")
    assert (charge["code"], charge["service"]) == (
        procedure["code"],
        [{"reference": f"Procedure/{procedure['id']}"}],
    )


def test_a_charge_of_nothing_is_left_out_with_a_note(event: Build, context: SourceContext) -> None:
    found = convert(event("DFT^P03", PID, PV1, "FT1|1|T1||20261101||CG"), context)
    assert not any(one.type == "ChargeItem" for one in found.resources)
    assert [(one.code, one.where) for one in found.notes] == [("required", "FT1[1]-7")]


@pytest.mark.parametrize(("segments", "where"), [((PID, PV1), "FT1"), ((PV1, "FT1|1|T1||20261101||CG|A"), "PID")])
def test_a_message_of_charges_without_them_is_refused(
    segments: tuple[str, ...], where: str, event: Build, refusal: Callable[..., Refusal]
) -> None:
    assert refusal(event("DFT^P03", *segments)).where == where


@pytest.mark.parametrize(("code", "status"), [("P01", "active"), ("P02", "inactive"), ("P06", "inactive")])
def test_events_of_an_account_are_its_status(code: str, status: str, event: Build, bodies: Bodies) -> None:
    (account,) = bodies(event(f"BAR^{code}", PID, PV1), "Account")
    assert (account["status"], account["identifier"][0]["value"]) == (status, "A9")


def test_insurance_of_an_account_covers_the_patient(event: Build, bodies: Bodies) -> None:
    content = event(
        "BAR^P01",
        PID,
        PV1,
        "GT1|1|G1|张^父||||138||19600101|M",
        "IN1|1|A1^医保^L|N1|职工医保||||400||||20260101|20261231|||张^伟|SEL|19900307",
        "FT1|1|T1||20261101||CG|A^化验^L||||5.00&CNY",
    )
    (coverage,), (guarantor,) = bodies(content, "Coverage"), bodies(content, "RelatedPerson")
    assert coverage["period"] == {"start": "2026-01-01", "end": "2026-12-31"}
    assert coverage["payor"][0]["display"] == "职工医保"
    (account,) = bodies(content, "Account")
    assert account["guarantor"][0]["party"]["reference"] == f"RelatedPerson/{guarantor['id']}"
    assert len(bodies(content, "ChargeItem")) == 1


def test_every_amount_survives_as_text_in_json(event: Build, bodies: Bodies) -> None:
    (charge,) = bodies(event("DFT^P03", PID, PV1, "FT1|1|T1||20261101||CG|A||||999999999999.99&CNY"), "ChargeItem")
    assert check_structure(charge) is None
    assert "999999999999.99" in json.dumps(charge)
