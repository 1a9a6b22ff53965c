"""The gate over what the house's own converter makes of the independent HL7 v2 corpora."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from normalise.errors import SetAside
from normalise.hl7v2 import convert
from quality import Gate
from quality.structure import check_structure
from schemas.records import Normalised, SourceContext

pytestmark = pytest.mark.conformance

CONTEXT = SourceContext("test", "hospital-east", "Asia/Shanghai")
# Test messages whose own times contradict each other are many in the corpora; these rules rightly say so.
CONTRADICTIONS = {
    "quality:condition-onset-not-in-future",
    "quality:encounter-admission-not-in-future",
    "quality:encounter-discharge-after-admission",
    "quality:observation-not-in-future",
    "quality:patient-birth-not-in-future",
    "quality:patient-death-not-in-future",
    "quality:procedure-not-in-future",
    "quality:report-not-in-future",
    "quality:medication-given-not-in-future",
    "quality:vaccination-not-in-future",
}
# Fragments of other converters' unit tests: an order, a prescription or a vaccination of nothing.
SAYS_NOTHING = {"quality:order-code", "quality:medication-order-code", "quality:vaccine-code"}


def converted(folder: Path) -> list[Normalised]:
    done = []
    for path in sorted(folder.rglob("*.hl7")):
        try:
            done.append(convert(path.read_bytes(), CONTEXT))
        except SetAside:
            continue
    return done


def test_every_resource_made_of_the_corpora_has_the_structure_of_fhir(corpora: Path) -> None:
    records = converted(corpora / "hl7v2")
    assert sum(len(one.resources) for one in records) > 10_000
    assert not [check for one in records for part in one.resources if (check := check_structure(part.body))]


def test_records_of_the_corpora_fail_only_where_their_own_times_contradict_each_other(corpora: Path) -> None:
    report = Gate("hl7v2").check(converted(corpora / "hl7v2"))
    failed = Counter((one.code, one.where) for refusals in report.refusals for one in refusals)
    # And a few where the birth date is no date (a test of the sender's own parser).
    assert {code for code, where in failed if (code, where) != ("bad_value", "PID-7")} <= CONTRADICTIONS | SAYS_NOTHING
    assert failed["bad_value", "PID-7"] == 3
    assert len(report.passed) > 80


def test_every_chinese_message_that_can_be_read_passes(corpora: Path) -> None:
    records = converted(corpora / "hl7v2" / "zh")
    report = Gate("hl7v2").check(records)
    assert len(records) >= 20
    assert report.passed == list(range(len(records)))
    warned = {one.code for warnings in report.warnings for one in warnings}
    assert warned <= {"quality:encounter-finished-has-end"}, "some discharges of the corpus lack PV1-45"
