"""Garmin FIT files as FHIR R4: activities, weight scales, blood pressure monitors, a day's monitoring.

What a field becomes stands in ``schemas/wearables/fit.csv``. The seconds of an activity become SampledData. Positions
are left out on purpose: a track says where somebody lives, and no measure needs it.

A FIT file names no person: whose it is, the source's settings say (its folder). Where one holds several users (a
family's scale), each is a Patient by the device's serial number and the device's own number of the user.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from normalise.collecting import Body, Collector
from normalise.fit.decoding import EPOCH, Message, clock, messages
from normalise.measures.observing import Moment, Observer, Sample, statistic
from normalise.measures.people import add_device, add_patient
from normalise.measures.tables import mapping, number, rows
from normalise.measures.times import fhir
from schemas.attribution import attribution
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

MAPPING: Final = mapping("fit", "fit")

_GENDERS: Final = MappingProxyType({"male": "male", "female": "female"})
#: Activities of monitoring whose cycles are pairs of steps (FIT profile, monitoring.steps).
_ON_FOOT: Final = frozenset({"walking", "running"})


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of ``fit.csv``; of several fields the first that came is read."""

    role: str
    panel: str
    fields: tuple[str, ...]
    measure: str
    statistic: str


def _rows() -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = defaultdict(list)
    for row in rows("fit.csv"):
        found[row["message"]].append(
            _Row(row["role"], row["panel"], tuple(row["field"].split()), row["measure"], row["statistic"])
        )
    return dict(found)


_TABLE: Final = MappingProxyType(_rows())


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that a FIT file becomes.

    Raises:
        SetAside: The bytes are refused; the only exception that any bytes can cause.
    """
    user, record = attribution(content)
    found = messages(record)
    collector = Collector(context, hashlib.sha256(content).hexdigest()[:32], MAPPING)
    file = _File(found, user, record, collector)
    file.run()
    made = next((file.clock.read(one.values.get("time_created")) for one in found if one.name == "file_id"), None)
    kind = next((str(one.values.get("type", "")) for one in found if one.name == "file_id"), "")
    return collector.finish(fhir(made) if made else "", f"FIT {kind}".strip())


class _File:
    """Reads the messages of one file."""

    def __init__(self, found: Sequence[Message], user: str, record: bytes, collector: Collector) -> None:
        self._messages = found
        self._user = user
        self._record = record
        self._collector = collector
        self._by_name: dict[str, list[Message]] = defaultdict(list)
        for one in found:
            self._by_name[one.name].append(one)
        self.clock = clock(found, collector.context.time_zone)
        if self.clock.power_on is not None:
            message = "The device counts from when it was switched on; its local time is read in the source's zone."
            collector.note("imprecise", "activity.local_timestamp", message)
        self._file_id = next(iter(self._by_name["file_id"]), Message("file_id", 1, {}, {}))
        self._observers: dict[str, Observer] = {}
        self._times: dict[int, datetime] = {}

    def run(self) -> None:
        """Every message that has a row is mapped; of the others of measures there is a note."""
        self._expand_times()
        before = len(self._collector.resources)
        for name, table in _TABLE.items():
            if self._by_name.get(name):
                self._message(name, table)
        if self._by_name.get("hrv"):
            self._collector.note("unmapped", "hrv", "Beat intervals without a time are not mapped.")
        if len(self._collector.resources) == before:
            self._observer(None)
        if not any(self._by_name.get(name) for name in _TABLE):
            self._collector.note("unmapped", "file_id.type", "The file holds settings or plans and no measurement.")

    def _message(self, name: str, table: Sequence[_Row]) -> None:
        found = self._by_name[name]
        for row in table:
            if row.role == "series":
                self._series(found, row)
            elif row.role == "total":
                self._totals(found, row)
        panels = {row.panel for row in table if row.panel}
        for message in found:
            for row in table:
                if row.role in ("instant", "period") and not row.panel:
                    self._one(message, row)
            for panel in sorted(panels):
                self._panel(message, panel, [row for row in table if row.panel == panel])

    def _observer(self, message: Message | None) -> Observer:
        """Return who observes a message: the file's user, or one of several that the device tells apart."""
        profiles = self._by_name["user_profile"]
        profile = profiles[0] if profiles else None
        user, serial = self._user, self._file_id.values.get("serial_number")
        if len(profiles) > 1:
            index = message.values.get("user_profile_index") if message else None
            profile = next((one for one in profiles if one.values.get("message_index") == index), None)
            local = profile.values.get("local_id", index) if profile else None
            user = f"{serial}/{local}" if serial is not None and local is not None else ""
        if user not in self._observers:
            gender = _GENDERS.get(str(profile.values.get("gender"))) if profile else None
            facts: Body = {"gender": gender} if gender else {}
            self._observers[user] = Observer(self._collector, add_patient(self._collector, user, self._record, facts))
        return self._observers[user]

    def _device(self, observer: Observer) -> Body | None:
        said = self._file_id.values
        product = next((said[name] for name in said if name == "product" or name.endswith("_product")), "")
        software = next((one.values["software_version"] for one in self._by_name["device_info"]
                         if "software_version" in one.values), "")  # fmt: skip
        return add_device(
            self._collector, observer.patient, "file_id",
            maker=str(said.get("manufacturer", "")), model=str(product), serial=str(said.get("serial_number", "")),
            version=str(software),
        )  # fmt: skip

    def _time(self, message: Message) -> datetime | None:
        return self._times.get(id(message)) or self.clock.of(message)

    def _value(self, message: Message, row: _Row) -> tuple[Any, str, str] | None:
        """Return the value of the first field of the row that came, its unit, and where it stands."""
        for field in row.fields:
            value = message.values.get(field)
            if value is not None:
                return value, message.units.get(field, ""), f"{message.where}.{field}"
        return None

    def _moment(self, message: Message, row: _Row, observer: Observer) -> Moment:
        start, end = self._time(message), None
        if row.role == "period":
            begun = self.clock.read(message.values.get("start_time"))
            seconds = number(message.values.get("total_elapsed_time"))
            if begun is not None:
                end = begun + timedelta(seconds=float(seconds)) if seconds is not None and seconds < 10**8 else start
                start = begun
        return Moment(
            start,
            end,
            self._device(observer),
            (message.name, row.statistic),
            statistic(row.statistic),
        )

    def _one(self, message: Message, row: _Row) -> None:
        found = self._value(message, row)
        if found is not None:
            observer = self._observer(message)
            value, unit, where = found
            observer.observe(Sample(row.measure, value, unit, where), self._moment(message, row, observer))

    def _panel(self, message: Message, panel: str, table: Sequence[_Row]) -> None:
        parts = [Sample(row.measure, *found) for row in table if (found := self._value(message, row)) is not None]
        if parts:
            observer = self._observer(message)
            observer.panel(panel, parts, self._moment(message, table[0], observer), message.where)

    def _series(self, found: Sequence[Message], row: _Row) -> None:
        points: list[tuple[datetime, Any]] = []
        unit = ""
        for message in found:
            value, time = self._value(message, row), self._time(message)
            if value is not None and time is not None:
                points.append((time, value[0]))
                unit = value[1]
            elif value is not None:
                text = "A sample without a time is left out; the device must send timestamps."
                self._collector.note("required", f"{message.name}.timestamp", text)
        if points:
            observer = self._observer(found[0])
            moment = Moment(points[0][0], None, self._device(observer), (found[0].name,))
            observer.series(row.measure, points, unit, moment, f"{found[0].name}.{row.fields[0]}")

    def _totals(self, found: Sequence[Message], row: _Row) -> None:
        """Counters that grow through the day: the last of each activity and day is the day's total so far."""
        last: dict[tuple[str, Any], tuple[datetime, Message]] = {}
        for message in found:
            time = self._time(message)
            if time is not None and self._value(message, row) is not None:
                # What is counted up to midnight belongs to the day that ends.
                day = (time - timedelta(seconds=1)).date()
                last[str(message.values.get("activity_type", "")), day] = time, message
        for (activity, day), (until, message) in last.items():
            value = self._value(message, row)
            counts = row.fields[0] == "cycles"
            if value is None or (counts and activity not in _ON_FOOT):
                continue
            observer = self._observer(message)
            total = value[0] * 2 if counts else value[0]
            begin = datetime(day.year, day.month, day.day, tzinfo=self.clock.zone)
            moment = Moment(begin, until, self._device(observer), ("monitoring", activity))
            unit = "steps" if counts else value[1]
            observer.observe(Sample(row.measure, total, unit, value[2]), moment)

    def _expand_times(self) -> None:
        """Monitoring's short times are whole: 16 bits that count on from the last full one (FIT, monitoring)."""
        last = 0
        for message in self._messages:
            full = self.clock.of(message)
            if full is not None:
                last = int((full - EPOCH).total_seconds())
            short = message.values.get("timestamp_16")
            if full is None and isinstance(short, int) and last:
                last += (short - (last & 0xFFFF)) & 0xFFFF
                self._times[id(message)] = (EPOCH + timedelta(seconds=last)).astimezone(self.clock.zone)
