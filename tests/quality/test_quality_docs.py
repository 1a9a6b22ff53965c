"""docs/quality.md held to what the stage does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from quality import Gate
from quality.readings import READINGS
from quality.suite import SUITES, load_suite
from schemas.documents import HERE
from schemas.records import Normalised, Resource

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def observation(number: int, **more: Any) -> Normalised:
    code = {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]}
    body = {"resourceType": "Observation", "id": f"o{number}", "status": "final", "code": code, **more}
    return Normalised((Resource(body, "OBX[1]", None),))


def test_rule_of_the_page_works_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "sample.yaml").write_text(block("yaml"), encoding="utf-8")
    batch = [observation(1, specimen={"reference": "Specimen/s"}), observation(2)]
    report = Gate("sample", tmp_path).check(batch)
    assert report.passed == [0]
    (refusal,) = report.refusals[1]
    assert (refusal.code, refusal.where) == ("quality:potassium-has-specimen", "OBX[1]")


def test_program_of_the_page_runs(capsys: Any) -> None:
    exec(compile(block("python"), "docs/quality.md", "exec"), {"batch": [observation(1)]})
    assert "record-has-patient refuse 1 of 1 in 1 records" in capsys.readouterr().out


def test_mistake_of_the_page_is_told_as_the_page_says(tmp_path: Path) -> None:
    text = block("yaml").replace("column: sampled", "column: sample")
    (tmp_path / "hl7v2.yaml").write_text(text, encoding="utf-8")
    try:
        Gate("hl7v2", tmp_path)
    except Exception as error:  # noqa: BLE001 - whatever it is, its words are the page's
        assert f"`{error}`" in PAGE
    else:
        raise AssertionError("the mistake was not noticed")


def test_page_names_every_reading_and_every_key() -> None:
    schema = yaml.safe_load((HERE / "suite.schema.json").read_text(encoding="utf-8"))
    named = set(re.findall(r"`([a-z_]+)", PAGE))
    assert set(schema["$defs"]["column"]["properties"]["as"]["enum"]) == set(READINGS) <= named
    assert set(schema["$defs"]["column"]["properties"]) | set(schema["$defs"]["rule"]["properties"]) <= named


def test_decisions_that_the_page_and_the_code_name_exist() -> None:
    links = re.findall(r"\((decisions/[^)]+)\)", PAGE)
    assert len(links) == 3
    assert all((ROOT / "docs" / link).is_file() for link in links)
    assert {path.stem for path in SUITES.glob("*.yaml")} >= {"hl7v2"}
    assert load_suite("hl7v2").title
