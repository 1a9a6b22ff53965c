"""Open mHealth and IEEE 1752.1 data points as FHIR R4: what phones, watches and nursing-home devices send as JSON.

Accepted is what its own schema accepts (``schemas/wearables/openmhealth``), refused is the rest, by its JSON path.
What a measure becomes stands in ``schemas/wearables/omh.csv``; a valid data point that no row has is kept under its
schema's name, with a note. The person is the header's ``user_id``, or whom the source's settings name.

A header may say more of the device than its schema asks for: ``acquisition_provenance.device`` with ``manufacturer``,
``model``, ``serial_number`` and ``firmware``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from normalise.collecting import Body, Collector
from normalise.ids import local_uri
from normalise.measures.healthkit import SLEEP, chosen, slept
from normalise.measures.healthkit import sample as kit_sample
from normalise.measures.observing import Moment, Observer, Sample, statistic
from normalise.measures.people import NOTE, add_device, add_patient, cleaned
from normalise.measures.reading import parse
from normalise.measures.tables import mapping, rows
from normalise.measures.times import fhir, from_text
from normalise.omh.points import Json, Point, interval, points
from schemas.attribution import attribution
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

MAPPING: Final = mapping("omh", "omh")

#: Elements that say how a value came about, and the measure they are a component of.
_CONTEXT: Final = MappingProxyType(
    {
        "body_posture": "body_posture",
        "position_during_measurement": "body_posture",
        "temporal_relationship_to_meal": "meal_relationship",
        "temporal_relationship_to_sleep": "sleep_relationship",
        "temporal_relationship_to_physical_activity": "activity_relationship",
        "specimen_source": "specimen_source",
    }
)


def _rows() -> dict[str, list[tuple[str, str, tuple[str, ...]]]]:
    found: dict[str, list[tuple[str, str, tuple[str, ...]]]] = defaultdict(list)
    for row in rows("omh.csv"):
        found[row["schema"]].append((row["panel"], row["element"], tuple(row["measures"].split())))
    return dict(found)


_TABLE: Final = MappingProxyType(_rows())


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that a data point, a data series or a list of data points becomes.

    Raises:
        SetAside: The bytes are refused; the only exception that any bytes can cause.
    """
    user, record = attribution(content)
    found = list(points(parse(record, context.charset)))
    header = found[0].header
    name = header.get("id") or header.get("uuid") if len(found) == 1 else None
    collector = Collector(context, cleaned(name) or hashlib.sha256(content).hexdigest()[:32], MAPPING)
    for point in found:
        _add(point, user, record, collector)
    recorded = from_text(header.get("creation_date_time") or header.get("source_creation_date_time", ""))
    return collector.finish(fhir(recorded) if recorded else "", found[0].schema)


def _add(point: Point, user: str, record: bytes, collector: Collector) -> None:
    patient = add_patient(collector, user or point.header.get("user_id", ""), record, {})
    observer = Observer(collector, patient)
    moment = _moment(point, patient, collector)
    before = len(collector.resources)
    if point.namespace == "granola" and point.schema != "hk-workout":
        _granola(point.body, point.path, moment, observer)
    elif point.schema in _TABLE:
        _mapped(point, moment, observer)
    if point.schema == "sleep-episode" and moment.start and moment.end:
        asleep = (moment.end - moment.start).total_seconds()
        observer.observe(Sample("sleep_episode", asleep, "s", f"{point.path}.effective_time_frame"), moment)
    if len(collector.resources) == before:
        leaves = [one for one in _leaves(point.body, "", point.path) if not one.measure.startswith("effective_time")]
        observer.unmapped(point.schema, leaves, moment, point.path)


def _moment(point: Point, patient: str, collector: Collector) -> Moment:
    header, body = point.header, point.body
    start, end, timing = interval(body)
    source: Json = header.get("acquisition_provenance") or {}
    said = source.get("device")
    own: Json = said if isinstance(said, dict) else {}
    device = add_device(
        collector, patient, point.path.replace(".body", ".header"),
        maker=own.get("manufacturer", ""), model=own.get("model", ""), serial=own.get("serial_number", ""),
        version=own.get("firmware", ""), name=source.get("source_name", "") if not own else own.get("name", ""),
    )  # fmt: skip
    extra: Body = {**timing, **statistic(str(body.get("descriptive_statistic", "")))}
    context = collector.context
    number = cleaned(header.get("id") or header.get("uuid"))
    if number:
        system = local_uri(context.institution, "data-point", context.source)
        extra["identifier"] = [{"system": system, "value": number}]
    made = from_text(header.get("creation_date_time") or header.get("source_creation_date_time", ""))
    if made:
        extra["issued"] = fhir(made)
    modality = source.get("modality") or header.get("modality")
    if modality == "self-reported":
        extra["performer"] = [{"reference": f"Patient/{patient}"}]
    if site := cleaned(body.get("sensor_body_location") or body.get("measurement_location")):
        extra["bodySite"] = {"text": site}
    if method := cleaned(body.get("measurement_method")):
        extra.setdefault("method", {"text": method})
    if note := cleaned(body.get("user_notes"), NOTE):
        extra["note"] = [{"text": note}]
    return Moment(start, end, device, (number, point.path), extra)


def _mapped(point: Point, moment: Moment, observer: Observer) -> None:
    context = [
        Sample(measure, point.body[element], "", f"{point.path}.{element}")
        for element, measure in _CONTEXT.items()
        if isinstance(point.body.get(element), str)
    ]
    panels: dict[str, list[Sample]] = defaultdict(list)
    for panel, element, measures in _TABLE[point.schema]:
        if element not in point.body:
            continue
        one = _sample(measures, point.body[element], f"{point.path}.{element}")
        if panel:
            panels[panel].append(one)
        else:
            observer.observe(one, moment, context)
    for panel, parts in panels.items():
        observer.panel(panel, [*parts, *context], moment, point.path)


def _sample(measures: tuple[str, ...], value: Any, where: str) -> Sample:
    if isinstance(value, dict):
        number, unit = value.get("value"), str(value.get("unit", ""))
        return Sample(chosen(measures, number, unit), number, unit, f"{where}.value")
    return Sample(measures[0], value, "", where)


def _granola(body: Json, path: str, moment: Moment, observer: Observer) -> None:
    """HealthKit samples as Granola writes them: one quantity, one category, or a correlation of both."""
    for name in ("quantity_samples", "category_samples"):
        for number, one in enumerate(body.get(name) or ()):
            start, end, timing = interval(one)
            when = Moment(start, end, moment.device, (*moment.key, name, str(number)), moment.extra | timing)
            _granola(one, f"{path}.{name}[{number}]", when, observer)
    if "quantity_type" in body:
        value = body.get("unit_value") or {"value": body.get("count"), "unit": "count"}
        where = f"{path}.unit_value.value" if "unit_value" in body else f"{path}.count"
        one_sample = kit_sample(body["quantity_type"], value["value"], value["unit"], where)
        if one_sample is None:
            one_sample = Sample(body["quantity_type"], value["value"], value["unit"], where)
            observer.unmapped(body["quantity_type"], [one_sample], moment, path)
        else:
            observer.observe(one_sample, moment)
    elif "category_type" in body:
        _category(body, path, moment, observer)


def _category(body: Json, path: str, moment: Moment, observer: Observer) -> None:
    where, phase = f"{path}.category_value", str(body["category_value"])
    found = None
    if body["category_type"] == SLEEP and moment.start is not None and moment.end is not None:
        found = slept(phase, moment.start, moment.end, where)
    if found is not None:
        observer.observe(found, moment)
    else:
        observer.unmapped(body["category_type"], [Sample(body["category_type"], phase, "", where)], moment, path)


def _leaves(value: Any, name: str, path: str) -> Iterator[Sample]:
    """Yield what stands at the ends of a value, named by the elements that lead there."""
    if isinstance(value, dict) and {"value", "unit"} <= value.keys():
        yield Sample(name or "value", value["value"], str(value["unit"]), f"{path}.value")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{name}.{key}" if name else key, f"{path}.{key}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _leaves(one, f"{name}[{number}]", f"{path}[{number}]")
    elif value is not None:
        yield Sample(name or "value", value, "", path)
