"""Samples, series, users and times that all four kinds of wearables' records share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from wearables_world import become, bodies, heart_rate, point

from normalise.measures.series import DENSE, Series
from normalise.measures.tables import CONVERSIONS, MEASURES, UNITS, number, plain
from normalise.measures.times import fhir, from_epoch, from_text, zone_of
from schemas.attribution import attributed, attribution

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
POINTS = st.lists(st.tuples(st.integers(0, 4_000), st.integers(40, 60)), max_size=60)


@given(POINTS)
def test_runs_hold_every_different_value_once_whatever_the_order(found: list[tuple[int, int]]) -> None:
    points = [(BEGIN + timedelta(seconds=at), Decimal(value)) for at, value in found]
    runs = list(Series.runs(points))
    assert sorted(point for run in runs for point in run.points) == sorted(set(points))
    for run in runs:
        values = [one for one in run.grid() if one is not None] if run.period_ms else [run.points[0][1]]
        assert values == [value for _, value in run.points]


def test_thousands_of_values_of_one_instant_neither_recurse_nor_get_lost() -> None:
    points = [(BEGIN, Decimal(value)) for value in range(5_000)]
    assert sum(len(run.points) for run in Series.runs(points)) == 5_000


def test_few_or_sparse_points_stand_one_by_one() -> None:
    few = [(BEGIN + timedelta(seconds=at), Decimal(1)) for at in range(DENSE - 1)]
    sparse = [(BEGIN + timedelta(seconds=at * 301 + at % 2), Decimal(at)) for at in range(DENSE)]
    assert not any(run.is_dense for run in Series.runs(few))
    assert not any(run.is_dense for run in Series.runs(sparse))


def test_user_ids_that_are_too_long_are_never_cut_into_somebody_elses() -> None:
    one, other = attribution(attributed("张" * 600 + "1", b"x")), attribution(attributed("张" * 600 + "2", b"x"))
    assert one != other
    first, second = (become("omh", point("heart-rate", "2.0", heart_rate(), "u" * 600 + end)) for end in "12")
    assert bodies(first, "Patient")[0]["id"] != bodies(second, "Patient")[0]["id"]


def test_tables_agree_with_one_another() -> None:
    units = set(UNITS.values()) | {one.unit for one in MEASURES.values()}
    assert all(source in units for source, _ in CONVERSIONS)
    assert all(target in {one.unit for one in MEASURES.values()} for _, target in CONVERSIONS)


def test_numbers_are_read_as_written_and_written_plainly() -> None:
    assert [number(one) for one in (True, None, "", "x", "nan", "9" * 100, [1])] == [None] * 7
    assert [plain(Decimal(one)) for one in ("97.0", "36.6", "1E+3")] == [97, 36.6, 1000]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["Asia/Shanghai", "-0930", "UTC"]))  # noqa: DTZ001
def test_times_come_back_with_their_offset(time: datetime, zone: str) -> None:
    given_ = time.replace(microsecond=0, tzinfo=zone_of(zone, "UTC"))
    back = from_text(fhir(given_))
    assert back is not None and abs(back - given_) < timedelta(minutes=1)  # offsets of 1900 had seconds


def test_times_that_no_calendar_has_are_none() -> None:
    assert [from_text(one) for one in ("2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "2026-01-05")] == [None] * 3
    assert from_epoch(10**15) is None
    assert fhir(from_text("2016-12-31T23:59:60Z") or BEGIN) == "2016-12-31T23:59:59Z"
