"""OBX-5 for every type of OBX-2."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from normalise.hl7v2.tables import VALUE_READERS
from normalise.hl7v2.values import READERS
from schemas.records import SourceContext

Build = Callable[..., bytes]
UCUM = {"unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}
ATTACHMENT = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"


def value(oru: Build, type_: str, sent: str, unit: str = "", status: str = "F") -> tuple[dict[str, Any], list[str]]:
    """The value elements of one OBX and where notes were made."""
    found = convert(oru(f"OBX|1|{type_}|X^x^L||{sent}|{unit}|||||{status}"), SourceContext("s", "i", "Asia/Shanghai"))
    body = next(one.body for one in found.resources if one.type == "Observation")
    kept = {
        name: one
        for name, one in body.items()
        if name.startswith("value") or name in ("component", "extension", "dataAbsentReason")
    }
    return kept, [one.where for one in found.notes if one.where.startswith("OBX")]


@pytest.mark.parametrize(
    ("type_", "sent", "unit", "expected"),
    [
        ("NM", "7.35", "mmol/L^mmol/L^UCUM", {"valueQuantity": {"value": 7.35, **UCUM}}),
        ("NM", "-12", "cm", {"valueQuantity": {"value": -12, "unit": "cm"}}),
        ("NM", "+.5", "", {"valueQuantity": {"value": 0.5}}),
        ("SN", ">^100", "", {"valueQuantity": {"value": 100, "comparator": ">"}}),
        ("SN", "^182", "mg/dl", {"valueQuantity": {"value": 182, "unit": "mg/dl"}}),
        ("SN", "=^5", "", {"valueQuantity": {"value": 5}}),
        ("SN", "^1^:^128", "", {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}),
        (
            "SN",
            "^10^-^20",
            "s",
            {"valueRange": {"low": {"value": 10, "unit": "s"}, "high": {"value": 20, "unit": "s"}}},
        ),
        ("SN", "^2^+", "", {"valueString": "2 +"}),
        ("SN", "<>^5", "mg", {"valueString": "<> 5 mg"}),
        (
            "NR",
            "3.5^9.5",
            "g/L",
            {"valueRange": {"low": {"value": 3.5, "unit": "g/L"}, "high": {"value": 9.5, "unit": "g/L"}}},
        ),
        (
            "CE",
            "A^阳性^L",
            "",
            {
                "valueCodeableConcept": {
                    "coding": [{"code": "A", "system": "urn:xinglin:i:codes:L", "display": "阳性"}],
                    "text": "阳性",
                }
            },
        ),
        ("CWE", "^^^^^^^^free", "", {"valueCodeableConcept": {"text": "free"}}),
        (
            "CNE",
            "260373001^Detected^SCT",
            "",
            {
                "valueCodeableConcept": {
                    "coding": [{"code": "260373001", "system": "http://snomed.info/sct", "display": "Detected"}],
                    "text": "Detected",
                }
            },
        ),
        ("IS", "POS", "", {"valueCodeableConcept": {"coding": [{"code": "POS"}]}}),
        ("ID", "Y", "", {"valueCodeableConcept": {"coding": [{"code": "Y"}]}}),
        ("ST", "clear^yellow & thin", "", {"valueString": "clear^yellow & thin"}),
        ("TX", "line 1~~line 3", "", {"valueString": "line 1\n\nline 3"}),
        ("FT", r"a\.br\b\H\c\N\ ", "", {"valueString": "a\nbc "}),
        ("DT", "20261101", "", {"valueDateTime": "2026-11-01"}),
        ("TS", "202611010830+0700", "", {"valueDateTime": "2026-11-01T08:30:00+07:00"}),
        ("DTM", "20261101083015", "", {"valueDateTime": "2026-11-01T08:30:15+08:00"}),
        ("TM", "0830", "", {"valueTime": "08:30:00"}),
        ("DR", "20261101^20261102", "", {"valuePeriod": {"start": "2026-11-01", "end": "2026-11-02"}}),
        ("CQ", "5^mmol/L&mmol/L&UCUM", "", {"valueQuantity": {"value": 5, **UCUM}}),
        (
            "MO",
            "12.5^CNY",
            "",
            {"valueQuantity": {"value": 12.5, "unit": "CNY", "system": "urn:iso:std:iso:4217", "code": "CNY"}},
        ),
        (
            "CP",
            "12.5&CNY^UP",
            "",
            {"valueQuantity": {"value": 12.5, "unit": "CNY", "system": "urn:iso:std:iso:4217", "code": "CNY"}},
        ),
        (
            "NA",
            "1^2^3~4^5^6",
            "",
            {
                "component": [
                    {
                        "code": {
                            "coding": [{"code": "X", "system": "urn:xinglin:i:codes:L", "display": "x"}],
                            "text": "x",
                        },
                        "valueString": one,
                    }
                    for one in ("1 2 3", "4 5 6")
                ]
            },
        ),
        ("CX", "77^^^EAST^MR", "", {"valueString": "77"}),
        ("EI", "77^EAST", "", {"valueString": "77"}),
        ("XPN", "Wang^Fang^^^Dr", "", {"valueString": "Dr Fang Wang"}),
        ("XCN", "D1^欧阳芳", "", {"valueString": "欧阳芳"}),
        ("XAD", "1 High St^^Leeds^^LS1^GBR", "", {"valueString": "1 High St, Leeds, LS1, GBR"}),
        ("XTN", "555-0100", "", {"valueString": "555-0100"}),
        ("PL", "W1^R2^B3", "", {"valueString": "W1 R2 B3"}),
        (
            "RP",
            "https://pacs.example/1^App^IM^JPEG",
            "",
            {
                "extension": [
                    {
                        "url": ATTACHMENT,
                        "valueAttachment": {"url": "https://pacs.example/1", "contentType": "image/jpeg"},
                    }
                ]
            },
        ),
    ],
)
def test_value_is_of_its_fhir_type(oru: Build, type_: str, sent: str, unit: str, expected: dict[str, Any]) -> None:
    found, notes = value(oru, type_, sent, unit)
    assert found == expected
    assert notes == []


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("Base64", base64.b64encode(b"%PDF-1.7").decode()), ("Hex", b"%PDF-1.7".hex()), ("A", "%PDF-1.7")],
)
def test_embedded_document_is_an_attachment(oru: Build, encoding: str, data: str) -> None:
    found, notes = value(oru, "ED", f"App^AP^PDF^{encoding}^{data}")
    attachment = found["extension"][0]["valueAttachment"]
    assert base64.b64decode(attachment["data"]) == b"%PDF-1.7"
    assert attachment["contentType"] == "application/pdf"
    assert notes == []


@pytest.mark.parametrize(
    ("type_", "sent", "kept", "where"),
    [
        ("NM", "阴性", {"valueString": "阴性"}, "OBX[1]-5"),
        ("NM", "1.5E3", {"valueString": "1.5E3"}, "OBX[1]-5"),
        ("NM", "12345678901234567890", {"valueString": "12345678901234567890"}, "OBX[1]-5"),
        ("NM", "<0.5", {"valueQuantity": {"value": 0.5, "comparator": "<"}}, "OBX[1]-5"),
        ("NR", "9^3", {"valueString": "9^3"}, "OBX[1]-5"),
        ("DT", "yesterday", {"valueString": "yesterday"}, "OBX[1]-5"),
        ("TM", "late", {"valueString": "late"}, "OBX[1]-5"),
        ("ED", "App^AP^PDF^Base64^@@@", {"valueString": "App^AP^PDF^Base64^@@@"}, "OBX[1]-5"),
        ("RP", "two words", {"valueString": "two words"}, "OBX[1]-5"),
        ("", "7", {"valueString": "7"}, "OBX[1]-2"),
        ("QQ", "a^b", {"valueString": "a^b"}, "OBX[1]-2"),
    ],
)
def test_value_that_is_not_of_its_type_is_kept_as_text_with_a_note(
    oru: Build, type_: str, sent: str, kept: dict[str, Any], where: str
) -> None:
    found, notes = value(oru, type_, sent)
    assert found == kept
    assert notes == [where]


def test_trailing_zeros_are_not_lost(oru: Build) -> None:
    found = value(oru, "NM", "4.70")[0]["valueQuantity"]
    assert found["value"] == 4.7
    assert found["_value"]["extension"] == [
        {"url": "http://hl7.org/fhir/StructureDefinition/quantity-precision", "valueInteger": 2}
    ]


def test_repeated_codes_are_components(oru: Build) -> None:
    found, _ = value(oru, "CWE", "A^a^L~B^b^L")
    assert [one["valueCodeableConcept"]["text"] for one in found["component"]] == ["a", "b"]
    assert [one["code"]["text"] for one in found["component"]] == ["x", "x"]


@pytest.mark.parametrize(("status", "reason"), [("N", "not-asked"), ("X", "not-performed"), ("F", "unknown")])
def test_missing_value_has_its_reason(oru: Build, status: str, reason: str) -> None:
    found, _ = value(oru, "NM", "", status=status)
    assert list(found) == ["dataAbsentReason"]
    assert found["dataAbsentReason"]["coding"][0]["code"] == reason


def test_every_type_of_the_table_has_a_reader() -> None:
    assert set(VALUE_READERS.values()) <= set(READERS)
