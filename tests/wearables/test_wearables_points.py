"""Open mHealth data points: accepted and refused as their schemas have it, mapped onto vital signs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wearables_world import AT, CONTEXT, become, bodies, coded, heart_rate, point, quantities, refusal

from normalise import SetAside, convert
from normalise.omh import MAPPING
from normalise.omh.shapes import SCHEMAS, shape
from schemas.reasons import REASONS

IEEE = {
    "uuid": "123e4567-e89b-12d3-a456-426655440000", "source_creation_date_time": "2026-01-05T07:30:05Z",
    "modality": "sensed", "user_id": "u1",
    "schema_id": {"namespace": "ieee", "name": "total-sleep-time", "version": "1.0"},
}  # fmt: skip


def test_heart_rate_claims_its_vital_signs_profile() -> None:
    made = become("omh", point("heart-rate", "2.0", heart_rate()))
    (body,) = bodies(made)
    assert body["meta"] == {"profile": ["http://hl7.org/fhir/StructureDefinition/heartrate"]}
    assert body["category"][0]["coding"][0]["code"] == "vital-signs"
    assert quantities(made, "8867-4") == [(70, "/min")]
    assert body["effectiveDateTime"] == "2026-01-05T07:30:00+08:00"
    assert made.mapping == MAPPING


def test_blood_pressure_is_one_panel_with_posture() -> None:
    body = {
        "systolic_blood_pressure": {"value": 128, "unit": "mmHg"},
        "diastolic_blood_pressure": {"value": 79, "unit": "mmHg"},
        "body_posture": "sitting",
        "effective_time_frame": AT,
    }
    made = become("omh", point("blood-pressure", "4.0", body))
    (panel,) = coded(made, "85354-9")
    values = {one["code"]["coding"][0]["code"]: one for one in panel["component"]}
    assert (values["8480-6"]["valueQuantity"]["value"], values["8462-4"]["valueQuantity"]["value"]) == (128, 79)
    assert values["8361-8"]["valueCodeableConcept"] == {"text": "sitting"}
    assert panel["meta"]["profile"][0].endswith("/bp")
    assert len(bodies(made)) == 1


@pytest.mark.parametrize(
    ("name", "version", "element", "value", "unit", "code", "expected"),
    [
        ("body-temperature", "4.0", "body_temperature", 98.6, "F", "8310-5", (98.6, "[degF]")),
        ("body-temperature", "4.0", "body_temperature", 310.15, "K", "8310-5", (37, "Cel")),
        ("body-weight", "2.0", "body_weight", 150, "lb", "29463-7", (150, "[lb_av]")),
        ("body-weight", "2.0", "body_weight", 16, "oz", "29463-7", (0.45359237, "kg")),
        ("body-height", "2.0", "body_height", 1.8, "m", "8302-2", (180, "cm")),
        ("blood-glucose", "3.0", "blood_glucose", 5.4, "mmol/L", "15074-8", (5.4, "mmol/L")),
        ("blood-glucose", "3.0", "blood_glucose", 99, "mg/dL", "2339-0", (99, "mg/dL")),
        ("oxygen-saturation", "2.0", "oxygen_saturation", 97, "%", "59408-5", (97, "%")),
    ],
)
def test_units_are_ucum_and_converted_where_a_profile_asks(
    name: str, version: str, element: str, value: float, unit: str, code: str, expected: tuple[float, str]
) -> None:
    body = {element: {"value": value, "unit": unit}, "effective_time_frame": AT}
    assert quantities(become("omh", point(name, version, body)), code) == [expected]


def test_time_interval_with_duration_becomes_a_period_with_its_offset() -> None:
    frame = {"time_interval": {"start_date_time": "2026-01-05T22:00:00+08:00", "duration": {"value": 7.5, "unit": "h"}}}
    body = {"total_sleep_time": {"value": 390, "unit": "min"}, "effective_time_frame": frame}
    (sleep,) = coded(become("omh", point("total-sleep-time", "1.0", body)), "93832-4")
    assert sleep["effectivePeriod"] == {"start": "2026-01-05T22:00:00+08:00", "end": "2026-01-06T05:30:00+08:00"}


def test_part_of_a_day_is_a_timing_and_claims_no_profile() -> None:
    frame = {"time_interval": {"date": "2026-01-05", "part_of_day": "morning"}}
    body = {"heart_rate": {"value": 70, "unit": "beats/min"}, "effective_time_frame": frame}
    (one,) = bodies(become("omh", point("heart-rate", "1.0", body)))
    assert one["effectiveTiming"]["repeat"]["when"] == ["MORN"]
    assert "meta" not in one


def test_statistic_and_note_and_self_report_are_kept() -> None:
    header = {"acquisition_provenance": {"source_name": "App", "modality": "self-reported"}}
    body = heart_rate(descriptive_statistic="average", user_notes="after tea")
    made = become("omh", point("heart-rate", "1.0", body, **header))
    (one,) = bodies(made)
    assert one["method"]["coding"][0]["code"] == "average"
    assert one["note"] == [{"text": "after tea"}]
    (patient,) = bodies(made, "Patient")
    assert one["performer"] == [{"reference": f"Patient/{patient['id']}"}]


def test_device_with_a_serial_number_is_the_institutions_and_one_with_a_name_the_patients() -> None:
    serial = {"source_name": "bed", "device": {"manufacturer": "Omron", "serial_number": "S1"}}
    made = become("omh", point("heart-rate", "2.0", heart_rate(), acquisition_provenance=serial))
    again = become("omh", point("heart-rate", "2.0", heart_rate(), user="u2", acquisition_provenance=serial))
    (one,), (other,) = bodies(made, "Device"), bodies(again, "Device")
    assert one["id"] == other["id"]
    assert [each.patient for each in made.resources if each.type == "Device"] == [None]
    named = {"acquisition_provenance": {"source_name": "小明的手表"}}
    made = become("omh", point("heart-rate", "2.0", heart_rate(), **named))
    (patient,) = bodies(made, "Patient")
    assert [each.patient for each in made.resources if each.type == "Device"] == [patient["id"]]


def test_same_user_is_the_same_patient_and_a_system_may_be_named() -> None:
    one, other = (become("omh", point("heart-rate", "2.0", heart_rate(value))) for value in (70, 90))
    assert bodies(one, "Patient")[0]["id"] == bodies(other, "Patient")[0]["id"]
    (named,) = bodies(become("omh", point("heart-rate", "2.0", heart_rate(), "urn:oid:1.2.156.9|A7")), "Patient")
    assert named["identifier"] == [{"system": "urn:oid:1.2.156.9", "value": "A7"}]
    resident = "11010519491231002X"
    (known,) = bodies(become("omh", point("heart-rate", "2.0", heart_rate(), resident)), "Patient")
    assert known["identifier"][0]["system"] == "urn:oid:2.16.156.10011.1.3"


def test_user_that_the_source_knows_goes_before_the_headers() -> None:
    made = become("omh", point("heart-rate", "2.0", heart_rate(), "bed-7"), user="resident-1")
    assert bodies(made, "Patient")[0]["identifier"][0]["value"] == "resident-1"


def test_nobodys_record_is_a_patient_of_its_own_and_never_somebody_elses() -> None:
    first, second = (become("omh", point("heart-rate", "2.0", heart_rate(value), "")) for value in (70, 71))
    one, other = bodies(first, "Patient")[0], bodies(second, "Patient")[0]
    assert one["identifier"][0]["use"] == "temp"
    assert one["id"] != other["id"]
    assert "required" in [note.code for note in first.notes]


def test_ieee_header_and_series_of_points_are_read() -> None:
    night = {"time_interval": {"start_date_time": "2026-01-05T22:00:00Z", "end_date_time": "2026-01-06T05:00:00Z"}}
    bodies_ = [{"total_sleep_time": {"value": hours, "unit": "h"}, "effective_time_frame": night} for hours in (6, 7)]
    made = become("omh", {"header": IEEE, "body": bodies_})
    assert quantities(made, "93832-4") == [(6, "h"), (7, "h")]


def test_valid_point_that_no_table_has_is_kept_under_its_own_name_with_a_note() -> None:
    body = {
        "angular_velocity_x": {"value": 0.1, "unit": "rad/s"}, "angular_velocity_y": {"value": 0.2, "unit": "rad/s"},
        "angular_velocity_z": {"value": 0.3, "unit": "rad/s"}, "effective_time_frame": AT,
    }  # fmt: skip
    made = become("omh", point("orientation", "1.0", body))
    (one,) = bodies(made)
    assert [part["valueQuantity"]["value"] for part in one["component"]] == [0.1, 0.2, 0.3]
    assert [note.code for note in made.notes] == ["unmapped"]


@pytest.mark.parametrize(
    ("content", "code", "where"),
    [
        (point("heart-rate", "2.0", heart_rate(unit="bpm")), "bad_value", "$.body.heart_rate.unit"),
        (point("heart-rate", "2.0", heart_rate("70")), "bad_value", "$.body.heart_rate.value"),
        (point("heart-rate", "2.0", {"effective_time_frame": AT}), "required", "$.body.heart_rate"),
        (point("heart-rate", "2.0", heart_rate(effective_time_frame={"date_time": "2026-02-30T00:00:00Z"})),
         "bad_value", "$.body.effective_time_frame.date_time"),
        (point("heart-rate", "9.0", heart_rate()), "unmapped", "$.header.schema_id"),
        (point("hart-rate", "2.0", heart_rate()), "unmapped", "$.header.schema_id"),
        ({"header": {}, "body": {}}, "required", "$.header.id"),
        ([point("heart-rate", "2.0", heart_rate()), {"body": {}}], "required", "$[1].header"),
        ([], "required", "$"),
        (42, "bad_value", "$"),
        (b"\xff\xfe\x00", "charset", ""),
        ("{\"a\": \u91cd}".encode("gb18030"), "charset", ""),
        (b'{"a": NaN}', "not_json", "character 6"),
        (b"", "not_json", ""),
        (b"[" * 100_000, "not_json", "character 1024"),
    ],
)  # fmt: skip
def test_refusals_name_the_senders_element(content: object, code: str, where: str) -> None:
    found = refusal("omh", content)  # type: ignore[arg-type]
    assert (found.code, found.where if code != "not_json" or where != "character 1024" else where) == (code, where)


def test_refusal_never_repeats_the_value() -> None:
    secret = "zhang-wei-hiv-positive"
    found = refusal("omh", point("heart-rate", "2.0", heart_rate(unit=secret)))
    assert secret not in found.message + found.where


@settings(deadline=None)  # the first record of a kind reads its tables
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_bytes_raise_nothing_but_set_aside(content: bytes) -> None:
    for media in ("omh", "apple-health", "fit", "wearable-api"):
        try:
            made = convert(media, content, CONTEXT)
        except SetAside as error:
            assert error.refusal.code in REASONS
        else:
            assert made.resources or made.notes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = [("header",), ("body",), ("body", "heart_rate"), ("body", "effective_time_frame"), ("header", "user_id"),
          ("header", "schema_id"), ("body", "heart_rate", "value"), ("header", "acquisition_provenance"),
          ("body", "descriptive_statistic"), ("body", "user_notes")]  # fmt: skip


@settings(deadline=None)  # the first resource of a type compiles its checker
@given(JSON, st.sampled_from(PLACES))
def test_whatever_stands_in_a_point_gives_valid_resources_or_a_refusal(value: object, place: tuple[str, ...]) -> None:
    whole = point("heart-rate", "2.0", heart_rate(), acquisition_provenance={"source_name": "x"})
    node = whole
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    try:
        made = become("omh", json.loads(json.dumps(whole)))
    except SetAside as error:
        assert error.refusal.code in REASONS
        assert error.refusal.where.startswith("$") or error.refusal.code == "not_json"
    else:
        assert bodies(made)


def test_every_shipped_schema_compiles_and_judges_every_kind_of_value() -> None:
    for name in SCHEMAS:
        check = shape(name)
        assert check is not None
        for value in ({}, [], "x", 1, 1.5, True, None):
            check(value)


def test_same_input_gives_the_same_output() -> None:
    content = point("heart-rate", "2.0", heart_rate())
    assert become("omh", content) == become("omh", content)
