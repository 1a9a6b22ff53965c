"""Samples as Observations: vital signs as their FHIR profiles want them, panels, dense series as SampledData.

Sources: FHIR R4 Observation and its vital signs profiles (hl7.org/fhir/R4/observation-vitalsigns.html), SampledData
(R4 datatypes 2.24.0.12), code system observation-statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from normalise.collecting import Body, Collector
from normalise.ids import id_within
from normalise.measures.series import Series
from normalise.measures.tables import LOCAL, MEASURES, UNITS, Measure, number, plain, quantity
from normalise.measures.times import fhir

_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_STATISTICS: Final = "http://terminology.hl7.org/CodeSystem/observation-statistics"
#: Words for statistics to codes of observation-statistics; others are kept as text.
_STATISTIC_CODES: Final = MappingProxyType(
    {
        "average": "average", "count": "count", "maximum": "maximum", "median": "median", "minimum": "minimum",
        "standard deviation": "std-dev", "sum": "sum", "variance": "variance", "20th percentile": "20-percent",
        "80th percentile": "80-percent", "lower quartile": "4-lower", "upper quartile": "4-upper",
        "quartile deviation": "4-dev", "1st quintile": "5-1", "2nd quintile": "5-2", "3rd quintile": "5-3",
        "4th quintile": "5-4",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing measured.

    Attributes:
        measure: Its row of ``measures.csv``.
        value: A number, a text, or true or false.
        unit: The number's unit as sent.
        where: The sender's coordinates.
    """

    measure: str
    value: Any
    unit: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When, and what else every Observation says of how it came about.

    Attributes:
        start: The instant, or when it began.
        end: When it ended; None for an instant.
        device: Reference to the Device, or None.
        key: What tells two measurements of the same time apart, beside measure and device.
        extra: Further elements of Observation (``method``, ``bodySite``, ``note``, ``effectiveTiming``).
    """

    start: datetime | None
    end: datetime | None = None
    device: Body | None = None
    key: tuple[str, ...] = ()
    extra: Body = field(default_factory=dict)

    @property
    def effective(self) -> Body:
        """``effectiveDateTime`` or ``effectivePeriod``; empty where no time is known."""
        if self.start is None:
            return {}
        if self.end is None or self.end <= self.start:
            return {"effectiveDateTime": fhir(self.start)}
        return {"effectivePeriod": {"start": fhir(self.start), "end": fhir(self.end)}}


def statistic(word: str) -> Body:
    """Return the elements that say which statistic a value is; empty for none."""
    if not word:
        return {}
    code = _STATISTIC_CODES.get(word)
    return {"method": {"coding": [{"system": _STATISTICS, "code": code}]} if code else {"text": word}}


class Observer:
    """Adds one patient's Observations to a record.

    Args:
        collector: The record.
        patient: Id of the Patient.
    """

    def __init__(self, collector: Collector, patient: str) -> None:
        self.collector = collector
        self.patient = patient
        self._said: dict[tuple[str, ...], dict[str, Body]] = {}

    def observe(self, sample: Sample, moment: Moment, components: Iterable[Sample] = ()) -> Body | None:
        """The sample is an Observation; returns it, or None where its value is none, which is noted."""
        measure = MEASURES[sample.measure]
        value = self._value(measure, sample)
        if value is None:
            return None
        body = self._begun(measure, moment)
        body |= value
        return self._finished(body, measure, moment, sample.where, components)

    def panel(self, name: str, components: Sequence[Sample], moment: Moment, where: str) -> Body | None:
        """The samples are components of one Observation; returns it, or None where none has a value."""
        measure = MEASURES[name]
        return self._finished(self._begun(measure, moment), measure, moment, where, components)

    def series(self, name: str, points: Sequence[tuple[datetime, Any]], unit: str, moment: Moment, where: str) -> None:
        """The points are Observations: runs on a regular grid as SampledData, others one by one."""
        measure = MEASURES[name]
        read = [(when, found) for when, value in points if (found := number(value)) is not None]
        if len(read) < len(points):
            self.collector.note("bad_value", where, "A number was expected in each sample; others are left out.")
        for run in Series.runs(read):
            if run.is_dense and (data := self._sampled(run, measure, unit)):
                when = Moment(run.points[0][0], run.points[-1][0], moment.device, moment.key, moment.extra)
                body = self._begun(measure, when)
                body["valueSampledData"] = data
                self._finished(body, measure, when, where, ())
                continue
            for when_, value in run.points:
                at = Moment(when_, None, moment.device, moment.key, moment.extra)
                self.observe(Sample(name, value, unit, where), at)

    def _sampled(self, run: Series, measure: Measure, unit: str) -> Body | None:
        converted: list[Decimal | None] = []
        origin: Body | None = None
        for value in run.grid():
            found = None if value is None else quantity(measure, value, unit)
            origin = found or origin
            converted.append(None if found is None else Decimal(str(found["value"])))
        if origin is None:
            return None
        data = " ".join("E" if one is None else f"{one:f}" for one in converted)
        return {"origin": {**origin, "value": 0}, "period": run.period_ms, "dimensions": 1, "data": data}

    def _value(self, measure: Measure, sample: Sample) -> Body | None:
        if isinstance(sample.value, bool):
            return {"valueBoolean": sample.value}
        found = number(sample.value)
        if found is None:
            if isinstance(sample.value, str) and sample.value.strip() and not measure.unit:
                return {"valueCodeableConcept": {"text": sample.value.strip()[:1000]}}
            self.collector.note("bad_value", sample.where, "A number was expected, something else came; left out.")
            return None
        with_unit = quantity(measure, found, sample.unit)
        if with_unit is not None:
            return {"valueQuantity": with_unit}
        if measure.unit:
            message = "No table leads from the unit that came to one the measure is given in; kept as it came."
            self.collector.note("bad_value", sample.where, message)
        return {"valueQuantity": _as_sent(found, sample.unit)}

    def _begun(self, measure: Measure, moment: Moment) -> Body:
        return {
            "resourceType": "Observation",
            "status": "final",
            "category": [{"coding": [{"system": _CATEGORIES, "code": measure.category}]}],
            "code": measure.concept,
            "subject": {"reference": f"Patient/{self.patient}"},
            **moment.effective,
            **({"device": moment.device} if moment.device else {}),
            **moment.extra,
        }

    def _finished(
        self, body: Body, measure: Measure, moment: Moment, where: str, components: Iterable[Sample]
    ) -> Body | None:
        parts = []
        for one in components:
            value = self._value(MEASURES[one.measure], one)
            if value is not None:
                # The element's id lets rules and readers name a component without reading its code.
                parts.append({"id": one.measure, "code": MEASURES[one.measure].concept, **value})
        if parts:
            body["component"] = parts
        if not parts and not any(name.startswith("value") for name in body):
            return None
        if measure.profile and _conforms(body, measure):
            body["meta"] = {"profile": [measure.profile]}
        return self._kept(body, measure, moment, where)

    def _kept(self, body: Body, measure: Measure, moment: Moment, where: str) -> Body:
        """The Observation belongs to the record; the same twice is once, another value at the same time is its own."""
        key = (measure.name, str(moment.effective), (moment.device or {}).get("reference", ""), *moment.key)
        said, print_ = self._said.setdefault(key, {}), repr(body)
        if print_ in said:
            return said[print_]
        if said:
            self.collector.note("structure", where, "Two values stand for the same measure and time; both are kept.")
        again = (str(len(said)),) if said else ()
        body["id"] = id_within("Observation", self.collector.context.institution, self.patient, *key, *again)
        said[print_] = self.collector.add(body, where, self.patient)
        return body

    def unmapped(self, name: str, values: Sequence[Sample], moment: Moment, where: str) -> Body | None:
        """What no table has stands under its sender's own name, its values as components; a note says so."""
        self.collector.note("unmapped", where, "No table has this measure; it is kept under the sender's own name.")
        body = self._begun(_nameless(name), moment)
        parts: list[Body] = []
        for one in values[:100]:
            value = self._value(_nameless(one.measure), one) or {
                "valueCodeableConcept": {"text": str(one.value)[:1000]}
            }
            parts.append({"code": {"text": one.measure}, **value})
        if not parts:
            return None
        body["component"] = parts
        body["code"] = {"coding": [{"system": LOCAL, "code": name}], "text": name}
        return self._kept(body, _nameless(name), moment, where)


def _as_sent(value: Decimal, sent: str) -> Body:
    """Return the Quantity of a value in the unit it came in, coded where that is known."""
    unit = "" if sent == "count" else " ".join(sent.split())[:50]
    code = UNITS.get(unit)
    coded = {"system": "http://unitsofmeasure.org", "code": code} if code else {}
    return {"value": plain(value), **({"unit": unit} if unit else {}), **coded}


def _nameless(name: str) -> Measure:
    return Measure(name, LOCAL, name, name, None, "activity", "", frozenset(), "")


def _conforms(body: Body, measure: Measure) -> bool:
    """Whether a vital signs profile may be claimed: a time, and UCUM values in units that it takes."""
    if "effectiveDateTime" not in body and "effectivePeriod" not in body:
        return False
    if measure.name == "blood_pressure":
        codes = {one["code"]["coding"][0]["code"]: one for one in body.get("component", ())}
        return all("code" in codes.get(code, {}).get("valueQuantity", {}) for code in ("8480-6", "8462-4"))
    return "code" in body.get("valueQuantity", {})
