"""Paths and readings: how a column's value is taken from a resource."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import readings
from quality.paths import compile_path

BODY: dict[str, Any] = {
    "identifier": [
        {"system": "urn:oid:1.2", "value": "a"},
        {"system": "urn:oid:2.16.156.10011.1.3", "value": "b"},
        {"value": "c"},
    ],
    "code": {"coding": [{"code": "x"}, {"system": "http://loinc.org", "code": "718-7"}], "text": "t"},
    "valueQuantity": {"value": 0, "code": "g/L"},
    "values": "no choice",
    "period": {"start": "2026"},
    "active": False,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("identifier.value", ["a", "b", "c"]),
        ("identifier[system=urn:oid:2.16.156.10011.1.3].value", ["b"]),
        ("identifier[system=urn:none].value", []),
        ("code.coding[system=http://loinc.org].code", ["718-7"]),
        ("code.coding.code | code.text", ["x", "718-7"]),
        ("code.nothing | code.text", ["t"]),
        ("value[x]", [{"value": 0, "code": "g/L"}]),
        ("value[x].code", ["g/L"]),
        ("valueQuantity.value", [0]),
        ("period.start.more", []),
        ("active", [False]),
        ("missing", []),
        ("missing.deep[system=x] | value[x]", [{"value": 0, "code": "g/L"}]),
    ],
)
def test_path_finds(path: str, found: list[Any]) -> None:
    find = compile_path(path)
    assert find is not None
    assert find(BODY) == found


@pytest.mark.parametrize("path", ["", "a.", ".a", "a..b", "a[", "a[0]", "a b", "a | ", "a[x=]", "1a", "a[x]b"])
def test_what_is_no_path_is_none(path: str) -> None:
    assert compile_path(path) is None


# GB 11643-1999, the example of its own appendix.
OFFICIAL = "11010519491231002X"


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (OFFICIAL, "ok"),
        (OFFICIAL.lower(), "ok"),
        ("440524188001010014", "ok"),  # the standard's second example
        ("110105194912310021", "checksum"),
        ("110105194913310029", "date"),
        ("110105194902300026", "date"),
        ("11010519491231002", "form"),
        ("not a number", "form"),
        ("110105491231002", "ok"),  # fifteen digits, before 1999
        ("110105491331002", "form"),
        ("\uff11" * 18, "form"),  # full-width digits
    ],
)
def test_resident_identity_number(number: str, verdict: str) -> None:
    assert readings.identity([number]) == verdict


@given(st.integers(0, 17), st.integers(1, 9))
def test_one_wrong_digit_of_an_identity_number_is_always_noticed(at: int, by: int) -> None:
    number = "110108199606190893"
    assert readings.identity([number]) == "ok"
    wrong = number[:at] + str((int(number[at]) + by) % 10) + number[at + 1 :]
    assert readings.identity([wrong]) != "ok"


def test_identity_number_tells_birth_and_sex() -> None:
    assert readings.identity_birth([OFFICIAL]) == "1949-12-31"
    assert readings.identity_sex([OFFICIAL]) == "female"
    assert readings.identity_sex(["110108199606190893"]) == "male"
    assert readings.identity_birth(["110105491231002"]) is None
    assert readings.identity_birth(["110105194913310029"]) is None


@given(st.dates(date(1000, 1, 1), date(9998, 1, 1)), st.times(), st.integers(-12, 14))
def test_instant_with_an_offset_is_exactly_itself(day: date, clock: time, hours: int) -> None:
    text = f"{day}T{clock.replace(microsecond=0)}{hours:+03d}:00"
    exact = datetime.fromisoformat(text).timestamp()
    assert readings.earliest([text]) == readings.latest([text]) == exact


@given(st.dates(date(2, 1, 1), date(9998, 12, 31)), st.integers(-12, 14), st.sampled_from([4, 7, 10]))
def test_no_instant_of_a_day_anywhere_lies_outside_its_date(day: date, hours: int, precision: int) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - timedelta(hours=hours)
    text = day.isoformat()[:precision]
    first, last = readings.earliest([text]), readings.latest([text])
    assert first is not None
    assert last is not None
    assert first <= noon.timestamp() <= last


def test_leap_second_is_read_as_the_second_before() -> None:
    assert readings.earliest(["2016-12-31T23:59:60Z"]) == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("found", [[], [{}], ["no date"], ["2026-13"], ["2026-01-01Tnonsense"], [7]])
def test_what_is_no_time_is_none(found: list[Any]) -> None:
    assert readings.earliest(found) is None
    assert readings.latest(found) is None


@given(st.lists(st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.dictionaries(st.text(), st.text()))))
def test_readings_give_a_plain_value_or_none_of_whatever_was_found(found: list[Any]) -> None:
    given = {name: read(found) for name, read in readings.READINGS.items()}
    assert {name for name, one in given.items() if not isinstance(one, str | int | float | None)} == set()
    assert {name for name in readings.NUMERIC if not isinstance(given[name], float | None)} == set()
    assert given["present"] is bool(found)
    assert given["count"] == len(found)


@given(st.from_regex(re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?"), fullmatch=True))
def test_dates_at_the_ends_of_the_calendar_begin_before_they_end_or_are_none(text: str) -> None:
    first, last = readings.earliest([text]), readings.latest([text])
    assert first is None or last is None or first < last
