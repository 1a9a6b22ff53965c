"""Dates: one person's move together and keep their distances, and none becomes nonsense; another's move otherwise."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sharing.deidentify import Deidentifier, Pseudonyms, load_profile
from sharing.deidentify.dates import Shift

SECRET = bytes(range(32))
BEIJING = timezone(timedelta(hours=8))
days = st.dates(date(1900, 1, 1), date(2100, 1, 1))
times = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=0)
)
fixed = settings(derandomize=True, deadline=None, max_examples=60)


def moved(text: str, person: bytes = b"p", profile: str = "gbt-37964", name: str = "effectiveDateTime") -> Any:
    body = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, name: text}
    found = Deidentifier(load_profile(profile), SECRET).resource(body, person)
    assert found is not None
    return found.get(name)


@fixed
@given(times, times, st.binary(max_size=40))
def test_as_much_time_passes_between_two_times_of_a_person_as_before(
    one: datetime, other: datetime, person: bytes
) -> None:
    first, second = (datetime.fromisoformat(moved(at.isoformat(), person)) for at in (one, other))
    assert second - first == other - one
    assert first != one


@fixed
@given(days, days, st.binary(max_size=40))
def test_as_many_days_pass_between_two_dates_of_a_person_as_before(one: date, other: date, person: bytes) -> None:
    first, second = (date.fromisoformat(moved(day.isoformat(), person)) for day in (one, other))
    assert second - first == other - one
    assert 0 < abs((first - one).days) <= 180


@fixed
@given(times, st.binary(max_size=40))
def test_the_clock_moves_by_half_an_hour_at_most_and_never_stays(at: datetime, person: bytes) -> None:
    found = datetime.fromisoformat(moved(at.isoformat(), person))
    beside = (found - at) % timedelta(days=1)
    beside = min(beside, timedelta(days=1) - beside)
    assert timedelta() < beside <= timedelta(minutes=30)


def test_persons_and_datasets_have_shifts_of_their_own() -> None:
    ours, others = Pseudonyms(SECRET), Pseudonyms(bytes(32))
    persons = [number.to_bytes(4, "big") for number in range(400)]
    shifts = [ours.shift(person, 180) for person in persons]
    assert len(set(shifts)) > 200
    assert 0 not in shifts
    assert min(shifts) < -150 < 150 < max(shifts)
    same = sum(one == others.shift(person, 180) for one, person in zip(shifts, persons, strict=True))
    assert same < 20


def test_every_shift_up_to_the_bound_occurs_and_none_beyond() -> None:
    ours = Pseudonyms(SECRET)
    assert {ours.shift(b"%d" % number, 3) for number in range(300)} == {-3, -2, -1, 1, 2, 3}


@fixed
@given(days, st.binary(max_size=40))
def test_a_partial_date_keeps_its_precision_and_moves_with_the_rest(day: date, person: bytes) -> None:
    whole = date.fromisoformat(moved(day.isoformat(), person))
    month, year = moved(day.isoformat()[:7], person), moved(day.isoformat()[:4], person)
    assert re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month)
    assert re.fullmatch(r"\d{4}", year)
    apart = (whole.year - int(month[:4])) * 12 + whole.month - int(month[5:])
    assert abs(apart) <= 1  # a month stands for its middle
    assert int(year) == day.year  # and a year for its own, which half a year does not leave


@pytest.mark.parametrize(
    "text",
    [
        "0000-00-00",
        "2026-02-30",
        "2026-13",
        "9999-12-31",
        "0001-01-01",
        "2026-06-01T25:00:00+08:00",
        "2026-06-01T08:00",
        "20260601",
        "昨天",
        "",
        "2026-06-01T08:00:00",
        "2026-06-01 08:00:00+08:00",
        "２０２６-06-01",
        "2026-6-1",
        "张三 2026-06-01",
    ],
)
def test_what_is_no_date_of_fhir_or_cannot_move_is_dropped(text: str) -> None:
    shift = Shift.of(-180 if text.startswith("0001") else 180, 7, 8)
    assert shift.moved(text) is None


@pytest.mark.parametrize("offset", ["+08:00", "Z", "-05:00", "+05:45"])
def test_times_leave_in_the_regions_offset_not_in_the_senders(offset: str) -> None:
    found = moved(f"2026-06-01T08:00:00.123{offset}")
    assert found.endswith("+08:00")
    assert "." not in found


def test_periods_of_a_person_stay_in_order() -> None:
    body = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": "IMP"},
        "period": {"start": "2026-06-01T23:59:00+08:00", "end": "2026-06-02T00:01:00+08:00"},
    }
    for person in range(50):
        found = Deidentifier(load_profile("gbt-37964"), SECRET).resource(body, b"%d" % person)
        assert found is not None
        start, end = (datetime.fromisoformat(found["period"][name]) for name in ("start", "end"))
        assert end - start == timedelta(minutes=2)
        assert start.utcoffset() == BEIJING.utcoffset(None)


def test_safe_harbor_leaves_the_year_and_no_instant() -> None:
    assert moved("2026-06-01T08:00:00+08:00", profile="hipaa-safe-harbor") == "2026"
    assert moved("2026-06", profile="hipaa-safe-harbor") == "2026"
    assert moved("2026-06-01T08:00:00+08:00", profile="hipaa-safe-harbor", name="issued") is None


@fixed
@given(days)
def test_nobody_is_seen_to_be_over_89(born: date) -> None:
    assume(born <= date(2026, 6, 1))
    today = date(2026, 6, 1)
    for profile in ("gbt-37964", "hipaa-safe-harbor"):
        one = Deidentifier(load_profile(profile), SECRET, today=today)
        found = one.resource({"resourceType": "Patient", "birthDate": born.isoformat()}, b"p")
        assert found is not None
        assert found["birthDate"] == str(max(born.year, 1936))


@pytest.mark.parametrize(
    ("age", "left"),
    [
        ({"value": 42, "code": "a", "system": "http://unitsofmeasure.org", "unit": "岁"}, 42),
        ({"value": 90, "unit": "岁"}, 90),
        ({"value": 103, "code": "a", "system": "http://unitsofmeasure.org"}, 90),
        ({"value": 1200, "unit": "月"}, 1080),
        ({"value": 101, "unit": "张"}, 90),  # without a unit that is known, years
        ({"value": 42, "unit": "g"}, None),
    ],
)
def test_ages_of_the_oldest_share_a_bound(age: dict[str, Any], left: int | None) -> None:
    body = {"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "onsetAge": age}
    found = Deidentifier(load_profile("gbt-37964"), SECRET).resource(body, b"p")
    assert found is not None
    if left is None:
        assert "onsetAge" not in found
        return
    assert found["onsetAge"]["value"] == left
    assert found["onsetAge"].get("comparator") == (">=" if left in (90, 1080) else None)
