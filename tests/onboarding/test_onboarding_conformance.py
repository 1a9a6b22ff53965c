"""The suite tells every fault that a connector can have, and finds none in those that ship."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from connectors.conformance import Check, Trial, assert_conforms, conformance
from connectors.conformance_listening import ListeningTrial, assert_listening_conforms, listening_conformance
from connectors.contract import Finding, Found, Mark, PullConnector, since
from connectors.errors import Stop
from connectors.folders_trial import trial as folder_trial
from connectors.his.hl7v2_mllp_trial import trial as mllp_trial
from normalise.hl7v2 import inspect
from schemas.records import Refusal
from schemas.source import Source, load_source
from simulators.lis import Laboratory

HOUR = "2026-11-01T{:02d}:00:00+08:00"


class Ledger(PullConnector):
    """Rows of (hour, bytes) with a watermark and an overlap: the smallest connector that conforms."""

    media: ClassVar[str] = "fhir"
    rows: ClassVar[list[tuple[int, bytes]]] = []
    overlap: ClassVar[timedelta] = timedelta(hours=3)

    def check(self) -> tuple[Finding, ...]:
        there = self.source.settings["password"] == "right"
        return (Finding("rights", there, "the account may read" if there else "the account is not let in"),)

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        if self.source.settings["password"] != "right":
            raise Stop(f"{self.source.id}: the account is not let in; correct the password")
        yield from self.found(cursor)

    def found(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        begin, until = since(cursor.get("until"), self.overlap), cursor.get("until", "")
        for hour, content in sorted(self.rows):
            if begin is None or HOUR.format(hour) >= begin.isoformat():
                until = max(until, HOUR.format(hour))
                yield Found(content, f"row {hour}", str(hour))
                yield Mark({"until": until}, expected=self.counted())

    def counted(self) -> int | None:
        return None


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "ledger.yaml"
    path.write_text(
        "{id: ledger, institution: hospital-east, kind: his.hl7v2_files, time_zone: Asia/Shanghai, "
        "settings: {password: right}}",
        encoding="utf-8",
    )
    Ledger.rows = [(hour, b"row %d" % hour) for hour in range(20) for _ in range(1)]
    return load_source(path)


def tried(kind: type[Ledger], source: Source, home: Path, late: bool = True) -> dict[str, Check]:
    """Every check of a kind, by name."""
    wrong = replace(source, settings={"password": "wrong"})
    trial = Trial(
        partial(kind, source, home),
        wrong=partial(kind, wrong, home),
        late=(lambda: kind.rows.append((18, b"filed late"))) if late else None,
    )
    return {one.name: one for one in conformance(trial)}


def test_a_right_connector_passes_in_one_statement(source: Source, tmp_path: Path) -> None:
    wrong = replace(source, settings={"password": "wrong"})
    late: Callable[[], None] = lambda: Ledger.rows.append((18, b"filed late"))  # noqa: E731
    assert_conforms(Trial(partial(Ledger, source, tmp_path), partial(Ledger, wrong, tmp_path), late))


class LetsAnybodyIn(Ledger):
    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        yield from self.found(cursor)


class EmptyForStrangers(Ledger):
    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        if self.source.settings["password"] == "right":
            yield from self.found(cursor)


class SaysAllIsWell(Ledger):
    def check(self) -> tuple[Finding, ...]:
        return (Finding("connection", True, "all is well"),)


class Shuffles(Ledger):
    turn: ClassVar[list[int]] = [0]

    def found(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        self.turn[0] += 1
        items = list(super().found(cursor))
        yield from items if self.turn[0] % 2 else reversed(items)


class IgnoresItsCursor(Ledger):
    def found(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        yield from super().found({})


class RunsAhead(Ledger):
    def found(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        yield Mark({"until": HOUR.format(19)})  # before the rows are handed over
        yield from (one for one in super().found(cursor) if isinstance(one, Found))


class ForgetsLateRows(Ledger):
    overlap: ClassVar[timedelta] = timedelta(0)


class CountsMoreThanItGives(Ledger):
    def counted(self) -> int | None:
        return len(self.rows) + 1


class RefusesWithoutAReason(Ledger):
    def found(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        yield Found(b"what", "row 0", refusal=Refusal("because", "", ""))
        yield from super().found(cursor)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (LetsAnybodyIn, "wrong_credentials_fail"),
        (EmptyForStrangers, "wrong_credentials_fail"),
        (SaysAllIsWell, "wrong_credentials_fail"),
        (Shuffles, "full_reads_are_equal"),
        (IgnoresItsCursor, "future_cursor_gives_nothing"),
        (RunsAhead, "interrupted_read_resumes"),
        (ForgetsLateRows, "late_record_is_caught"),
        (CountsMoreThanItGives, "own_count_agrees"),
        (RefusesWithoutAReason, "unreadable_is_named"),
    ],
)
def test_a_connector_with_a_fault_fails_the_check_that_is_about_it(
    kind: type[Ledger], check: str, source: Source, tmp_path: Path
) -> None:
    kind.rows = [(hour % 20, b"row %d" % hour) for hour in range(60)]
    found = tried(kind, source, tmp_path)
    assert found[check].status == "failed", found
    with pytest.raises(AssertionError, match=check):
        assert_conforms(Trial(partial(kind, source, tmp_path), partial(kind, wrong_of(source), tmp_path), late=add))


def wrong_of(source: Source) -> Source:
    return replace(source, settings={"password": "wrong"})


def add() -> None:
    for kind in (Ledger, *Ledger.__subclasses__()):
        kind.rows.append((0, b"filed very late"))


def test_where_nothing_may_be_changed_a_late_row_is_shown_by_the_overlap_or_not_at_all(
    source: Source, tmp_path: Path
) -> None:
    assert tried(Ledger, source, tmp_path, late=False)["late_record_is_caught"].status == "passed"
    ForgetsLateRows.rows = list(Ledger.rows)
    shown = tried(ForgetsLateRows, source, tmp_path, late=False)["late_record_is_caught"]
    assert "meets the last 1 records" in shown.detail


def test_an_empty_source_shows_nothing_and_fails_nothing(source: Source, tmp_path: Path) -> None:
    Ledger.rows = []
    found = tried(Ledger, source, tmp_path, late=False)
    assert {one.status for one in found.values()} <= {"passed", "not_shown", "not_applicable"}
    assert found["full_reads_are_equal"].status == "not_shown"


def test_hl7v2_files_conform_with_trouble_among_them_and_the_folder_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "{id: lab, institution: lab-centre, kind: his.hl7v2_files, time_zone: Asia/Shanghai, "
        "settings: {folder: inbox, pattern: ['*.hl7'], quiet_seconds: 0}}",
        encoding="utf-8",
    )
    inbox = tmp_path / "inbox"
    Laboratory(3).drop(inbox, 3, 40)
    before = {one.name: one.stat().st_mtime_ns for one in inbox.iterdir()}
    with folder_trial(load_source(path), tmp_path) as trial:
        assert_conforms(trial)
    assert {one.name: one.stat().st_mtime_ns for one in inbox.iterdir()} == before


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[ListeningTrial]:
    path = tmp_path / "his.yaml"
    path.write_text(
        "{id: his, institution: hospital-east, kind: his.hl7v2_mllp, time_zone: Asia/Shanghai, settings: {port: 0}}",
        encoding="utf-8",
    )
    source = load_source(path)
    with mllp_trial(source, tmp_path, partial(inspect, context=source.context)) as trial:
        yield trial


def test_hl7v2_mllp_conforms(listening: ListeningTrial) -> None:
    assert_listening_conforms(listening)


def test_a_listener_that_acknowledges_what_it_does_not_keep_is_found_out(listening: ListeningTrial) -> None:
    yes = b"MSH|^~\\&|\rMSA|AA|1\r"
    faulty = replace(listening, deliver=lambda _: yes)
    found = {one.name: one for one in listening_conformance(faulty)}
    assert found["sender_reaches_it"].detail == "a record was acknowledged and is not there"
    assert found["acknowledged_only_when_durable"].status == "failed"
    assert found["bad_records_are_refused"].status == "failed"
    assert list(listening.landed()) == []


def test_a_listener_that_never_answers_is_found_out(listening: ListeningTrial) -> None:
    silent = replace(listening, deliver=lambda _: None)
    assert {one.name for one in listening_conformance(silent) if one.status == "failed"} == {
        "sender_reaches_it", "acknowledged_only_when_durable", "repeat_lands_once", "bad_records_are_refused",
    }  # fmt: skip
