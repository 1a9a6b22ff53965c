"""`xinglin deidentify`: what a profile leaves of files, for trying and for audits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from console.deidentify import TRIAL, whose
from console.main import app

GOLDEN = Path(__file__).parent.parent / "golden" / "deid" / "stay-zh.json"
STAY: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))


def xinglin(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["deidentify", *map(str, arguments)], input=stdin, env={"COLUMNS": "200"})


@pytest.fixture
def ndjson(tmp_path: Path) -> Path:
    path = tmp_path / "stay.ndjson"
    path.write_bytes(b"\n".join(map(orjson.dumps, STAY)))
    return path


def test_resources_leave_a_line_each_and_the_trial_is_called_one(ndjson: Path) -> None:
    done = xinglin(ndjson)
    left = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [body["resourceType"] for body in left] == [body["resourceType"] for body in STAY if body["id"] != "pacs"]
    assert "欧阳" not in done.output
    assert TRIAL in done.stderr


def test_two_trials_have_nothing_in_common(ndjson: Path) -> None:
    first, second = (json.loads(xinglin(ndjson).stdout.splitlines()[0]) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["birthDate"] == second["birthDate"]


def test_one_file_of_one_resource_or_bundle_is_read_whole(tmp_path: Path) -> None:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": body} for body in STAY]}
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(bundle, indent=1, ensure_ascii=False), encoding="utf-8-sig")
    left = json.loads(xinglin(path, "--profile", "hipaa-safe-harbor").stdout)
    assert len(left["entry"]) == len(STAY) - 1
    subjects = {entry["resource"].get("subject", {}).get("reference") for entry in left["entry"]}
    assert subjects - {None} == {f"Patient/{left['entry'][0]['resource']['id']}"}


def test_the_report_says_in_sentences_what_was_dropped(ndjson: Path) -> None:
    done = xinglin(ndjson, "--report")
    assert "12 came, 11 left, 1 stayed behind." in done.stderr
    assert "Patient.name: dropped: no rule lists it" in done.stderr


def test_json_holds_results_report_and_the_word_trial(ndjson: Path) -> None:
    found = json.loads(xinglin(ndjson, "--json").stdout)
    assert found["profile"] == "gbt-37964"
    assert found["trial"] == TRIAL
    assert (len(found["results"]), found["report"]["taken"]) == (11, 12)
    assert found["report"]["applied"]["Patient.birthDate"] == {"birth:year": 1}


def test_text_comes_back_scrubbed_in_either_encoding(tmp_path: Path) -> None:
    text = "患者欧阳静，身份证号110199196203170027，电话19900012345，血压偏高"
    for codec in ("utf-8", "gb18030"):
        path = tmp_path / f"{codec}.txt"
        path.write_bytes(text.encode(codec))
        done = xinglin(path)
        assert done.exit_code == 0
        assert "血压偏高" in done.stdout
        assert "19900012345" not in done.output


def test_standard_input_is_read(ndjson: Path) -> None:
    assert len(xinglin("-", stdin=ndjson.read_bytes()).stdout.splitlines()) == 11


@pytest.mark.conformance
def test_a_dicom_object_goes_to_a_folder_under_a_number(corpora: Path, tmp_path: Path) -> None:
    file = corpora / "dicom" / "zh" / "02-CT-gbk.dcm"
    out = tmp_path / "out"
    done = xinglin(file, "--out", out, "--report")
    assert done.exit_code == 0
    assert [path.name for path in out.iterdir()] == ["0001.dcm"]
    assert out.joinpath("0001.dcm").read_bytes()[128:132] == b"DICM"
    refused = xinglin(file)
    assert refused.exit_code == 2
    assert "--out" in refused.stderr


def test_a_type_of_which_nothing_leaves_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.json"
    path.write_bytes(orjson.dumps(next(body for body in STAY if body["resourceType"] == "Endpoint")))
    done = xinglin(path, "--report")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Endpoint: dropped whole: no rule lists the type" in done.stderr


@pytest.mark.parametrize(
    "content", [b'{"resourceType": ', b'{"resourceType": 1}', b'[{"resourceType": "Patient"}]', b'"x"']
)
def test_what_is_no_resource_is_unreadable_and_not_repeated(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    done = xinglin(path, "--kind", "fhir")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "was expected" in done.stderr


def test_one_bad_line_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(orjson.dumps(STAY[0]) + "\n{broken 欧阳静\n".encode() + orjson.dumps(STAY[1]))
    done = xinglin(path)
    assert done.exit_code == 3
    assert len(done.stdout.splitlines()) == 2
    assert "record 2: JSON was expected" in done.stderr
    assert "欧阳" not in done.output


def test_wrong_names_are_usage_errors_that_name_the_right_ones(ndjson: Path) -> None:
    for wrong, right in (("--profile", "hipaa-safe-harbor"), ("--kind", "dicom")):
        done = xinglin(ndjson, wrong, "none")
        assert done.exit_code == 2
        assert right in done.stderr


def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    done = xinglin(tmp_path / "none")
    assert (done.exit_code, done.stdout) == (3, "")


def test_a_resource_belongs_to_the_patient_it_is_about() -> None:
    patient = whose({"resourceType": "Patient", "id": "1"})
    for literal in ("Patient/1", "https://his.example/fhir/Patient/1", "Patient/1/_history/2"):
        assert whose({"resourceType": "Observation", "subject": {"reference": literal}}) == patient
    assert whose({"resourceType": "Account", "subject": [{"reference": "Patient/1"}]}) == patient
    assert whose({"resourceType": "Coverage", "beneficiary": {"reference": "Patient/1"}}) == patient
    assert whose({"resourceType": "Organization", "id": "1"}) == b""
