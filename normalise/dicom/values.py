"""DICOM values as FHIR data types: dates and times, persons' names, codes, identifiers (PS3.5 section 6.2)."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from normalise.dicom.dataset import Item
from normalise.dicom.tables import CODE_SCHEMES

Body = dict[str, Any]

DCM: Final = CODE_SCHEMES["DCM"]
_DATE: Final = re.compile(r"(\d{4})[.\-/]?(\d\d)[.\-/]?(\d\d)", re.ASCII)
_TIME: Final = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6}))?", re.ASCII)
_DATETIME: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d{1,6})?([+-]\d{4})?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_UID: Final = re.compile(r"[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_HAN: Final = re.compile("[\u2e80-\u9fff\uac00-\ud7af\u3040-\u30ff\U00020000-\U0003ffff]")
_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
#: Longest text that stands in one element, characters; FHIR's own limit is 1 MB.
_TEXT: Final = 100_000
#: Component groups of a PN in their order, by what FHIR calls them.
_GROUPS: Final = ("ABC", "IDE", "SYL")


def day(text: str) -> str | None:
    """Return a DA as a FHIR date, or None where it is none."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    except ValueError:
        return None


def moment(on_day: str, time: str, zone: ZoneInfo, offset: str = "") -> str | None:
    """Return DA and TM as a FHIR dateTime: to the second where there is a time, else to the day; None where no date.

    Args:
        on_day: A DA.
        time: A TM, which may be short or missing.
        zone: Zone of times without an offset.
        offset: (0008,0201) of the object.
    """
    on = day(on_day)
    match = _TIME.fullmatch(time)
    if on is None or match is None or match[2] is None:
        return on
    try:
        local = datetime.fromisoformat(f"{on}T{match[1]}:{match[2]}:{min(int(match[3] or 0), 59):02d}")
    except ValueError:
        return on
    return local.replace(tzinfo=_zone(offset) or zone).isoformat()


def stamp(text: str, zone: ZoneInfo, offset: str = "") -> str | None:
    """Return a DT as a FHIR dateTime as exact as it came, or None where it is none."""
    match = _DATETIME.fullmatch(text)
    if match is None:
        return None
    year, month, on, hour, minute, second, own = match.groups()
    if on is None:
        return f"{year}-{month}" if month and "01" <= month <= "12" else year
    time = (hour or "") + (minute or "" if hour else "") + (second or "" if minute else "")
    return moment(year + month + on, time, zone, own or offset)


def _zone(offset: str) -> timezone | None:
    match = _OFFSET.fullmatch(offset.strip())
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    away = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-away if match[1] == "-" else away)


def instant(value: str | None) -> str:
    """Return a FHIR dateTime where it is also an instant, else ``""``."""
    return value if value and "T" in value else ""


def names(text: str) -> list[Body]:
    """Return the HumanNames of a PN: the ideographic group first, as it is written, then the others."""
    found: list[Body] = []
    groups = text.split("=")[:3]
    for group, representation in zip(groups, _GROUPS, strict=False):
        name = _name(group)
        if name:
            if len([one for one in groups if one.strip("^ ")]) > 1:
                name["extension"] = [{"url": _REPRESENTATION, "valueCode": representation}]
            found.insert(0 if representation == "IDE" else len(found), name)
    return found


def _name(group: str) -> Body | None:
    family, given, middle, prefix, suffix = (*(one.strip() for one in group.split("^")[:5]), "", "", "", "", "")[:5]
    if not any((family, given, middle, prefix, suffix)):
        return None
    han = _HAN.search(family + given + middle) is not None
    parts = (family, given, middle, suffix) if han else (prefix, given, middle, family, suffix)
    name: Body = {"text": ("" if han else " ").join(one for one in parts if one) or prefix}
    if family:
        name["family"] = family
    if given or middle:
        name["given"] = [one for one in (given, middle) if one]
    if prefix:
        name["prefix"] = [prefix]
    if suffix:
        name["suffix"] = [suffix]
    return name


def one_line(text: str) -> str:
    """Return a PN on one line, or ``""``."""
    found = names(text)
    return str(found[0]["text"]) if found else ""


def long_text(text: str) -> str:
    """Return a text as FHIR takes it: not empty outside, line ends of one kind, not endless."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()[:_TEXT]


def concept(item: Item | None) -> Body | None:
    """Return an item of a code sequence as CodeableConcept (PS3.3 section 8), or None where it says nothing."""
    if item is None:
        return None
    value = item.text(0x00080100) or item.text(0x00080119) or item.text(0x00080120)
    scheme, meaning = item.text(0x00080102), item.text(0x00080104)
    coding: Body = {}
    if value and not any(one.isspace() for one in value):
        coding["code"] = value
        if system := system_of(scheme):
            coding["system"] = system
    if version := item.text(0x00080103):
        coding["version"] = version
    if meaning:
        coding["display"] = meaning
    if not coding.keys() - {"version"}:
        return {"text": value} if value else None
    return {"coding": [coding], "text": meaning or value} if meaning or value else {"coding": [coding]}


def system_of(scheme: str) -> str:
    """Return the URI of a coding scheme designator; one that PS3.16 does not register is kept by name."""
    if not scheme:
        return ""
    return CODE_SCHEMES.get(scheme.upper(), f"urn:xinglin:dicom:scheme:{re.sub('[^A-Za-z0-9._-]', '_', scheme)}")


def code_of(item: Item | None) -> tuple[str, str]:
    """Return designator and value of a code sequence's item, both ``""`` where there is none."""
    return (item.text(0x00080102).upper(), item.text(0x00080100)) if item is not None else ("", "")


def number(text: str) -> int | float | None:
    """Return a DS or IS as JSON number, or None where it is none."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value) > Decimal("1e30"):
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def unit(item: Item | None) -> Body:
    """Return the unit of a measurement (MeasurementUnitsCodeSequence): UCUM where it says so."""
    if item is None:
        return {}
    scheme, value = code_of(item)
    meaning = item.text(0x00080104)
    found: Body = {"unit": value or meaning} if value or meaning else {}
    if scheme == "UCUM" and value and not any(one.isspace() for one in value):
        found |= {"system": CODE_SCHEMES["UCUM"], "code": value}
    return found


def oid(uid: str) -> str:
    """Return a UID as the URI that FHIR writes it as."""
    return f"urn:oid:{uid}"


def is_oid(uid: str) -> bool:
    """Whether a UID has the form of an OID that FHIR accepts."""
    return _UID.fullmatch(uid) is not None and len(uid) <= 64
