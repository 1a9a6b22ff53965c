"""Garmin FIT: activities as series, scales with several users, and files that lost or changed bytes."""

from __future__ import annotations

from datetime import datetime

import pytest
from wearables_world import become, bodies, coded, quantities, refusal

from normalise.fit.decoding import Clock, Message, clock
from simulators.fit_file import activity

START = datetime.fromisoformat("2026-01-05T17:00:00+08:00")
RATES = [90 + at % 11 for at in range(240)]
WALK = activity(3_900_000_001, START, RATES)


def test_activity_keeps_every_second_with_the_wearers_offset() -> None:
    made = become("fit", WALK, user="u1")
    (series,) = [one for one in coded(made, "8867-4") if "valueSampledData" in one]
    assert [int(one) for one in series["valueSampledData"]["data"].split()] == RATES
    assert series["valueSampledData"]["period"] == 1000
    assert series["effectivePeriod"] == {"start": "2026-01-05T17:00:00+08:00", "end": "2026-01-05T17:03:59+08:00"}


def test_summary_is_a_period_and_the_device_has_its_serial_number() -> None:
    made = become("fit", WALK, user="u1")
    assert quantities(made, "41981-2") == [(24, "kcal")]
    assert [one["valueCodeableConcept"]["text"] for one in coded(made, "73985-4")] == ["walking"]
    (device,) = bodies(made, "Device")
    assert (device["serialNumber"], device["manufacturer"]) == ("3900000001", "garmin")


def test_file_without_a_user_is_nobody_elses() -> None:
    (one,) = bodies(become("fit", WALK), "Patient")
    (other,) = bodies(become("fit", activity(3_900_000_001, START, RATES[:50])), "Patient")
    assert one["id"] != other["id"]
    assert one["identifier"][0]["use"] == "temp"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (WALK[:-5], "truncated"),
        (WALK[:10], "not_fit"),
        (b"", "not_fit"),
        (b"PK\x03\x04" + WALK, "not_fit"),
        (WALK[:-2] + b"\x00\x00", "checksum"),
        (WALK[:100] + bytes([WALK[100] ^ 1]) + WALK[101:], "checksum"),
        (WALK + b"junk", "structure"),
        (WALK + WALK[:-4], "truncated"),
    ],
)
def test_damaged_files_are_refused_as_a_whole_by_name(content: bytes, code: str) -> None:
    assert refusal("fit", content).code == code


def test_chained_files_are_both_read() -> None:
    later = activity(3_900_000_001, datetime.fromisoformat("2026-01-05T19:00:00+08:00"), RATES)
    made = become("fit", WALK + later, user="u1")
    assert len([one for one in coded(made, "8867-4") if "valueSampledData" in one]) == 2


def test_clock_that_counts_from_power_on_is_told_by_the_local_time_beside_it() -> None:
    here = datetime.fromisoformat("2012-02-13T12:21:03+00:00")
    found = clock([Message("activity", 1, {"timestamp": 500, "local_timestamp": here}, {})], "Asia/Shanghai")
    read = found.read(440)
    assert read is not None and read.isoformat() == "2012-02-13T12:20:03+08:00"
    assert Clock(found.zone, None).read(440) is None
