"""`xinglin convert` takes every kind, told or guessed, with the same lines and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from console_run import Xinglin

from console.kinds import HEAD_BYTES, KINDS, guess

CORPUS = {
    "hl7v2": ("hl7v2/ms", "*.hl7"),
    "cda": ("cda/ms", "*.ccda"),
    "fhir": ("fhir/r4b-examples", "**/*.json"),
    "dicom": ("dicom/zh", "**/*.dcm"),
    "apple-health": ("wearables/apple-health-zh", "*.zip"),
    "fit": ("wearables/fit", "*.fit"),
}
PATIENT = b'{"resourceType": "Patient", "id": "%d", "identifier": [{"system": "urn:x", "value": "%d"}]}'


def files(corpora: Path, kind: str) -> Iterator[Path]:
    folder, pattern = CORPUS[kind]
    yield from sorted(one for one in (corpora / folder).glob(pattern) if not one.name.endswith(".expected.json"))


@pytest.mark.conformance
@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_the_kind_of_a_file_is_told_by_its_first_bytes(corpora: Path, kind: str) -> None:
    found = {path.name: guess(path.read_bytes()[:HEAD_BYTES]) for path in files(corpora, kind)}
    assert found
    assert {name: one for name, one in found.items() if one != kind} == {}


@pytest.mark.conformance
@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_files_of_a_kind_give_the_same_whether_the_kind_is_told_or_guessed(
    xinglin: Xinglin, corpora: Path, kind: str
) -> None:
    some = list(files(corpora, kind))[:4]
    guessed = xinglin("convert", "--ndjson", *some)
    told = xinglin("convert", "--ndjson", "--kind", kind, *some)
    assert guessed.output == told.output
    lines = [json.loads(line) for line in told.output.splitlines()]
    assert [line["file"] for line in lines] == [str(one) for one in some]
    assert all({"bundle", "bundles", "refused"} & line.keys() for line in lines)


def test_each_line_of_ndjson_is_one_record_and_a_bad_one_takes_no_other_with_it(
    xinglin: Xinglin, file: Callable[[str, bytes], Path]
) -> None:
    path = file("patients.ndjson", b"\n".join((PATIENT % (1, 1), b"{", PATIENT % (2, 2))) + b"\n")
    done = xinglin("convert", "--ndjson", path)
    (line,) = map(json.loads, done.output.splitlines())
    assert done.code == 1
    assert len(line["bundles"]) == 2
    assert [one["message_number"] for one in line["refused"]] == [2]


def test_a_value_over_several_lines_is_one_record(xinglin: Xinglin, file: Callable[[str, bytes], Path]) -> None:
    path = file("patient.json", json.dumps(json.loads(PATIENT % (1, 1)), indent=2).encode())
    done = xinglin("convert", path)
    assert done.code == 0
    assert json.loads(done.output)["entry"][0]["resource"]["resourceType"] == "Patient"


def test_standard_input_is_guessed_too(xinglin: Xinglin) -> None:
    done = xinglin("convert", "-", stdin=PATIENT % (1, 1))
    assert done.code == 0
    assert json.loads(done.output)["entry"]


def test_an_unknown_kind_and_a_mapping_that_is_none_are_named(
    xinglin: Xinglin, file: Callable[[str, bytes], Path]
) -> None:
    path = file("patient.json", PATIENT % (1, 1))
    assert xinglin("convert", "--kind", "papyrus", path).code == 2
    done = xinglin("convert", "--mapping", file("none.yaml", b"rows: 7\n"), path)
    assert done.code == 1
    assert "none.yaml" in done.told
    assert done.output == b""


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"hl7v2", "row"}))
def test_rubbish_of_every_kind_is_refused_by_name(
    xinglin: Xinglin, file: Callable[[str, bytes], Path], kind: str
) -> None:
    for number, content in enumerate((b"", b"\0\xff" * 99, b"<x", b"{}", b"[[[", b"PK\x03\x04" + b"\0" * 40)):
        done = xinglin("convert", "--ndjson", "--kind", kind, file(f"{number}.bin", content))
        (line,) = map(json.loads, done.output.splitlines())
        assert done.code in (1, 3), content
        assert line["refused"]["code"] if "refused" in line else line["bundles"] == []
