"""The independent DICOM corpus: names right to the field, every file valid FHIR or a refusal that names the element."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from normalise import SetAside, convert
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, SourceContext

pytestmark = pytest.mark.conformance
CONTEXT = SourceContext("corpora", "corpora", "Asia/Shanghai")
#: Files that lack what identifies an object; everything else must become FHIR.
REFUSED = {
    "UN_sequence.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm", "empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm", "no_meta.dcm", "priv_SQ.dcm", "JLSL_08_07_0_1F.dcm", "JLSL_16_15_1_1F.dcm",
    "JLSL_RGB_ILV0.dcm", "JLSL_RGB_ILV1.dcm", "JLSN_RGB_ILV0.dcm",
}  # fmt: skip


def chinese(corpora: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((corpora / "dicom" / "zh").glob("*.dcm")):
        yield path, json.loads(path.with_suffix("").with_suffix(".expected.json").read_bytes())


def only(found: Normalised, type_: str) -> dict[str, Any]:
    return next(one.body for one in found.resources if one.type == type_)


def test_chinese_objects_are_right_to_the_field(corpora: Path) -> None:
    count = 0
    for path, expected in chinese(corpora):
        found = convert("dicom", path.read_bytes(), CONTEXT)
        patient, study = only(found, "Patient"), only(found, "ImagingStudy")
        names = ["^".join([one["family"], *one["given"]]) for one in patient["name"]]
        assert names == [expected["patient_name_ideographic"], expected["patient_name_alphabetic"]], path.name
        assert patient["identifier"][0]["value"] == expected["patient_id"], path.name
        assert study["description"] == expected["study_description"], path.name
        assert study["identifier"][0]["value"] == f"urn:oid:{expected['study_uid']}", path.name
        assert study["identifier"][1]["value"] == expected["accession"], path.name
        assert study["started"].replace("-", "").startswith(expected["study_date"]), path.name
        assert study["series"][0]["modality"]["code"] == expected["modality"], path.name
        performers = [one["actor"]["display"] for one in study["series"][0]["performer"]]
        assert performers == ["刘医生"], path.name
        wrong = "missing" in expected["trap"] or "latin1" in expected["trap"]
        assert [one.code for one in found.notes] == ["charset"] * wrong, path.name
        count += 1
    assert count == 24


def test_every_file_becomes_valid_fhir_or_a_refusal_that_names_the_element(
    corpora: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes: Counter[str] = Counter()
    refused = set()
    for path in sorted((corpora / "dicom").rglob("*.dcm")):
        try:
            found = convert("dicom", path.read_bytes(), CONTEXT)
        except SetAside as error:
            refusal = error.refusal
            assert refusal.code in REASONS and re.search(r"\([0-9A-F]{4},[0-9A-F]{4}\)|byte \d+", refusal.where), path
            refused.add(path.name)
            continue
        assert [fault for one in found.resources if (fault := check_structure(one.body))] == [], path.name
        outcomes["converted"] += 1
    assert refused == REFUSED
    assert outcomes["converted"] == 86
    assert not recwarn.list
    assert capfd.readouterr().err == ""


def test_names_of_other_scripts_are_read(corpora: Path) -> None:
    index = json.loads((corpora / "dicom" / "pydicom-wheel-index.json").read_bytes())
    expected = {Path(one["path"]).name: one.get("name", "") for one in index["files"]}
    checked = 0
    for path in sorted((corpora / "dicom" / "pydicom").glob("chr*.dcm")):
        if path.name in REFUSED:
            continue
        names = only(convert("dicom", path.read_bytes(), CONTEXT), "Patient")["name"]
        said = {part for one in names for part in (one.get("family", ""), *one.get("given", ()))}
        meant = {part for group in expected[path.name].split("=") for part in group.split("^") if part}
        assert meant <= said, path.name
        checked += 1
    assert checked == 15
