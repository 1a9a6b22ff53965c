"""When a medication is taken: effectiveTime as IVL_TS, PIVL_TS, EIVL_TS and SXPR_TS as Timing and Period.

HL7 V3 Data Types R1, General Timing Specification; FHIR R4, Timing.
"""

from __future__ import annotations

from typing import Final

from normalise.cda.reading import Body, Reading
from normalise.cda.tables import find
from normalise.cda.tree import Node
from normalise.cda.values import date_time, period

#: UCUM units of time that FHIR writes (Timing.repeat.periodUnit), with how senders write them.
_UNITS: Final = {
    "s": "s", "min": "min", "h": "h", "d": "d", "wk": "wk", "mo": "mo", "a": "a",
    "hr": "h", "hour": "h", "day": "d", "week": "wk", "month": "mo", "year": "a", "天": "d", "日": "d",
    "小时": "h", "周": "wk", "月": "mo", "分钟": "min",
}  # fmt: skip


def parts(node: Node) -> list[Node]:
    """Return the effectiveTimes of a statement, those that a SXPR_TS joins one by one."""
    found: list[Node] = []
    for one in node.all("effectiveTime"):
        found += one.all("comp") if one.get("xsi:type") == "SXPR_TS" else [one]
    return found


def is_bounds(node: Node) -> bool:
    """Whether an effectiveTime says from when until when (or at which moment), not how often."""
    return node.get("xsi:type") not in ("PIVL_TS", "EIVL_TS") and node.first("period") is None


def bounds(node: Node, reading: Reading) -> Body | None:
    """Return from when until when a statement's medication is taken."""
    spans = (period(one, reading) for one in parts(node) if is_bounds(one) and _has_ends(one))
    return next((one for one in spans if one), None)


def moment(node: Node, reading: Reading) -> str | None:
    """Return the one moment at which a statement's medication is taken, or None where it has a span."""
    moments = (date_time(one, reading) for one in parts(node) if is_bounds(one) and not _has_ends(one))
    return next((one for one in moments if one), None)


def _has_ends(node: Node) -> bool:
    return any((end := node.first(name)) is not None and end.get("value") for name in ("low", "high"))


def timing(node: Node, reading: Reading) -> Body | None:
    """Return how often a statement's medication is taken, as a Timing; None where it does not say."""
    repeat: Body = {}
    for one in parts(node):
        if one.get("xsi:type") == "EIVL_TS" or one.first("event") is not None:
            repeat |= _event(one, reading)
        elif one.get("xsi:type") == "PIVL_TS" or one.first("period") is not None:
            repeat |= _periodic(one, reading)
    return {"repeat": repeat} if repeat else None


def _periodic(node: Node, reading: Reading) -> Body:
    """PIVL_TS: once in each period; a period between low and high is one of the two."""
    every = node.first("period")
    if every is None:
        return {}
    low, high = every.first("low"), every.first("high")
    least = _length(low if low is not None else every)
    if least is None:
        if not every.get("nullFlavor"):
            reading.note("bad_value", "How often a medication is taken could not be read; its wording is kept.")
        return {}
    found: Body = {"frequency": 1, "period": least[0], "periodUnit": least[1]}
    most = _length(high) if high is not None else None
    if most is not None and most[1] == least[1]:
        found["periodMax"] = most[0]
    phase = node.first("phase")
    if phase is not None and (span := period(phase, reading)):
        found["boundsPeriod"] = span
    return found


def _length(node: Node) -> tuple[float, str] | None:
    unit = _UNITS.get(node.get("unit"))
    try:
        value = float(node.get("value"))
    except ValueError:
        return None
    if unit is None or not 0 < value < 1e6:
        return None
    return int(value) if value.is_integer() else value, unit


def _event(node: Node, reading: Reading) -> Body:
    """EIVL_TS: by an event of the day, with an offset in minutes."""
    event = node.first("event")
    code = event.get("code") if event is not None else ""
    term = find("TimingEvent", code) if code else None
    if term is None:
        if code:
            reading.note("bad_value", "An event of the day that is not in the table TimingEvent is left out.")
        return {}
    found: Body = {"when": [term.code]}
    offset = node.first("offset")
    width = (offset.first("low") or offset) if offset is not None else None
    length = _length(width) if width is not None else None
    if length is not None and length[1] in ("min", "h"):
        found["offset"] = int(length[0] * (60 if length[1] == "h" else 1))
    return found
