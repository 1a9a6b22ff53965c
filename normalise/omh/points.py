"""Data points of Open mHealth and IEEE 1752.1: the header that says what and whose, the body that holds the measure.

Sources: Open mHealth schemas data-point 1.0 and header 1.x; IEEE 1752.1-2021 data point and data series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from normalise.errors import set_aside
from normalise.measures.tables import UNITS, number
from normalise.measures.times import from_text
from normalise.omh.shapes import SCHEMAS, Fault, shape

Json = dict[str, Any]

#: Seconds of a unit of duration; months and years as Open mHealth means them, on average.
_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0,
        "wk": 604_800.0, "mo": 2_629_800.0, "a": 31_557_600.0,
    }
)  # fmt: skip
_PARTS_OF_DAY: Final = MappingProxyType({"morning": "MORN", "afternoon": "AFT", "evening": "EVE", "night": "NIGHT"})


@dataclass(frozen=True, slots=True)
class Point:
    """One data point whose shape is right.

    Attributes:
        header: Its header.
        body: Its body.
        namespace: Of its schema: ``omh``, ``ieee`` or ``granola``.
        schema: Its schema's name.
        path: JSON path of its body.
    """

    header: Json
    body: Json
    namespace: str
    schema: str
    path: str


def points(value: Any) -> Iterator[Point]:
    """Yield the data points of a record: one, a series of one schema, or a list of them.

    Raises:
        SetAside: The first that is not as its schema has it, by its JSON path.
    """
    if isinstance(value, list):
        if not value:
            raise set_aside("required", "$", "Expected a data point, came an empty list.")
        for number_, one in enumerate(value):
            yield from _points(one, f"$[{number_}]")
    else:
        yield from _points(value, "$")


def _points(value: Any, path: str) -> Iterator[Point]:
    header = _header(value, path)
    schema_id = header["schema_id"]
    namespace, name, version = schema_id["namespace"], schema_id["name"], schema_id["version"]
    check = shape(f"{namespace}:{name}-{version}")
    if check is None:
        raise set_aside("unmapped", f"{path}.header.schema_id", _unknown(namespace, name))
    body = value["body"]
    series = isinstance(body, list)
    if series and not body:
        raise set_aside("required", f"{path}.body", "Expected measurements, came an empty series.")
    for number_, one in enumerate(body if series else [body]):
        where = f"{path}.body[{number_}]" if series else f"{path}.body"
        _refuse(check(one), where)
        if not isinstance(one, dict):
            raise set_aside("structure", where, "Expected an object; this schema is a part of measures, not one.")
        yield Point(header, one, namespace, name, where)


def _header(value: Any, path: str) -> Json:
    """Return the header of what is shaped as a data point or a data series."""
    header = value.get("header") if isinstance(value, dict) else None
    is_ieee = isinstance(header, dict) and "uuid" in header
    series = isinstance(value, dict) and isinstance(value.get("body"), list)
    # A series is judged as a point with an empty body: its items are judged one by one afterwards.
    _refuse(_DATA_POINT["ieee" if is_ieee else "omh"](value | {"body": {}} if series else value), path)
    found: Json = value["header"]
    return found


def _refuse(fault: Fault | None, path: str) -> None:
    if fault is not None:
        code = "required" if fault.message.startswith("This element is required") else "bad_value"
        raise set_aside(code, path + fault.where[1:], fault.message)


def _unknown(namespace: str, name: str) -> str:
    stem = f"{namespace}:{name}-"
    known = [one.removeprefix(stem) for one in SCHEMAS if one.startswith(stem)]
    if known:
        return f"Expected a version that is known of this schema: {', '.join(known)}."
    return "Expected a schema of Open mHealth (omh, granola) or IEEE 1752.1 (ieee); this one is none of them."


def interval(body: Json) -> tuple[datetime | None, datetime | None, Json]:
    """Return when a body was measured: start, end, and ``effectiveTiming`` where only a part of a day is known."""
    frame = body.get("effective_time_frame") or {}
    if "date_time" in frame:
        return from_text(frame["date_time"]), None, {}
    span = frame.get("time_interval") or {}
    if "part_of_day" in span:
        bounds = {"start": span["date"], "end": span["date"]}
        repeat = {"boundsPeriod": bounds, "when": [_PARTS_OF_DAY[span["part_of_day"]]]}
        return None, None, {"effectiveTiming": {"repeat": repeat}}
    start = from_text(span.get("start_date_time", ""))
    end = from_text(span.get("end_date_time", ""))
    length = _length(span.get("duration"))
    try:
        if end is None and start is not None and length is not None:
            end = start + length
        elif start is None and end is not None and length is not None:
            start = end - length
    except OverflowError:
        pass  # a duration of ages: what is known of the interval is kept
    return (start, end, {}) if start is not None else (end, None, {})


def _length(duration: Any) -> timedelta | None:
    value = number(duration.get("value")) if isinstance(duration, dict) else None
    factor = _SECONDS.get(UNITS.get(duration["unit"], "")) if value is not None else None
    if value is None or factor is None:
        return None
    try:
        return timedelta(seconds=float(value) * factor)
    except OverflowError:
        return None


def _data_points() -> Mapping[str, Any]:
    found = {namespace: shape(f"{namespace}:data-point-1.0") for namespace in ("omh", "ieee")}
    assert all(found.values()), "the schemas of data points are there"
    return MappingProxyType(found)


_DATA_POINT: Final = _data_points()
