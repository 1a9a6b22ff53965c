"""Apple Health as FHIR R4: pieces of an export, small whole exports, and the ECG files beside it.

Types stand in ``schemas/wearables/healthkit.csv``. Where watch and phone measured the same time, steps, distances and
energy are counted once (``overlap.py``): here, so that the raw samples of both stay in landing. Dense runs of instants
(a heart rate every few seconds of a workout) become SampledData.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from normalise.apple_health import ecg
from normalise.apple_health.document import Element, read
from normalise.apple_health.overlap import Span, standing
from normalise.collecting import Body, Collector
from normalise.measures.healthkit import KINDS, SLEEP, sample, slept
from normalise.measures.observing import Moment, Observer, Sample
from normalise.measures.people import add_device, add_patient, cleaned
from normalise.measures.tables import mapping, number
from normalise.measures.times import fhir, from_text
from schemas.attribution import attribution
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

MAPPING: Final = mapping("apple-health", "apple_health")

_PRESSURES: Final = ("HKQuantityTypeIdentifierBloodPressureSystolic", "HKQuantityTypeIdentifierBloodPressureDiastolic")
_PRESSURE: Final = "HKCorrelationTypeIdentifierBloodPressure"
_SEXES: Final = MappingProxyType(
    {"HKBiologicalSexMale": "male", "HKBiologicalSexFemale": "female", "HKBiologicalSexOther": "other"}
)
_DATE: Final = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_ME: Final = "HKCharacteristicTypeIdentifier"
#: Attributes of a workout and of the day's rings, the unit they are in, and their measures.
_WORKOUT: Final = (
    ("duration", "durationUnit", "exercise_duration"),
    ("totalDistance", "totalDistanceUnit", "distance"),
    ("totalEnergyBurned", "totalEnergyBurnedUnit", "energy"),
)
_RINGS: Final = (
    ("activeEnergyBurned", "kcal", "energy"),
    ("appleExerciseTime", "min", "exercise_duration"),
    ("appleStandHours", "h", "stand_hours"),
)
_FACTS: Final = re.compile(r"(name|manufacturer|model|hardware|software):([^,>]*(?:,\d+)?)")


@dataclass(frozen=True, slots=True)
class _Sample:
    """One Record whose times can be read."""

    element: Element
    start: datetime
    end: datetime
    where: str

    @property
    def type(self) -> str:
        return self.element.get("type")

    @property
    def source(self) -> str:
        return cleaned(self.element.get("sourceName").replace("\xa0", " "))

    @property
    def is_typed(self) -> bool:
        """Whether the wearer typed it in."""
        return any(
            one.get("key") == "HKWasUserEntered" and one.get("value") in ("1", "true") for one in self.element.children
        )


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that an export, a piece of one or an ECG file becomes.

    Raises:
        SetAside: The bytes are refused; the only exception that any bytes can cause.
    """
    user, record = attribution(content)
    collector = Collector(context, hashlib.sha256(content).hexdigest()[:32], MAPPING)
    if not record.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"PK\x03\x04")):
        return ecg.convert(record, user, collector)
    export = _Export(read(record), user, record, collector)
    export.run()
    return collector.finish(fhir(export.newest) if export.newest else "", "Apple Health")


class _Export:
    """Reads the elements of one HealthData."""

    def __init__(self, root: Element, user: str, record: bytes, collector: Collector) -> None:
        self._root = root
        self._collector = collector
        me = next((one for one in root.children if one.tag == "Me"), Element("Me", {}))
        self._patient = add_patient(collector, user, record, _facts(me))
        self._observer = Observer(collector, self._patient)
        self.newest: datetime | None = None

    def run(self) -> None:
        """Every element is mapped or has a note."""
        samples: dict[str, list[_Sample]] = defaultdict(list)
        counts: dict[str, int] = defaultdict(int)
        paired: set[tuple[str, ...]] = set()
        singles: list[_Sample] = []
        for element in self._root.children:
            counts[element.tag] += 1
            where = f"{element.tag}[{counts[element.tag]}]"
            if element.tag == "Record":
                one = self._sample(element, where)
                if one is not None:
                    (singles if one.type in _PRESSURES else samples[one.type]).append(one)
            elif element.tag == "Correlation":
                paired |= self._correlation(element, where)
            elif element.tag in _ELEMENTS:
                _ELEMENTS[element.tag](self, element, where)
            elif element.tag not in ("Me", "ExportDate"):
                message = f"{element.tag} is not mapped; it stays in the landed record."
                self._collector.note("unmapped", element.tag, message)
        for one in singles:
            if _key(one.element) not in paired:
                samples[one.type].append(one)
        for type_, found in samples.items():
            self._typed(type_, found)

    def _sample(self, element: Element, where: str) -> _Sample | None:
        start, end = from_text(element.get("startDate")), from_text(element.get("endDate"))
        made = from_text(element.get("creationDate"))
        if made is not None and (self.newest is None or made > self.newest):
            self.newest = made
        if start is None:
            message = "Expected startDate as 2026-01-10 07:00:00 +0800; the sample is left out."
            self._collector.note("bad_value", f"{where}/@startDate", message)
            return None
        return _Sample(element, start, max(start, end or start), where)

    def _moment(self, one: _Sample, *key: str) -> Moment:
        extra: Body = {"performer": [{"reference": f"Patient/{self._patient}"}]} if one.is_typed else {}
        return Moment(one.start, one.end, self._device(one.element, one.where), key, extra)

    def _device(self, element: Element, where: str) -> Body | None:
        said = dict(_FACTS.findall(element.get("device")))
        return add_device(
            self._collector, self._patient, f"{where}/@device",
            maker=said.get("manufacturer", ""), model=said.get("hardware", "") or said.get("model", ""),
            version=said.get("software", "") or element.get("sourceVersion"),
            name=element.get("sourceName").replace("\xa0", " "),
        )  # fmt: skip

    def _typed(self, type_: str, found: list[_Sample]) -> None:
        """All samples of one type: sums counted once, instants as series, others one by one."""
        kind = KINDS.get(type_)
        if type_ == SLEEP:
            self._sleep(found)
        elif kind is None:
            for one in found:
                name = cleaned(type_) or "Record"
                value = one.element.get("value") or (one.end - one.start).total_seconds()
                part = Sample(name, value, one.element.get("unit"), f"{one.where}/@value")
                self._observer.unmapped(name, [part], self._moment(one), one.where)
        elif kind.sums:
            self._sums(found)
        else:
            self._instants(found)

    def _sums(self, found: list[_Sample]) -> None:
        kept = standing([Span(one.start, one.end, one.source, at) for at, one in enumerate(found)])
        if len(kept) < len(found):
            message = (
                f"{len(found) - len(kept)} of {len(found)} samples cover time that another device covers; left out."
            )
            self._collector.note("overlap", found[0].type, message)
        for at in sorted(kept):
            self._one(found[at])

    def _one(self, one: _Sample) -> None:
        element = one.element
        part = sample(one.type, element.get("value"), element.get("unit"), f"{one.where}/@value")
        if part is not None:
            self._observer.observe(part, self._moment(one))

    def _instants(self, found: list[_Sample]) -> None:
        groups: dict[tuple[str, str, bool], list[_Sample]] = defaultdict(list)
        for one in found:
            if one.end > one.start or number(one.element.get("value")) is None:
                self._one(one)
            else:
                groups[one.source, one.element.get("unit"), one.is_typed].append(one)
        for same in groups.values():
            parts = [
                part
                for one in same
                if (part := sample(one.type, one.element.get("value"), one.element.get("unit"), one.where)) is not None
            ]
            first = parts[0]
            points = [(one.start, part.value) for one, part in zip(same, parts, strict=True)]
            self._observer.series(first.measure, points, first.unit, self._moment(same[0]), same[0].type)

    def _sleep(self, found: list[_Sample]) -> None:
        for one in found:
            phase = slept(one.element.get("value"), one.start, one.end, f"{one.where}/@value")
            if phase is not None:
                self._observer.observe(phase, self._moment(one))
            else:
                part = Sample(SLEEP, cleaned(one.element.get("value")) or "unknown", "", f"{one.where}/@value")
                self._observer.unmapped(SLEEP, [part], self._moment(one), one.where)

    def _correlation(self, element: Element, where: str) -> set[tuple[str, ...]]:
        """Map what belongs together; return the keys of its parts, which may stand in the export by themselves too."""
        whole = self._sample(element, where)
        parts = [(one, f"{where}/Record[{at}]") for at, one in enumerate(_records(element), 1)]
        if whole is not None and element.get("type") == _PRESSURE:
            found = [sample(one.get("type"), one.get("value"), one.get("unit"), f"{at}/@value") for one, at in parts]
            self._observer.panel("blood_pressure", [one for one in found if one], self._moment(whole), where)
        else:
            for one, at in parts:
                if (read_ := self._sample(one, at)) is not None:
                    self._typed(read_.type, [read_])
        return {_key(one) for one, _ in parts}

    def _workout(self, element: Element, where: str) -> None:
        one = self._sample(element, where)
        if one is None:
            return
        moment = self._moment(one, "workout")
        activity = element.get("workoutActivityType").removeprefix("HKWorkoutActivityType")
        if activity:
            self._observer.observe(Sample("exercise_activity", activity, "", f"{where}/@workoutActivityType"), moment)
        for name, unit, measure in _WORKOUT:
            if element.get(name):
                part = Sample(measure, element.get(name), element.get(unit), f"{where}/@{name}")
                self._observer.observe(part, moment)
        for child in element.children:
            if child.tag == "WorkoutStatistics" and child.get("sum"):
                part_ = sample(
                    child.get("type"), child.get("sum"), child.get("unit"), f"{where}/WorkoutStatistics/@sum"
                )
                if part_ is not None:
                    self._observer.observe(part_, moment)

    def _rings(self, element: Element, where: str) -> None:
        day = element.get("dateComponents")
        if not _DATE.fullmatch(day):
            self._collector.note("bad_value", f"{where}/@dateComponents", "Expected a date; the day is left out.")
            return
        moment = Moment(None, None, None, ("rings", day), {"effectiveDateTime": day})
        for name, unit, measure in _RINGS:
            if element.get(name):
                unit = element.get(f"{name}Unit") or unit
                self._observer.observe(Sample(measure, element.get(name), unit, f"{where}/@{name}"), moment)


_ELEMENTS: Final[MappingProxyType[str, Any]] = MappingProxyType(
    {"Workout": _Export._workout, "ActivitySummary": _Export._rings}
)


def _records(element: Element) -> list[Element]:
    return [one for one in element.children if one.tag == "Record"]


def _key(element: Element) -> tuple[str, ...]:
    return tuple(element.get(name) for name in ("type", "sourceName", "startDate", "value"))


def _facts(me: Element) -> Body:
    facts: Body = {}
    born = me.get(f"{_ME}DateOfBirth")
    if _DATE.fullmatch(born):
        facts["birthDate"] = born
    sex = _SEXES.get(me.get(f"{_ME}BiologicalSex"))
    return facts | {"gender": sex} if sex else facts
