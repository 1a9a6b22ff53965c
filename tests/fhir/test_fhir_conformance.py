"""The independent FHIR corpora: all that is official is accepted, what is bad is refused as far as our rules go."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from normalise.errors import SetAside
from normalise.fhir import convert
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.records import Refusal, SourceContext

pytestmark = pytest.mark.conformance

CONTEXT = SourceContext("corpora", "hospital-east", "Asia/Shanghai")
#: Official examples that FHIR itself forbids to process: a modifier extension that nobody defined.
UNDERSTOOD_BY_NOBODY = {"basic-example.json"}
#: Files whose names say that they are bad.
NAMED_BAD = re.compile(r"Invalid|Wrong|Missing|NoCode|Bad|Foreign|MultipleEntries|POSTFullUrl")


def beyond() -> set[str]:
    """Bad cases that need more than the record to be seen, each with its reason in the table."""
    with (Path(__file__).parents[2] / "benchmarks" / "fhir_beyond.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["reason"] for row in rows)
    return {row["case"] for row in rows}


def judged(content: bytes) -> Refusal | None:
    """Why a record is refused on its way to the vault, or None."""
    try:
        made = convert(content, CONTEXT)
    except SetAside as error:
        return error.refusal
    faults = (check_structure(one.body) or check_invariants(one.body) for one in made.resources)
    return next((fault for fault in faults if fault), None)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.json")) if not path.name.endswith(".outcome.json"))


def test_every_official_example_is_accepted_but_one_that_fhir_forbids_to_process(corpora: Path) -> None:
    paths = list(files(corpora / "fhir" / "r4b-examples"))
    assert len(paths) == 408
    valid = [path for path in paths if check_structure(body := json.loads(path.read_bytes())) or check_invariants(body)]
    assert valid == []
    assert {path.name for path in paths if judged(path.read_bytes())} == UNDERSTOOD_BY_NOBODY


def test_every_synthetic_patient_and_exported_line_is_accepted(corpora: Path) -> None:
    folder = corpora / "fhir"
    lines = [line for path in sorted((folder / "bulk-ndjson").iterdir()) for line in path.read_bytes().splitlines()]
    records = [path.read_bytes() for path in files(folder / "synthea")] + lines
    assert len(records) == 327
    assert [refusal for record in records if (refusal := judged(record))] == []


def test_validator_cases_are_accepted_or_refused_as_hl7_does_but_where_more_than_the_record_is_needed(
    corpora: Path,
) -> None:
    folder = corpora / "fhir" / "validator"
    wrongly, accepted = [], set()
    for path in files(folder):
        errors = json.loads((folder / f"{path.stem}.outcome.json").read_bytes())["errors"]
        refusal = judged(path.read_bytes())
        if refusal and not errors:
            wrongly.append((path.stem, refusal))
        if errors and not refusal:
            accepted.add(path.stem)
    assert wrongly == []
    assert len(accepted) == 11 and accepted <= beyond()


def test_files_that_a_server_keeps_to_be_refused_are_refused(corpora: Path) -> None:
    bad = [path for path in files(corpora / "fhir" / "ms-fhir-server") if NAMED_BAD.search(path.stem)]
    assert len(bad) >= 12
    accepted = {path.stem for path in bad if judged(path.read_bytes()) is None}
    assert len(accepted) == 2 and accepted <= beyond()
