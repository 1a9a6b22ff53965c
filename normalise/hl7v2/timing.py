"""When and how often: TQ, TQ1 and RPT as Timing, and amounts that stand in two fields.

Sources: HL7 v2.8.2 chapters 2A (CQ, RPT, TQ) and 4 (TQ1); HL7 v2-to-FHIR, RPT[Timing], TQ1[ServiceRequest],
TQ1[MedicationRequest], TQ[ServiceRequest]; FHIR R4, Timing.
"""

from __future__ import annotations

import re
from typing import Any, Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import concept, unit
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.quantities import quantity
from normalise.hl7v2.tables import VOCABULARIES
from normalise.hl7v2.times import time_of_day

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UCUM: Final = "http://unitsofmeasure.org"
_MINUTES: Final = {"s": 1 / 60, "min": 1, "h": 60, "d": 1440, "wk": 10080}
#: TQ.3 until 2.5: D3, W2, H12, M30, S90, L1 (months), X5 (times), T (amount; no duration).
_DURATION: Final = re.compile(r"([SMHDWL])(\d{1,4})", re.ASCII)
_NAMED: Final = {"S": "s", "M": "min", "H": "h", "D": "d", "W": "wk", "L": "mo"}
#: RPT.1 of a pattern with its number: Q6H, Q2D.
_EVERY: Final = re.compile(r"Q(\d{1,3})([SMHDWL])", re.ASCII)
_PATTERNS: Final = "http://terminology.hl7.org/CodeSystem/v2-0335"
_PER_DAY: Final = {"QD": 1, "BID": 2, "TID": 3, "QID": 4}


def unit_of_time(sent: str) -> str:
    """Return the UCUM unit of time (``h``) of a code or word, or ``""``."""
    term = VOCABULARIES["TimeUnit"].find(sent)
    return term.code if term else ""


def repeat_pattern(raw: str, building: Building, field: int) -> Body | None:
    """Return the Timing of an RPT: its code, and the period, days and event that it spells out."""
    parts = [*raw.split("^"), *[""] * 9]
    found: Body = {}
    code = _pattern(parts[0].replace("&", "^"), building, field) if parts[0] else None
    if code:
        found["code"] = code
    repeat = _spelt(text(parts[0].partition("&")[0]).upper())
    days = [text(one) for one in parts[2:4]]
    if text(parts[1]) == "DW" and (named := [_DAYS[int(one) - 1] for one in days if one in "1234567" and one]):
        repeat["dayOfWeek"] = named
    period, span = quantity(text(parts[4]), {}), unit_of_time(_first(parts[5]) or "s")
    if period and span:
        repeat |= {"period": period["value"], "periodUnit": span}
    repeat |= _event(parts)
    return found | ({"repeat": repeat} if repeat else {}) or None


def _pattern(raw: str, building: Building, field: int) -> Body | None:
    """The code of a pattern; one with a number in it (Q5H) is of HL7 table 0335 whatever the number."""
    sent = text(raw.partition("^")[0]).upper()
    numbered = _EVERY.fullmatch(sent) and VOCABULARIES["RepeatPattern"].find(sent) is None
    found = concept(raw, building, None if numbered else VOCABULARIES["RepeatPattern"], field)
    if numbered and found:
        found["coding"][0].setdefault("system", _PATTERNS)
    return found


def _spelt(code: str) -> Body:
    """What a pattern's own name says: Q6H is once in six hours, TID thrice a day."""
    every = _EVERY.fullmatch(code)
    if every and int(every[1]):
        return {"frequency": 1, "period": int(every[1]), "periodUnit": _NAMED[every[2]]}
    if code in _PER_DAY:
        return {"frequency": _PER_DAY[code], "period": 1, "periodUnit": "d"}
    return {}


def _event(parts: list[str]) -> Body:
    """An event (before breakfast) and its offset, which FHIR has in minutes and never without the event."""
    when = VOCABULARIES["EventRelatedPeriod"].find(text(parts[7]))
    if when is None:
        return {}
    found: Body = {"when": [when.code]}
    offset = quantity(text(parts[8]), {})
    minutes = _MINUTES.get(unit_of_time(_first(parts[9]) or "min"))
    if offset and minutes and 0 <= offset["value"] * minutes < 2**31 - 1:
        found["offset"] = round(offset["value"] * minutes)
    return found


def occurrence(raw: str, building: Building, field: int) -> Body | None:
    """Return ``duration`` and ``durationUnit`` of a CQ; FHIR has no other units than those of time."""
    number, span, _ = _timed(raw)
    if number is None:
        building.note("bad_value", field, "Expected a number and a unit of time; left out.")
        return None
    return {"duration": number, "durationUnit": span}


def duration(raw: str, building: Building, field: int) -> Body | None:
    """Return the Duration of a CQ."""
    number, span, said = _timed(raw)
    if number is None:
        building.note("bad_value", field, "Expected a number and a unit of time; left out.")
        return None
    return {"value": number, "unit": said, "system": _UCUM, "code": span}


def _timed(raw: str) -> tuple[Any, str, str]:
    """Number, UCUM unit and the unit's own wording; no number where either is none."""
    sent, _, rest = raw.partition("^")
    found = quantity(text(sent), {})
    names = [text(one) for one in rest.replace("&", "^").split("^")[:2]]
    span = next((known for name in names if (known := unit_of_time(name))), "")
    said = next((name for name in reversed(names) if name), span)
    return (found["value"], span, said) if found and span else (None, "", "")


def _first(part: str) -> str:
    return text(part.partition("&")[0])


def amount(raw: str, building: Building, field: int, argument: str) -> Body | None:
    """Return the Quantity of a number whose unit stands in another field of its segment."""
    sent = text(raw.partition("^")[0])
    found = quantity(sent, unit(building.at.first_whole(int(argument)), building))
    if found is None and sent:
        building.note("bad_value", field, "Expected a number; left out.")
    return found


def per_day(raw: str, building: Building, field: int) -> Body | None:
    """Return the Ratio of a CQ that is a dose a day."""
    number, _, own = raw.partition("^")
    found = quantity(text(number), unit(own.replace("&", "^"), building))
    if found is None:
        if text(number):
            building.note("bad_value", field, "Expected a number and its unit; left out.")
        return None
    return {"numerator": found, "denominator": {"value": 1, "unit": "d", "system": _UCUM, "code": "d"}}


def timings(segment: Segment, number: int) -> list[Segment]:
    """Return the TQ1 that the repetitions of a TQ (ORC-7, OBR-27 and RXE-1 until 2.5) would be since."""
    raw = segment.get(number)
    label = f"{segment.label}-{number} as TQ1"
    found = []
    for one in raw.split("~"):
        parts = [*one.split("^"), *[""] * 12]
        if not any(part.strip("& ") for part in parts):
            continue
        pattern, _, times = parts[1].partition("&")
        lasting = _DURATION.fullmatch(text(parts[2]).upper())
        span = f"{lasting[2]}^{_NAMED[lasting[1]]}" if lasting else ""
        at = "~".join(time for time in times.replace("&", ",").split(",") if time_of_day(time))
        fields = ["TQ1", "", parts[0].replace("&", "^", 1), pattern, at, "", span, parts[3], parts[4], parts[5]]
        found.append(Segment("TQ1", [*fields, parts[6], parts[7], "", "", parts[11]], label))
    return found
