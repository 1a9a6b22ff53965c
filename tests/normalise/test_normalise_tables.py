"""The mapping tables: they compile, they say what the HL7 reference says, and a wrong cell names itself."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from normalise.hl7v2.building import Building
from normalise.hl7v2.engine import Mapper, compile_condition, compile_path, mapper
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import FOLDER, VOCABULARIES, rows
from normalise.tables import version
from schemas.records import SourceContext

TABLES = sorted(path.stem for path in (FOLDER / "segments").glob("*.csv"))
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "mapping.md"

#: Our vocabularies and the reference's concept maps of the same codes.
MAPS = {
    "ProviderRole": "ProviderRole",
    "AdministrativeSex": "AdministrativeSex",
    "MaritalStatus": "MaritalStatus",
    "Relationship": "Relationship",
    "PatientClass": "PatientClass[EncounterClass]",
    "EncounterStatus": "PatientClass[EncounterStatus]",
    "Interpretation": "InterpretationCodes",
    "ObservationStatus": "ObservationResultStatusCodesInterpretation",
    "ReportStatus": "ResultStatus[Non-Queries]",
    "OrderControl": "OrderControlCode[ServiceRequest.status]",
    "OrderStatus": "OrderStatus",
    "NameUse": "NameType",
    "AddressUse": "AddressType[Use]",
    "AddressType": "AddressType[Type]",
    "ContactUse": "TelecommunicationUseCode",
    "ContactSystem": "TelecommunicationEquipmentType",
    "EncounterPriority": "EncounterPriority",
    "AllergyCategory": "AllergenType[AllergyIntoleranceCategory]",
    "AllergySeverity": "AllergySeverity[AllergyIntolerance.reaction.severity]",
    "DiagnosisType": "DiagnosisType",
    "AdmissionType": "AdmissionType",
    "HospitalService": "HospitalService",
    "DischargeDisposition": "DischargeDisposition",
    "AmbulatoryStatus": "AmbulatoryStatus",
    "ModeOfArrival": "ModeOfArrivalCode",
    "DiagnosticSection": "DiagnosticServiceSectionID",
    "SpecimenType": "SpecimenType",
    "SpecimenCondition": "SpecimenCondition",
    "EventReason": "EventReason",
    "Language": "PrimaryLanguage",
    "ContactRole": "ContactRole",
    "SpecimenStatus": "YesNoIndicator[AvailabilityStatus]",
    "IdentifierType": "IdentifierType",
}
#: Where we say something else than the reference, and why.
DIFFERENT = {
    ("ContactSystem", "CP"),  # mobile is no system in FHIR; the use says it
    ("HospitalService", "MED"),  # the reference names a code of another system than the one it gives
    ("HospitalService", "URO"),  # the same
    ("IdentifierType", "NNxxx"),  # a pattern, no code
}


@pytest.mark.parametrize("table", TABLES)
def test_table_compiles_to_a_rule_for_every_row(table: str) -> None:
    written = [int(row["field"].partition("-")[2]) for row in rows(f"segments/{table}.csv")]
    assert written
    assert [number for number, _, _ in mapper(table)._all] == sorted(written)


def test_tables_use_every_vocabulary_that_columns_name() -> None:
    named = {row["vocabulary"] for table in TABLES for row in rows(f"segments/{table}.csv")} - {""}
    assert named <= set(VOCABULARIES)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PID-7,birthDate,day,,,", "no type 'day'"),
        ("PID-8,gender,code,Sexes,,", "no vocabulary Sexes"),
        ("PID-8,gender,code,,,", "needs a vocabulary"),
        ("PV1-8,gender,string,,,", "expected one of the segment"),
        ("PID-8,gen der,string,,,", "cannot be read"),
        ("PID-8,name[1],string,,,", "must end"),
        ("PID-8,gender,string,,PID-9 maybe,", "expected: FIELD"),
        ("PID-8,gender,Reference(XXX),,,", "no type"),
    ],
)
def test_wrong_cell_is_named_when_the_table_is_read(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as wrong:
        Mapper("PID-Patient", parse("field,path,type,vocabulary,when,comment\n" + line))
    assert "PID-Patient.csv" in str(wrong.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", {"a": 2}),
        ("a[]", {"a": [1, 2]}),
        ("a.b.c", {"a": {"b": {"c": 2}}}),
        ("a[].b", {"a": [{"b": 1}, {"b": 2}]}),
        ("a[0].b", {"a": [{"b": 2}]}),
        ("a[0].b[]", {"a": [{"b": [1, 2]}]}),
        (
            "extension[x].valueString",
            {
                "extension": [
                    {"url": "http://hl7.org/fhir/StructureDefinition/x", "valueString": 1},
                    {"url": "http://hl7.org/fhir/StructureDefinition/x", "valueString": 2},
                ]
            },
        ),
        (
            "extension[urn:x:y].extension[=code].v",
            {"extension": [{"url": "urn:x:y", "extension": [{"url": "code", "v": one}]} for one in (1, 2)]},
        ),
    ],
)
def test_path_puts_each_value_where_it_says(path: str, expected: dict[str, object]) -> None:
    put, _ = compile_path(path)
    body: dict[str, object] = {}
    put(body, 1)
    put(body, 2)
    assert body == expected


@pytest.mark.parametrize(
    ("condition", "fields", "applies"),
    [
        ("PID-2 empty", ["PID", "", ""], True),
        ("PID-2 empty", ["PID", "", "^^"], True),
        ("PID-2 valued", ["PID", "", "x"], True),
        ("PID-2.3 empty", ["PID", "", "a^b"], True),
        ("PID-2.2 empty", ["PID", "", "a^b"], False),
        ("PID-2 longer 3", ["PID", "", "abcd"], True),
        ("PID-2 is A B", ["PID", "", "B^x"], True),
        ("PID-2 is-not A B", ["PID", "", "B"], False),
        ("PID-9 is A", ["PID"], False),
    ],
)
def test_condition_decides(condition: str, fields: list[str], applies: bool) -> None:
    guard = compile_condition(condition)
    assert guard is not None
    assert guard(Segment("PID", fields, "PID")) is applies


def parse(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_five_minute_example_of_the_document_works() -> None:
    """docs/mapping.md adds a row to PID-Patient.csv; that row, as it is printed there, is run here."""
    text = DOCUMENT.read_text(encoding="utf-8")
    line = re.search(r"```csv\n\s*(PID-32,[^\n]+)\n\s*```", text)
    expected = re.search(r"`(urn:xinglin:fhir:StructureDefinition:reliability)`", text)
    assert line is not None and expected is not None
    table = Mapper("PID-Patient", parse(f"field,path,type,vocabulary,when,comment\n{line[1]}"))
    pid = Segment("PID", ["PID", *[""] * 31, "AL^姓名为化名^L"], "PID")
    body = table.apply(pid, {}, Building(SourceContext("s", "i", "Asia/Shanghai"), pid, "C1"))
    assert body["extension"][0]["url"] == expected[1]
    assert body["extension"][0]["valueCodeableConcept"]["text"] == "姓名为化名"


def test_the_document_lists_every_type_and_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    used = {row["type"].partition("(")[0] for table in TABLES for row in rows(f"segments/{table}.csv")}
    assert {one for one in used if f"`{one}" not in text} == set()
    assert {path.name for path in FOLDER.glob("*.csv") if path.name not in text} == set()


def reference(corpora: Path, part: str, pattern: str) -> list[list[str]]:
    found = [path for path in (corpora / "hl7v2" / "v2tofhir-mappings" / part).glob("*.csv") if pattern in path.name]
    assert len(found) == 1, pattern
    with found[0].open(encoding="utf-8-sig", newline="") as stream:
        return [[cell.strip() for cell in row] for row in list(csv.reader(stream))[2:]]


@pytest.mark.conformance
@pytest.mark.parametrize(("vocabulary", "concept_map"), sorted(MAPS.items()))
def test_vocabulary_says_what_the_reference_says(corpora: Path, vocabulary: str, concept_map: str) -> None:
    wrong = {}
    for row in reference(corpora, "codesystems", f"Concept_Map__{concept_map}_-"):
        code, target = row[0], row[6]
        if code and target and (vocabulary, code) not in DIFFERENT:
            term = VOCABULARIES[vocabulary].find(code)
            if term is None or term.code != target:
                wrong[code] = (target, term)
    assert wrong == {}


def test_the_version_names_tables_and_code_alike() -> None:
    tables = sorted(FOLDER.rglob("*.csv"))
    whole = version("hl7v2", tables, "hl7v2")
    assert whole == version("hl7v2", reversed(tables), "hl7v2")
    assert whole not in (version("hl7v2", tables[1:], "hl7v2"), version("hl7v2", tables))
