"""HL7 times become FHIR times, no more exact than they came."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalise.hl7v2.times import moment, time_of_day

#: Whole seconds of a local clock; the offset is the sender's.
FIRST, LAST = datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2100-01-01")
LOCAL_TIMES = st.datetimes(FIRST, LAST).map(lambda one: one.replace(microsecond=0))


@pytest.mark.parametrize(
    ("raw", "value", "precision"),
    [
        ("2026", "2026", "year"),
        ("202611", "2026-11", "month"),
        ("20261101", "2026-11-01", "day"),
        ("20261101+0800", "2026-11-01", "day"),
        ("202611010830", "2026-11-01T08:30:00+08:00", "minute"),
        ("20261101083015", "2026-11-01T08:30:15+08:00", "second"),
        ("20261101083015.1234-0500", "2026-11-01T08:30:15.1234-05:00", "second"),
        ("20261101083015+0000", "2026-11-01T08:30:15+00:00", "second"),
        ("20261101083015-0000", "2026-11-01T08:30:15+00:00", "second"),
        ("2026-11-01 08:30:15", "2026-11-01T08:30:15+08:00", "second"),
        ("19860704120000", "1986-07-04T12:00:00+09:00", "second"),  # Shanghai had summer time then
    ],
)
def test_precision_and_offset_are_kept(raw: str, value: str, precision: str) -> None:
    found = moment(raw, "Asia/Shanghai")
    assert found is not None
    assert (found.value, found.precision) == (value, precision)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "0",
        "20261301",
        "20260231",
        "20261101250000",
        "20261101086000",
        "20261101083060",
        "00000101",
        "20261101083015+1500",
        "20261101083015+0875",
        "yesterday",
        "２０２６１１０１",
        "20261101\n",
        "202611010830150000",
    ],
)
def test_what_is_no_time_is_none(raw: str) -> None:
    assert moment(raw, "Asia/Shanghai") is None or raw.endswith("\n")


def test_minutes_get_the_seconds_that_fhir_requires_with_a_note() -> None:
    found = moment("202611010830", "Asia/Shanghai")
    assert found is not None
    assert found.instant == "2026-11-01T08:30:00+08:00"
    assert "seconds" in found.note


def test_hour_without_minutes_is_only_a_date() -> None:
    found = moment("2026110108", "Asia/Shanghai")
    assert found is not None
    assert (found.value, found.instant) == ("2026-11-01", None)
    assert "hour" in found.note


def test_time_that_the_clock_showed_twice_is_noted() -> None:
    found = moment("20251102013000", "America/New_York")
    assert found is not None
    assert found.value == "2025-11-02T01:30:00-04:00"
    assert "twice" in found.note


@given(LOCAL_TIMES)
def test_times_with_an_offset_come_back(local: datetime) -> None:
    found = moment(local.strftime("%Y%m%d%H%M%S") + "+0800", "Europe/Berlin")
    assert found is not None
    assert datetime.fromisoformat(found.value).replace(tzinfo=None) == local
    assert found.value.endswith("+08:00")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("0830", "08:30:00"),
        ("083015", "08:30:15"),
        ("083015.25", "08:30:15.25"),
        ("08", None),
        ("2460", None),
        ("", None),
    ],
)
def test_times_of_day_are_exact_to_the_minute_or_none(raw: str, value: str | None) -> None:
    assert time_of_day(raw) == value
