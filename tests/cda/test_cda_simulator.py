"""The simulated electronic record: what it sends becomes exactly what it says, through the connector and the gate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from cda_shell import read

from connectors import open_connector
from normalise.errors import SetAside
from quality.gate import Gate
from schemas.records import Normalised, RawRecord, Unreadable
from schemas.source import load_source
from simulators.cda import TROUBLES, Documents


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "emr.yaml").write_text(
        "{id: emr, institution: hospital-east, kind: his.cda_documents, time_zone: Asia/Shanghai, "
        "settings: {folder: inbox, quiet_seconds: 0}}",
        "utf-8",
    )
    return tmp_path


def outcomes(home: Path) -> tuple[Counter[str], int]:
    """What each different document of the folder becomes, and how many are repeats."""
    source = replace(load_source(home / "emr.yaml"))
    found, seen, repeats = Counter[str](), set[bytes](), 0
    good: list[Normalised] = []
    for page in open_connector(source, home).pull():
        for record in page.records:
            if isinstance(record, Unreadable):
                found[record.refusal.code] += 1
                continue
            assert isinstance(record, RawRecord)
            repeats += record.content in seen
            if record.content in seen:
                continue
            seen.add(record.content)
            try:
                good.append(read(record.content, source.time_zone))
            except SetAside as error:
                found[error.refusal.code] += 1
    for refusals in Gate(source.suite).check(good).refusals:
        found[refusals[0].code if refusals else "sealed"] += 1
    return found, repeats


def test_every_document_becomes_what_was_promised(home: Path) -> None:
    documents = Documents(7)
    sent = documents.drop(home / "inbox", 12) + documents.drop(home / "inbox", 12, day=1)
    found, repeats = outcomes(home)
    assert (found.pop("sealed"), repeats) == (sent.sealed, sent.repeats) == (24, 1)
    assert found == sent.set_aside == Counter({kind.reason: 2 for kind in TROUBLES})
    assert sent.files == len(list((home / "inbox").iterdir()))


def test_right_documents_leave_nothing_unread(home: Path) -> None:
    for number in range(8):
        assert read(Documents(7).document(number)).notes == ()


def test_a_days_documents_are_the_same_however_often_they_are_made() -> None:
    assert [Documents(7).document(number, 3) for number in range(8)] == [
        Documents(7).document(number, 3) for number in range(8)
    ]
    assert Documents(7).document(0, 3) != Documents(8).document(0, 3)
