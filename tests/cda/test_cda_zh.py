"""WS/T 500 documents: every expected field, in UTF-8 and GB 18030, whatever the declaration says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cda_shell import bodies, only, read

from schemas.residents import is_resident_number

pytestmark = pytest.mark.conformance
CASES = ("01-C0002-utf-8", "02-C0002-gb18030", "03-C0002-utf-8", "04-C0002-gb18030", "06-C0007-gb18030",
         "08-C0007-gb18030", "09-C0034-utf-8", "11-C0034-utf-8")  # fmt: skip


def case(corpora: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    folder = corpora / "cda" / "zh"
    expected = json.loads((folder / f"{name}.expected.json").read_text(encoding="utf-8"))
    return (folder / f"{name}.xml").read_bytes(), expected


@pytest.mark.parametrize("name", CASES)
def test_patient_and_header_are_as_expected(corpora: Path, name: str) -> None:
    content, expected = case(corpora, name)
    found = read(content)
    assert found.notes == ()
    patient, composition = only(found, "Patient"), only(found, "Composition")
    person = expected["patient"]
    assert patient["name"][0]["text"] == person["name"]
    assert patient["gender"] == person["gender"]
    if "birth" in person:
        assert patient["birthDate"].replace("-", "") == person["birth"]
    else:
        assert "birthDate" not in patient
        (age,) = (one["valueAge"] for one in patient["extension"] if one["url"].endswith(":age-at-document"))
        assert (age["value"], age["code"]) == (person["age"], "a")
    identifiers = {one["system"]: one["value"] for one in patient["identifier"]}
    assert identifiers["urn:oid:2.16.156.10011.1.3"] == person["id_card"]
    assert is_resident_number(person["id_card"])
    assert identifiers["urn:xinglin:hospital-east:ids:2.16.156.10011.1.12"] == expected["inpatient_no"]
    assert composition["title"] == expected["title"]
    assert composition["type"]["coding"][0]["code"] == expected["doc_type"]
    assert composition["date"] == moment(expected["time"])
    assert composition["custodian"]["display"] == expected["hospital"]
    assert only(found, "Organization")["name"] == expected["hospital"]
    assert only(found, "Provenance")["recorded"] == moment(expected["time"])


def moment(sent: str) -> str:
    return f"{sent[:4]}-{sent[4:6]}-{sent[6:8]}T{sent[8:10]}:{sent[10:12]}:{sent[12:]}+08:00"


@pytest.mark.parametrize("name", CASES)
def test_statements_are_as_expected(corpora: Path, name: str) -> None:
    content, expected = case(corpora, name)
    found = read(content)
    observations = {
        coding["code"]: one for one in bodies(found, "Observation") for coding in one["code"].get("coding", ())
    }
    if "bp" in expected:
        for loinc, value in zip(("8480-6", "8462-4"), expected["bp"], strict=True):
            quantity = observations[loinc]["valueQuantity"]
            assert (quantity["value"], quantity["code"], quantity["unit"]) == (value, "mm[Hg]", "mmHg")
            assert observations[loinc]["category"][0]["coding"][0]["code"] == "vital-signs"
    if "chief_complaint" in expected:
        assert observations["10154-3"]["valueString"] == expected["chief_complaint"]
    if "allergy" in expected:
        code = only(found, "AllergyIntolerance")["code"]
        assert code["text"] == expected["allergy"]
        denied = [one["code"] for one in code.get("coding", ())]
        assert denied == (["409137002"] if expected["allergy"] == "否认药物过敏史" else [])
    if "diagnosis" in expected:
        (coding,) = only(found, "Condition")["code"]["coding"]
        assert (coding["code"], coding["display"]) == tuple(expected["diagnosis"].values())
        assert coding["system"] == "urn:oid:2.16.156.10011.2.3.3.11.3"


@pytest.mark.parametrize("name", [one for one in CASES if "C0007" in one])
def test_laboratory_report_holds_its_results_with_ranges(corpora: Path, name: str) -> None:
    content, expected = case(corpora, name)
    found = read(content)
    report = only(found, "DiagnosticReport")
    assert report["code"]["coding"][0]["code"] == "C0007"
    results = {one["code"]["text"]: one for one in bodies(found, "Observation")}
    assert [one["reference"] for one in report["result"]] == [f"Observation/{one['id']}" for one in results.values()]
    for item in expected["results"]:
        got = results[item["item"]]
        assert (got["valueQuantity"]["value"], got["valueQuantity"]["unit"]) == (item["value"], item["unit"])
        (interval,) = got["referenceRange"]
        assert (interval["low"]["value"], interval["high"]["value"]) == (item["low"], item["high"])
        assert got["effectiveDateTime"] == moment(expected["time"])
        assert got["status"] == "final"


@pytest.mark.parametrize(
    ("declared", "codec", "noted"),
    [
        (b'encoding="UTF-8"', "utf-8", False),
        (b'encoding="GB18030"', "gb18030", False),
        (b'encoding="GB2312"', "gb18030", False),
        (b"", "utf-8", False),
        (b"", "gb18030", False),
        (b'encoding="UTF-8"', "gb18030", True),
        (b'encoding="GBK"', "utf-8", True),
        (b'encoding="ISO-8859-1"', "utf-8", True),
        (b'encoding="KLINGON"', "gb18030", True),
        (b'encoding="UTF-16"', "utf-16", False),
    ],
)
def test_character_set_declared_rightly_wrongly_or_not_at_all(
    corpora: Path, declared: bytes, codec: str, noted: bool
) -> None:
    content, expected = case(corpora, CASES[0])
    text = content.decode("utf-8").replace('encoding="UTF-8"', declared.decode()).replace("陈立新", "陈䶮新")
    found = read(text.encode(codec))
    assert only(found, "Patient")["name"][0]["text"] == "陈䶮新"
    assert only(found, "Composition")["title"] == expected["title"]
    assert [note.code for note in found.notes] == (["charset"] if noted else [])
