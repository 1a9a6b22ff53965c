"""Vendors' replies: told apart by their elements, mapped by two tables, errors and unknown ones refused."""

from __future__ import annotations

import pytest
from wearables_world import become, bodies, coded, quantities, refusal

from normalise.wearable_api.paths import get, items

WITHINGS = {
    "status": 0,
    "body": {
        "timezone": "Asia/Shanghai",
        "measuregrps": [
            {"grpid": 5, "category": 1, "date": 1433052383, "attrib": 2,
             "measures": [{"type": 10, "unit": 0, "value": 124}, {"type": 9, "unit": 0, "value": 81},
                          {"type": 1, "unit": -3, "value": 71250}]},
            {"grpid": 6, "category": 2, "date": 1433052383, "measures": [{"type": 1, "unit": 0, "value": 60}]},
        ],
    },
}  # fmt: skip


def test_withings_values_have_their_exponent_and_a_goal_is_no_measurement() -> None:
    made = become("wearable-api", WITHINGS, user="u1")
    assert quantities(made, "29463-7") == [(71.25, "kg")]
    (panel,) = coded(made, "85354-9")
    assert [one["valueQuantity"]["value"] for one in panel["component"]] == [124, 81]
    assert panel["effectiveDateTime"] == "2015-05-31T14:06:23+08:00"
    assert panel["performer"][0]["reference"].startswith("Patient/")


def test_local_time_without_offset_is_read_in_the_sources_zone() -> None:
    made = become("wearable-api", {"weight": [{"date": "2026-01-05", "time": "07:30:00", "weight": 60.5, "bmi": 22}]})
    assert [one["effectiveDateTime"] for one in bodies(made)] == ["2026-01-05T07:30:00+08:00"] * 2


def test_minutes_and_the_days_sum_are_two_measures() -> None:
    reply = {
        "activities-steps": [{"dateTime": "2026-01-05", "value": "3212"}],
        "activities-steps-intraday": {"dataset": [{"time": "14:28:00", "value": 52}]},
    }
    made = become("wearable-api", reply, user="u1")
    assert quantities(made, "55423-8") == [(52, "{steps}")]
    assert quantities(made, "41950-7") == [(3212, "{steps}/d")]
    assert coded(made, "41950-7")[0]["effectiveDateTime"] == "2026-01-05"


def test_what_a_vendor_writes_for_nothing_is_no_value() -> None:
    item = {"MDate": 1442491463, "TimeZone": "-0800", "HP": 120, "LP": 80, "HR": 0, "DataID": "a"}
    made = become("wearable-api", {"BPDataList": [item], "BPUnit": 0}, user="u1")
    assert coded(made, "8867-4") == []
    assert coded(made, "85354-9")[0]["effectiveDateTime"] == "2015-09-17T12:04:23-08:00"


def test_unit_that_nobody_knows_is_left_out_with_a_note() -> None:
    made = become("wearable-api", {"WeightDataList": [{"MDate": 1, "WeightValue": 60}], "WeightUnit": 9}, user="u1")
    assert bodies(made) == []
    assert ("bad_value", "$.WeightUnit") in [(note.code, note.where) for note in made.notes]


def test_empty_reply_is_a_record_with_nothing_and_a_note() -> None:
    made = become("wearable-api", {"BPDataList": [], "BPUnit": 0})
    assert (made.resources, [note.code for note in made.notes]) == ((), ["unmapped"])


def test_positions_are_left_out() -> None:
    location = {"dataTypeName": "com.google.location.sample", "startTimeNanos": "1507027899615000000",
                "value": [{"fpVal": 51.21}, {"fpVal": -0.57}]}  # fmt: skip
    made = become("wearable-api", {"dataSourceId": "x", "point": [location]}, user="u1")
    assert made.resources == ()


@pytest.mark.parametrize(
    ("reply", "code", "where"),
    [
        ({"status": 401, "body": {}}, "bad_value", "$.status"),
        ({"errors": [{"errorType": "expired_token"}]}, "bad_value", "$.errors"),
        ({"anything": 1}, "unmapped", "$"),
        ("text", "unmapped", "$"),
        ([1, 2], "unmapped", "$"),
    ],
)
def test_errors_and_unknown_replies_are_refused(reply: object, code: str, where: str) -> None:
    found = refusal("wearable-api", reply)  # type: ignore[arg-type]
    assert (found.code, found.where) == (code, where)


def test_paths_find_what_the_tables_ask_for() -> None:
    value = {"a": [{"type": 9, "value": 1}, {"type": 10, "value": 2}], "b": {"x": {"n": 1}, "y": {"n": 2}}}
    assert get(value, "a[type=10].value") == 2
    assert get(value, "a.0.value") == 1
    assert get(value, "a.7.value") is None
    assert [(one.key, one.find("n"), one.find("@key")) for one in items(value, "b{}")] == [("x", 1, "x"), ("y", 2, "y")]
    assert [one.where for one in items([{"s": [{"t": 1}]}], "[].s[]")] == ["$[0].s[0]"]
