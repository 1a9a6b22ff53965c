"""Replies of wearable vendors' interfaces as FHIR R4.

Fitbit, Google Fit, iHealth, Jawbone, Misfit, Moves, RunKeeper and Withings. Which reply it is, its elements tell; what
they become stands in ``schemas/wearables/api_replies.csv`` and ``api_values.csv``. A new reply is rows of these two, no
code. Most replies name nobody: whose one is, the source's settings say (the folder it lies in, the topic). Positions
are left out on purpose.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from normalise.collecting import Body, Collector
from normalise.errors import set_aside
from normalise.ids import local_uri
from normalise.measures.observing import Moment, Observer, Sample
from normalise.measures.people import NOTE, add_device, add_patient, cleaned
from normalise.measures.reading import parse
from normalise.measures.tables import mapping, number, rows
from normalise.measures.times import from_epoch, from_text, local, zone_of
from normalise.wearable_api.paths import Item, get, items
from schemas.attribution import attribution
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

MAPPING: Final = mapping("wearable-api", "wearable_api")

_UNITS: Final = MappingProxyType({"s": 1.0, "ms": 0.001})
_BASIC: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})", re.ASCII)
_DATE: Final = re.compile(r"(\d{4})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])", re.ASCII)
#: Where replies that name their user do.
_USERS: Final = ("user_id", "meta.user_xid", "body.userid", "UserID")
#: Where replies that are none say so: an error stands in place of the data.
_ERRORS: Final = ("errors", "error", "Error", "ErrorCode")


@dataclass(frozen=True, slots=True)
class _Value:
    """One row of ``api_values.csv``."""

    panel: str
    when: str
    path: str
    measure: str
    unit: str
    scale: str
    empty: str


_REPLIES: Final = tuple(rows("api_replies.csv"))


def _values() -> dict[str, list[_Value]]:
    found: dict[str, list[_Value]] = defaultdict(list)
    for row in rows("api_values.csv"):
        found[row["reply"]].append(_Value(*(row[name] for name in _Value.__slots__)))
    return dict(found)


_VALUES: Final = MappingProxyType(_values())


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one reply becomes; of one without data, none.

    Raises:
        SetAside: The bytes are refused; the only exception that any bytes can cause.
    """
    user, record = attribution(content)
    reply = parse(record, context.charset)
    found = [row for row in _REPLIES if all(get(reply, one) is not None for one in row["marker"].split())]
    _refuse_errors(reply)
    collector = Collector(context, hashlib.sha256(content).hexdigest()[:32], MAPPING)
    if not found:
        _refuse_unknown(reply, collector)
        return collector.finish()
    said = next((str(one) for path in _USERS if (one := get(reply, path)) is not None), "")
    _Reply(found[0], reply, collector, user or said, record).run(found)
    return collector.finish("", found[0]["vendor"])


def _refuse_errors(reply: Any) -> None:
    status = get(reply, "status")
    if isinstance(status, int) and status != 0 and get(reply, "body.series") is None:
        raise set_aside("bad_value", "$.status", "The vendor answered with an error; ask for the data again.")
    for name in _ERRORS:
        if get(reply, name):
            raise set_aside("bad_value", f"$.{name}", "The vendor answered with an error; ask for the data again.")


def _refuse_unknown(reply: Any, collector: Collector) -> None:
    if isinstance(reply, list) and not reply:
        collector.note("unmapped", "$", "The reply holds no data.")
        return
    vendors = ", ".join(sorted({row["vendor"] for row in _REPLIES}))
    raise set_aside("unmapped", "$", f"Expected a reply of {vendors}; this one's elements are those of none of them.")


class _Reply:
    """Reads one reply."""

    def __init__(self, row: dict[str, str], reply: Any, collector: Collector, user: str, record: bytes) -> None:
        self._row = row
        self._reply = reply
        self._collector = collector
        self._user = user
        self._record = record
        self._observer: Observer | None = None

    def run(self, found: list[dict[str, str]]) -> None:
        """Every item is mapped; what has no row has a note."""
        same = [row for row in found if row["vendor"] == self._row["vendor"]]
        # A reply may hold two kinds of items (a day's minutes and its sum); items of one place are read once.
        places = {row["items"].rstrip("[]{}"): row for row in reversed(same)}
        count = 0
        for row in reversed(places.values()):
            self._row = row
            for item in items(self._reply, row["items"]):
                count += 1
                self._item(item)
        if not count:
            self._collector.note("unmapped", "$", "The reply holds no data.")

    def _item(self, item: Item) -> None:
        table = [one for one in _VALUES[self._row["reply"]] if item.holds(one.when)]
        samples = [(one, sample) for one in table if (sample := self._sample(item, one)) is not None]
        if not table:
            self._collector.note("unmapped", item.where, "No table has an item of this type; left out.")
        elif not samples:
            self._collector.note("unmapped", item.where, "The item holds no value.")
        if not samples:
            return
        if self._observer is None:
            self._observer = Observer(self._collector, add_patient(self._collector, self._user, self._record, {}))
        moment = self._moment(item, self._observer)
        panels: dict[str, list[Sample]] = defaultdict(list)
        for one, sample in samples:
            if one.panel:
                panels[one.panel].append(sample)
            else:
                self._observer.observe(sample, moment)
        for panel, parts in panels.items():
            self._observer.panel(panel, parts, moment, item.where)

    def _sample(self, item: Item, row: _Value) -> Sample | None:
        """Return what a row finds in an item; None where it finds nothing, or what the vendor writes for nothing."""
        value = row.path[1:] if row.path.startswith("=") else self._found(item, row.path)
        if value is None or (row.empty and number(value) == Decimal(row.empty)):
            return None
        if row.scale:
            exponent, whole = item.find(row.scale), number(value)
            if whole is None or not isinstance(exponent, int) or abs(exponent) > 30:
                self._collector.note("bad_value", f"{item.where}.{row.path}", "Expected a number; left out.")
                return None
            value = whole.scaleb(exponent)
        unit = row.unit
        if unit.startswith("^"):
            path, _, names = unit.partition(":")
            unit = dict(one.split("=") for one in names.split(";")).get(str(item.find(path)), "")
            if not unit:
                self._collector.note("bad_value", f"$.{path[1:]}", "Expected a unit that is known; left out.")
                return None
        return Sample(row.measure, value, unit, f"{item.where}.{row.path}")

    def _found(self, item: Item, path: str) -> Any:
        parts = path.split("+")
        if len(parts) == 1:
            return item.find(path)
        numbers = [found for one in parts if (found := number(item.find(one))) is not None]
        return sum(numbers, Decimal(0)) if numbers else None

    def _moment(self, item: Item, observer: Observer) -> Moment:
        row, collector = self._row, self._collector
        start, day = self._start(item)
        end = self._time(item, row["end"].split(), row["form"]) if row["end"] and start else None
        if start is not None and row["length"]:
            end = _after(start, _length(item, row["length"]))
        extra: Body = {"effectiveDateTime": day} if day else {}
        native = cleaned(str(item.find(row["id"]))) if row["id"] and item.find(row["id"]) is not None else ""
        if native:
            system = local_uri(collector.context.institution, "data-point", collector.context.source)
            extra["identifier"] = [{"system": system, "value": native}]
        if row["typed"] and item.holds(row["typed"]):
            extra["performer"] = [{"reference": f"Patient/{observer.patient}"}]
        if row["note"] and (note := cleaned(item.find(row["note"]), NOTE)):
            extra["note"] = [{"text": note}]
        maker = row["vendor"]
        origin = cleaned(item.find("originDataSourceId") or item.find("source") or "")
        device = add_device(collector, observer.patient, item.where, maker=maker, name=origin)
        return Moment(start, end, device, (row["reply"], native, day), extra)

    def _start(self, item: Item) -> tuple[datetime | None, str]:
        """Return when an item begins, or the day where only that is said."""
        row = self._row
        if item.find("hasStartTime") is False:
            return None, str(item.find("startDate") or "")
        if row["form"] == "date":
            match = _DATE.fullmatch(str(item.find(row["start"])))
            day = "-".join(match.groups()) if match else ""
            if not day:
                self._untimed(item)
            return None, day
        start = self._time(item, row["start"].split(), row["form"])
        if start is None:
            self._untimed(item)
        return start, ""

    def _untimed(self, item: Item) -> None:
        message = "Expected the time of the measurement; the values are kept without one."
        self._collector.note("bad_value", f"{item.where}.{self._row['start'].split()[-1]}", message)

    def _zone(self, item: Item) -> tzinfo:
        otherwise = self._collector.context.time_zone
        path = self._row["zone"]
        said = item.find(path) if path else None
        if isinstance(said, int | float) and not isinstance(said, bool):
            # Hours as a rule; Jawbone writes seconds.
            hours = said if abs(said) <= 14 else said / 3600
            said = f"{'-' if hours < 0 else '+'}{int(abs(hours)):02d}{round(abs(hours) % 1 * 60):02d}"
        if said is None and path and self._row["form"] not in ("epoch", "nanos"):
            message = "The offset did not come; the local time is read in the source's zone."
            self._collector.note("imprecise", f"{item.where}.{path}", message)
        return zone_of(said if isinstance(said, str) else "", otherwise)

    def _time(self, item: Item, paths: list[str], form: str) -> datetime | None:
        values = [item.find(path) for path in paths]
        if any(value is None or isinstance(value, dict | list | bool) for value in values):
            return None
        text = " ".join(map(str, values))
        if form == "iso":
            basic = _BASIC.fullmatch(text)
            if basic:
                year, month, day, hour, minute, second, offset = basic.groups()
                text = f"{year}-{month}-{day}T{hour}:{minute}:{second}{offset}"
            return from_text(text)
        if form in ("epoch", "epoch_local", "nanos"):
            return self._epoch(item, text, form)
        return local(text, form, self._zone(item))

    def _epoch(self, item: Item, text: str, form: str) -> datetime | None:
        seconds = number(text)
        if seconds is None:
            return None
        zone = self._zone(item)
        if form == "nanos":
            return from_epoch(seconds / 10**9, zone)
        if form == "epoch_local":
            # The vendor counts the seconds of the wearer's own clock.
            found = from_epoch(seconds)
            return None if found is None else found.replace(tzinfo=zone)
        return from_epoch(seconds, zone)


def _after(start: datetime, length: timedelta) -> datetime | None:
    try:
        return start + length
    except OverflowError:
        return None


def _length(item: Item, said: str) -> timedelta:
    path, _, unit = said.partition(" ")
    value = Decimal(path) if path.isdigit() else number(item.find(path))
    if value is None or not 0 <= value < 10**11:
        return timedelta(0)
    return timedelta(seconds=float(value) * _UNITS[unit])
