"""A hospital's own codes: mapped by files it supplies, kept as they came, told where nothing maps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normalise import convert
from normalise.terminology import translate
from schemas.errors import ConfigurationError
from schemas.records import Normalised, Resource, SourceContext
from schemas.source import load_mapping
from schemas.terminology import UCUM, ConceptMaps, load_concept_maps

LOCAL = "urn:xinglin:hospital-east:codes:L"
LOINC = "http://loinc.org"
HEADER = "source_system,source_code,target_system,target_code,target_display,equivalence\n"


def written(path: Path, text: str, codec: str = "utf-8") -> ConceptMaps:
    path.write_bytes(text.encode(codec))
    return load_concept_maps([path])


def observation(code: str = "XHDB", unit: str = "克/升", **more: Any) -> Resource:
    body = {
        "resourceType": "Observation", "id": "o", "status": "final",
        "code": {"coding": [{"system": LOCAL, "code": code, "display": "血红蛋白"}]},
        "valueQuantity": {"value": 132, "unit": unit}, **more,
    }  # fmt: skip
    return Resource(body, "OBX[1]", "p")


def translated(maps: ConceptMaps, *resources: Resource) -> Normalised:
    context = SourceContext("east", "hospital-east", "Asia/Shanghai", mapping={"terminology": maps})
    return translate(Normalised(resources, mapping="hl7v2-1"), context)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_standard_code_stands_beside_the_hospitals_own_however_the_file_was_saved(
    tmp_path: Path, codec: str
) -> None:
    rows = f"{LOCAL},XHDB,{LOINC},718-7,血红蛋白,\n,克/升,{UCUM},g/L,,equal\n"
    maps = written(tmp_path / "lab.csv", HEADER + rows, codec)
    before = observation()
    made = translated(maps, before)
    body = made.resources[0].body
    assert [one["code"] for one in body["code"]["coding"]] == ["XHDB", "718-7"]
    assert body["valueQuantity"] == {"value": 132, "unit": "克/升", "system": UCUM, "code": "g/L"}
    assert made.unmapped == ()
    assert made.mapping == f"hl7v2-1/{maps.digest}"
    assert before == observation()


def test_what_no_map_knows_is_kept_as_it_came_and_told() -> None:
    made = translated(ConceptMaps(), observation(), observation())
    assert made.resources == (observation(), observation())
    assert made.unmapped == ((LOCAL, "XHDB", "血红蛋白"), ("", "克/升", "克/升")) * 2
    assert made.mapping == "hl7v2-1"


def test_a_code_that_is_unmatched_on_purpose_is_not_told_again(tmp_path: Path) -> None:
    maps = written(tmp_path / "lab.csv", f"{HEADER}{LOCAL},XHDB,,,,unmatched\n")
    made = translated(maps, observation(unit="g/L"))
    assert [one[1] for one in made.unmapped] == ["g/L"]
    assert made.resources[0].body["code"] == observation().body["code"]


def test_a_narrower_target_does_not_stand_for_the_code(tmp_path: Path) -> None:
    maps = written(tmp_path / "lab.csv", f"{HEADER}{LOCAL},XHDB,{LOINC},718-7,,narrower\n")
    assert len(translated(maps, observation()).resources[0].body["code"]["coding"]) == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a,b\n", "source_system"),
        (f"{HEADER}{LOCAL},,{LOINC},1,,\n", "row 2"),
        (f"{HEADER}{LOCAL},A,{LOINC},1,,\n{LOCAL},B,{LOINC},,,\n", "row 3"),
        (f"{HEADER}{LOCAL},A,{LOINC},1,,roughly\n", "equivalence"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_row(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigurationError, match=where):
        written(tmp_path / "lab.csv", text)


def test_bytes_of_no_character_set_are_named(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_concept_maps([tmp_path / "lab.csv"])
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        load_concept_maps([tmp_path / "none.csv"])


def test_a_sources_mapping_is_used_for_every_record_it_sends(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text(f"{HEADER}{LOCAL},XHDB,{LOINC},718-7,,\n", "utf-8")
    (tmp_path / "east.yaml").write_text("terminology: [lab.csv]\n", "utf-8")
    mapping = load_mapping(tmp_path / "east.yaml")
    context = SourceContext("east", "hospital-east", "Asia/Shanghai", mapping=mapping)
    message = (
        "MSH|^~\\&|LIS|EAST|||20261120080000+0800||ORU^R01|M1|P|2.5\rPID|1||7^^^EAST^MR||甄^一\r"
        "OBR|1||F1|CBC^血常规^L|||20261120080000+0800\rOBX|1|NM|XHDB^血红蛋白^L||132|g/L|||||F\r"
    )
    made = convert("hl7v2", message.encode(), context)
    codes = [one.body["code"]["coding"] for one in made.resources if one.type == "Observation"]
    assert [one["code"] for one in codes[0]] == ["XHDB", "718-7"]
    assert ("urn:xinglin:hospital-east:codes:L", "CBC", "血常规") in made.unmapped
