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
from schemas.records import SourceContext

TABLES = sorted(path.stem for path in (FOLDER / "segments").glob("*.csv"))
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "mapping.md"

#: Fields of the HL7 v2-to-FHIR reference that our tables do not hold, and why.
ELSEWHERE = {
    "DG1-Encounter": {"DG1-3", "DG1-4", "DG1-5", "DG1-16", "DG1-19", "DG1-20", "DG1-21", "DG1-22"},  # in the Condition
    "EVN-Provenance": {"EVN-2"},  # recorded: header.py, MSH-7 first
    "IN1-Coverage": {"IN1-4", "IN1-5", "IN1-16"},  # IN1-Organization, IN1-RelatedPerson
    "OBR-DiagnosticReport": {"OBR-2", "OBR-3"},  # results.py: ORC or OBR, one identifier
    "OBR-ServiceRequest": {"OBR-2", "OBR-3", "OBR-11", "OBR-27"},  # results.py; timing.py
    # results.py; timing.py; ordering.py
    "ORC-ServiceRequest": {"ORC-2", "ORC-3", "ORC-7", "ORC-21", "ORC-22", "ORC-23", "ORC-24"},
    "NTE-Annotation": {"NTE-3"},  # results.py: repetitions are lines
    "OBX-Observation": {"OBX-6", "OBX-24"},  # the unit of OBX-5; the address of OBX-23's organisation
    "ROL-Patient": {"ROL-3"},  # the condition of the row
    "ORC-MedicationAdministration": {"ORC-2", "ORC-3"},  # pharmacy.py
    "ORC-Immunization": {"ORC-2", "ORC-3"},  # vaccines.py
    "RXA-Immunization": {"RXA-7", "RXA-21", "RXA-28"},  # the unit of RXA-6; vaccines.py; the address of RXA-27
    # RXO-Medication, units; RXE-19 stands there by mistake and is mapped in RXE-MedicationRequest
    "RXO-MedicationRequest": {"RXE-19", *(f"RXO-{field}" for field in (1, 4, 5, 12, 18, 19, 25, 26))},
}
NOT_MAPPED = {
    "DG1-Condition": {"DG1-22"},
    "EVN-Provenance": {"EVN-7"},
    "IAM-AllergyIntolerance": {"IAM-14", "IAM-15", "IAM-27"},
    "IN1-Coverage": {"IN1-10"},
    "NK1-Patient": {"NK1-30", "NK1-31", "NK1-32"},
    "OBR-Specimen": {"OBR-13"},
    "OBX-Observation": {"OBX-29", "OBX-30", "OBX-33"},
    "PID-Patient": {"PID-21", "PID-36"},
    "PR1-Procedure": {"PR1-7", "PR1-16"},
    "PV1-Encounter": {"PV1-40", "PV1-53"},
    "PV2-Encounter": {"PV2-22"},
    "ROL-Encounter": {"ROL-1", "ROL-11", "ROL-12", "ROL-13", "ROL-14"},  # the Practitioner stands for its role
    "ROL-Patient": {"ROL-1", "ROL-5", "ROL-6", "ROL-11", "ROL-12", "ROL-13", "ROL-14"},
    "ORC-MedicationAdministration": {"ORC-1"},  # businessEvent: an extension of requests
    "TQ1-ServiceRequest": {"TQ1-5"},  # offset: FHIR has none without an event, and RPT.9 says it with its event
    "TQ1-MedicationRequest": {"TQ1-5"},  # as above
}
#: Tables that hold every field of the reference.
WHOLE = {
    "AL1-AllergyIntolerance",
    "NK1-RelatedPerson",
    "PD1-Patient",
    "PID-Account",
    "PRT-Patient",
    "PV1-Coverage",
    "PV1-Patient",
    "RXR-Immunization",
    "RXR-MedicationRequest",
}
#: What the reference calls the segments and targets of some tables.
NAMES = {
    "NTE-Annotation": "NTE[Observation]",
    "PRT-Patient": "PRT[Patient-GeneralPractitioner-Practitioner]",
    "ROL-Encounter": "ROL[Encounter-PractitionerRole]",
    "ROL-Patient": "ROL[Patient-GeneralPractitioner]",
}
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
def test_table_compiles(table: str) -> None:
    mapper(table)


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
    line = re.search(r"```csv\n\s*(PID-27,[^\n]+)\n\s*```", text)
    expected = re.search(r"`(urn:xinglin:fhir:StructureDefinition:veteran)`", text)
    assert line is not None and expected is not None
    table = Mapper("PID-Patient", parse(f"field,path,type,vocabulary,when,comment\n{line[1]}"))
    pid = Segment("PID", ["PID", *[""] * 26, "V^退役军人^L"], "PID")
    body = table.apply(pid, {}, Building(SourceContext("s", "i", "Asia/Shanghai"), pid, "C1"))
    assert body["extension"][0]["url"] == expected[1]
    assert body["extension"][0]["valueCodeableConcept"]["text"] == "退役军人"


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
@pytest.mark.parametrize(
    "table",
    sorted({*ELSEWHERE, *NOT_MAPPED, *WHOLE}),
)
def test_fields_of_the_reference_are_mapped_or_named(corpora: Path, table: str) -> None:
    segment, _, target = table.partition("-")
    theirs = {
        row[1]
        for row in reference(corpora, "segments", f"__{NAMES.get(table, f'{segment}[{target}]')}")
        if row[9] and re.fullmatch(r"\w{3}-\d+", row[1])
    }
    ours = {row["field"] for row in rows(f"segments/{table}.csv")}
    assert theirs - ours == ELSEWHERE.get(table, set()) | NOT_MAPPED.get(table, set())


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
