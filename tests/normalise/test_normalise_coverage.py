"""What the tables cover of HL7's inventory: every row has an answer, every answer is true, and 90 % are covered."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from normalise.hl7v2 import convert
from normalise.hl7v2.coverage import NoInventory, inventory
from normalise.hl7v2.tables import FOLDER, rows
from schemas.records import SourceContext

CODE = Path(__file__).parents[2] / "normalise" / "hl7v2"
CONTEXT = SourceContext("s", "i", "Asia/Shanghai")
HEADING = "Sort,Identifier,Name,Type,Min,Max,ANTLR,FHIRPath,Narrative,FHIR Attribute\n"


@pytest.mark.conformance
def test_nine_rows_of_ten_are_covered_and_each_other_is_left_out_with_a_reason(corpora: Path) -> None:
    targets = inventory(corpora / "hl7v2" / "v2tofhir-mappings")
    answers = Counter(one.answer for one in targets)
    assert len(targets) == 1010
    assert answers["covered"] / len(targets) >= 0.9
    assert [one for one in targets if one.answer == "open"] == []
    assert [one for one in targets if one.answer == "left out" and len(one.where) < 12] == []


@pytest.mark.conformance
@pytest.mark.parametrize(("name", "column"), [("read_elsewhere.csv", "where"), ("left_out.csv", "reason")])
def test_every_decision_is_about_rows_that_no_table_reads(corpora: Path, name: str, column: str) -> None:
    said = {(one.map, one.where) for one in inventory(corpora / "hl7v2" / "v2tofhir-mappings")}
    assert [row for row in rows(name) if (row["map"], row[column]) not in said] == []


def test_what_is_read_elsewhere_names_a_table_of_the_field_or_a_module_that_is_there() -> None:
    for row in rows("read_elsewhere.csv"):
        name = row["where"].partition(":")[0]
        if name.endswith(".py"):
            assert (CODE / name).exists(), row
        elif name == "events.csv":
            assert (FOLDER / name).exists()
        else:
            table = {one["field"]: one for one in rows(f"segments/{name}")}
            assert row["field"] in table or ": " in row["where"], row


MSH = "MSH|^~\\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||{}|C1|P|2.5.1||||||UNICODE UTF-8"
PID = "PID|1||7^^^EAST^MR||张伟"
#: What the modules read, each by a message that holds it and what must be said of it.
PROBES = [
    ("AIG-8", "SIU^S12", [PID, "RGS|1", "AIG|1||E1^X^L|||||20261103090000+0800|||30|min"], "2026-11-03T09:30:00+08:00"),
    ("AIG-9", "SIU^S12", [PID, "RGS|1", "AIG|1||E1^X光机^L||||||15|min|30|min"], "2026-11-02T09:15:00+08:00"),
    ("AIL-7", "SIU^S12", [PID, "RGS|1", "AIL|1||W1||||15|min|30|min"], "2026-11-02T09:45:00+08:00"),
    ("AIP-6", "SIU^S12", [PID, "RGS|1", "AIP|1||D1^李|||20261103090000+0800|||20|min"], "2026-11-03T09:20:00+08:00"),
    ("SCH-12", "SIU^S12", [PID], "placer-contact"),
    ("SCH-9", "SIU^S12", [PID], '"minutesDuration": 40'),
    ("SCH-20", "SIU^S12", [PID], "enterer"),
    ("NTE-3 of SCH", "SIU^S12", ["NTE|1||空腹", PID], '"comment": "空腹"'),
    ("AL1-4", "ADT^A08", [PID, "AL1|1|DA|A1^青霉素^L|SV"], '"criticality": "high"'),
    ("IAM-14", "ADT^A08", [PID, "IAM|1|DA|A1^青霉素^L|||||||||||李娜^^|SPO"], "李娜"),
    ("IAM-27", "ADT^A08", [PID, "IAM|1|DA|A1^青霉素^L" + "|" * 24 + "C27^X^L"], "C27"),
    ("IN1-10", "ADT^A08", [PID, "IN1|1|P1^计划^L|C1||||||||||".replace("||||||||||", "|||||||G10^^^EAST|公司")], "G10"),
    ("IN1-16", "ADT^A08", [PID, "IN1|1|P1^计划^L|C1" + "|" * 13 + "王芳^^|SPO"], "王芳"),
    ("MSH-3", "ADT^A08", [PID], '"display": "HIS"'),
    ("MSH-4", "ADT^A08", [PID], "urn:oid:1.2.156.1"),
    ("NTE-3 of OBX", "ORU^R01", [PID, "OBR|1|P1|F1|A^B^L", "OBX|1|NM|1^x^L||3|||||F", "NTE|1||溶血"], "溶血"),
    ("NTE-3 of TXA", "MDM^T02", [PID, "TXA|1|CN|TX||||||||||D1", "NTE|1||abc"], "YWJj"),
    ("OBR-2", "ORU^R01", [PID, "OBR|1|P1|F1|A^B^L"], '"value": "P1"'),
    ("OBR-11", "ORU^R01", [PID, "OBR|1|P1|F1|A^B^L|||||||G"], "reflex-order"),
    ("OBX-6", "ORU^R01", [PID, "OBR|1|P1|F1|A^B^L", "OBX|1|NM|1^x^L||3|mmol/L^^UCUM||||F"], "mmol/L"),
    ("OBX-33", "ORU^R01", [PID, "OBR|1|P1|F1|A^B^L", "OBX|1|NM|1^x^L||3" + "|" * 28 + "S1~S2"], "S2"),
    ("PR1-7", "ADT^A08", [PID, "PR1|1||A1^x^L||20261101080000+0800||90"], "2026-11-01T09:30:00+08:00"),
    ("PRT-14", "ADT^A08", [PID, "PRT|1|AD||AT|D9^李" + "|" * 9 + "杏林路^^北京"], "杏林路"),
    ("PRT-23", "ADT^A08", [PID, "PRT|1|AD||AT|D9^李" + "|" * 10 + "^PRN^CP^^^^139" + "|" * 8 + "C"], "iso21090-pref"),
    ("PV1-2", "ADT^A08", [PID, "PV1|1|P|||||||||||||||||V1"], '"status": "planned"'),
    ("PV1-45", "ADT^A08", [PID, "PV1|1|I|||||||||||||||||V1" + "|" * 26 + "20261101"], '"status": "finished"'),
    ("ROL-8", "ADT^A08", [PID, "ROL|1|AD|AT|D9^李||||R8^X^L"], "R8"),
    ("ROL-11", "ADT^A08", [PID, "ROL|1|AD|PP|D9^李|||||||杏林路^^北京"], "杏林路"),
    ("EVN-2", "ADT^A08", ["EVN|A08|20261101070000+0800", PID], "2026-11-01T07:00:00+08:00"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "event", "segments", "said"), PROBES, ids=[probe[0] for probe in PROBES])
def test_what_the_code_reads_is_said(field: str, event: str, segments: list[str], said: str) -> None:
    """The claims of ``read_elsewhere.csv`` about modules, each by a message."""
    sch = "SCH|P1|F1|||||||40|min|^^^20261102090000+0800|D8^吴||||D7^周||||D6^郑|||||Booked"
    lines = [MSH.format(event), *([sch] if event.startswith("SIU") else []), *segments]
    found = convert("\r".join(lines).encode(), CONTEXT)
    assert said in json.dumps([one.body for one in found.resources], ensure_ascii=False)


def test_a_folder_without_the_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoInventory, match="no sheets"):
        inventory(tmp_path)


def test_an_inventory_is_read_as_hl7_lays_it_out(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    sheet = tmp_path / "segments" / "HL7_Segment_-_FHIR_R4__PID[Patient]_-_PID.csv"
    lines = [("PID-7", "birthDate"), ("PID-7", ""), ("PID", "id"), ("PID-99", "nowhere")]
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        stream.write(HEADING + HEADING)
        csv.writer(stream).writerows(["1", field, *[""] * 7, attribute] for field, attribute in lines)
    assert [(one.field, one.answer) for one in inventory(tmp_path)] == [("PID-7", "covered"), ("PID-99", "open")]
