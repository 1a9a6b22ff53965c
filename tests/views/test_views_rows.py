"""What rows come of resources: types, dates, positions, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa  # noqa: TID253
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.views import Column, compile_view
from sharing.views.temporal import boundary, compare, day, moment

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "birthDate": "1970-06",
    "_birthDate": {"extension": [{"url": "urn:how", "valueCode": "told"}]},
    "name": [{"given": ["a", None, "b"], "_given": [None, {"extension": []}]}, {"given": ["c"]}],
    "multipleBirthInteger": 2,
    "extension": [{"url": "urn:when", "valueDateTime": "2026-03-01T08:30:00+08:00"}],
}


def column(path: str, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "path": path, **more}


def view_of(*columns: dict[str, Any], **more: Any) -> Any:
    return compile_view({"resource": "Patient", "select": [{"column": list(columns)}], **more})


def cell(path: str, resource: dict[str, Any] = PATIENT, **more: Any) -> Any:
    return view_of(column(path, **more)).rows([resource])[0].to_pylist()[0]["a"]


@pytest.mark.parametrize(
    ("more", "path", "type_", "value"),
    [
        ({"type": "boolean"}, "active", pa.bool_(), True),
        ({"type": "integer"}, "multipleBirth.ofType(integer)", pa.int32(), 2),
        ({"type": "integer64"}, "4000000000", pa.int64(), 4_000_000_000),
        ({"type": "decimal"}, "0.1 + 0.2", pa.float64(), 0.3),
        ({"type": "date"}, "birthDate", pa.string(), "1970-06"),
        ({}, "birthDate", pa.string(), "1970-06"),
        ({}, "active", pa.bool_(), True),
        ({"type": "string", "collection": True}, "name.given", pa.list_(pa.string()), ["a", "b", "c"]),
        ({"type": "string", "collection": True}, "contact.name.family", pa.list_(pa.string()), []),
        ({"type": "http://hl7.org/fhir/StructureDefinition/boolean"}, "active", pa.bool_(), True),
        ({"type": "Extension"}, "extension('urn:how')", pa.string(), None),
        (
            {"type": "Extension"},
            "birthDate.extension('urn:how')",
            pa.string(),
            '{"url":"urn:how","valueCode":"told"}',
        ),
        ({"type": "date", "tag": [{"name": "ansi/type", "value": "DATE"}]}, "birthDate", pa.date32(), date(1970, 6, 1)),
        (
            {"type": "dateTime", "tag": [{"name": "ansi/type", "value": "TIMESTAMP(6) WITH TIME ZONE"}]},
            "extension('urn:when').value.ofType(dateTime)",
            pa.timestamp("us", "UTC"),
            datetime(2026, 3, 1, 0, 30, tzinfo=UTC),
        ),
        ({"tag": [{"name": "ansi/type", "value": "bigint"}]}, "multipleBirth.ofType(integer)", pa.int64(), 2),
    ],
)
def test_column_has_the_type_its_definition_says(more: dict[str, Any], path: str, type_: Any, value: Any) -> None:
    view = view_of(column(path, **more))
    batch, _ = view.rows([PATIENT])

    assert view.schema.field("a").type == batch.schema.field("a").type == type_
    assert batch.to_pylist() == [{"a": value}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name.given.join(', ')", "a, b, c"),
        ("name.given.join()", "abc"),
        ("contact.name.given.join(',')", None),
        ("name[1].given", "c"),
        ("name.where($index = 1).given", "c"),
        ("name.given.where($this > 'a').count()", 2),
        ("name.select(given.first() & '-' & $index.toString()).join('|')", "a-0|c-1"),
        ("Patient.name.exists()", True),
        ("Observation.name.exists()", False),
        ("name.given contains 'b'", True),
        ("'b' in ('a' | 'b')", True),
        ("multipleBirth is integer", True),
        ("multipleBirth.is(boolean)", False),
        ("extension.value.ofType(dateTime) > @2026-03-01T00:00:00Z", True),
        ("extension.value.ofType(dateTime) < @2026-03-01T00:30:00Z", False),
        ("birthDate < @1970-06-15", None),
        ("birthDate < @1971", True),
        ("birthDate.lowBoundary()", "1970-06-01"),
        ("birthDate.highBoundary()", "1970-06-30"),
        ("(10.5).highBoundary()", 10.55),
        ("iif(active, 'yes', 'no')", "yes"),
        ("iif(contact.exists(), 'yes')", None),
        ("%context.id & %resource.id", "p1p1"),
        ("7 div 2 + 7 mod 2", 4),
        ("1 / 0", None),
        ("active and {}", None),
        ("active or {}", True),
        ("{} implies true", True),
        ("true xor {}", None),
        ("-(3) + +2", -1),
        ("'\\u4e2d\\'' // words", "中'"),
        ("`id` /* why */ = 'p1'", True),
        ("(3.14159).round(2)", 3.14),
        ("'a-b-c'.split('-').last()", "c"),
        ("getResourceKey()", "p1"),
    ],
)
def test_expression_has_its_value(path: str, value: Any) -> None:
    assert cell(path) == value


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("Patient/7", "7"),
        ("https://host/fhir/Patient/7", "7"),
        ("Patient/7/_history/2", "7"),
        ("Group/7", None),
        ("#p", None),
        ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", None),
        ("Patient/", None),
        ("7", None),
        ("", None),
    ],
)
def test_reference_has_the_key_of_what_it_points_at_or_none(reference: str, key: str | None) -> None:
    resource = {"resourceType": "Patient", "managingOrganization": {"reference": reference}}
    for argument in ("Patient", "'Patient'", "FHIR.Patient"):
        assert cell(f"managingOrganization.getReferenceKey({argument})", resource) == key


def test_decimal_constant_is_as_exact_as_it_was_written() -> None:
    view = view_of(column("1.2 = %c and %c + 0.1 = 1.3", type="boolean"), constant=[{"name": "c", "valueDecimal": 1.2}])

    assert view.rows([PATIENT])[0].to_pylist() == [{"a": True}]


def test_rows_know_their_resource_among_others() -> None:
    view = compile_view(
        {
            "resource": "Patient",
            "where": [{"path": "active"}],
            "select": [{"forEach": "name", "column": [column("%rowIndex"), column("%resource.id", "b")]}],
        }
    )
    others = [{"resourceType": "Group"}, {"resourceType": "Patient", "active": False}, {"resourceType": "Patient"}]
    batch, sources = view.rows([*others, PATIENT, {**PATIENT, "id": "p2"}])

    assert batch.to_pylist() == [{"a": 0, "b": "p1"}, {"a": 1, "b": "p1"}, {"a": 0, "b": "p2"}, {"a": 1, "b": "p2"}]
    assert sources == [3, 3, 4, 4]


def test_no_resources_give_no_rows_of_the_same_schema() -> None:
    view = compile_view(
        {
            "resource": "Patient",
            "select": [
                {"column": [column("id", type="id")]},
                {
                    "forEach": "name",
                    "select": [{"unionAll": [{"column": [column("1", "b")]}, {"column": [column("2", "b")]}]}],
                },
            ],
        }
    )
    for nothing in ([], [{"resourceType": "Group"}], [{"resourceType": "Patient"}]):
        batch, sources = view.rows(nothing)
        assert (batch.num_rows, batch.schema, sources) == (0, view.schema, [])


def test_tags_say_role_and_hierarchy() -> None:
    tags = [{"name": "xinglin/role", "value": "quasi-identifier"}, {"name": "xinglin/hierarchy", "value": "date"}]
    view = view_of(column("birthDate", description="Born.", tag=tags), column("id", "b"))

    assert [(one.name, one.role, one.hierarchy) for one in view.columns] == [
        ("a", "quasi-identifier", "date"),
        ("b", "", ""),
    ]
    assert isinstance(view.columns[0], Column)
    assert view.schema.field("a").metadata == {b"description": b"Born."}


def test_one_view_serves_threads_at_once() -> None:
    view = compile_view(
        {
            "resource": "Patient",
            "select": [{"forEach": "name.given", "column": [column("%rowIndex"), column("%resource.id", "b")]}],
        }
    )

    def rows(number: int) -> list[dict[str, Any]]:
        return view.rows([{**PATIENT, "id": f"{number}"}] * 50)[0].to_pylist()

    with ThreadPoolExecutor(4) as pool:
        for number, made in enumerate(pool.map(rows, range(40))):
            assert made == [{"a": at, "b": f"{number}"} for _ in range(50) for at in range(3)]


days = st.dates(min_value=date(1000, 1, 1)).map(date.isoformat)
moments = st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda one: one.isoformat(timespec="milliseconds")
)


@given(days | moments, st.sampled_from([4, 7, 10, None]))
@settings(derandomize=True, max_examples=300, database=None)
def test_every_date_lies_between_its_boundaries(text: str, cut: int | None) -> None:
    text = text[:cut]
    type_ = "dateTime" if "T" in text else "date"
    low, high = boundary(text, type_, False), boundary(text, type_, True)

    assert low is not None
    assert high is not None
    assert compare(low, high) in (-1, 0)
    assert compare(low, text) in (0, None)
    assert compare(text, high) in (0, None)
    assert day(text) == date.fromisoformat(low[:10])


@given(moments, moments)
@settings(derandomize=True, max_examples=300, database=None)
def test_moments_are_ordered_as_the_clock_has_them(one: str, other: str) -> None:
    first, second = datetime.fromisoformat(one), datetime.fromisoformat(other)

    assert compare(one, other) == (first > second) - (first < second)
    assert moment(one) == first


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00Z", 0),
        ("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00.5Z", -1),
        ("2018-12-21T12:02+03:00", "2018-12-21T12:01+02:00", -1),
        ("2026-01-01T08:00:00", "2026-01-01T08:00:00Z", None),
        ("2026", "2026-01", None),
        ("2026-01", "2025", 1),
        ("2026-02-30", "2026-02-28T00:00:00Z", None),
        ("12:30", "12:30:00", None),
        ("12:31", "12:30:59", 1),
        ("12:30", "2026", None),
        ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", 0),
        ("x", "y", None),
    ],
)
def test_dates_are_compared_as_far_as_they_say(left: str, right: str, order: int | None) -> None:
    assert compare(left, right) == order
    assert compare(right, left) == (None if order is None else -order)


def test_numbers_keep_the_decimals_that_json_wrote() -> None:
    resource = {"resourceType": "Patient", "extension": [{"url": "x", "valueDecimal": 0.1}]}

    assert cell("extension.value.ofType(decimal) * 3 = 0.3", resource) is True
    assert cell("extension.value.ofType(decimal).toString()", resource) == "0.1"
    assert Decimal(str(cell("extension.value.ofType(decimal).lowBoundary()", resource, type="decimal"))) == Decimal(
        "0.05"
    )
