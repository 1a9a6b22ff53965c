"""ECG files of an Apple Health export: ``electrocardiograms/*.csv`` as one Observation with SampledData.

The headings are in the phone's language, so the facts are told by what their values look like.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Final

from normalise.collecting import Collector
from normalise.errors import set_aside
from normalise.measures.observing import Moment, Observer, Sample
from normalise.measures.people import add_device, add_patient, cleaned
from normalise.measures.reading import decoded
from normalise.measures.tables import number, plain
from normalise.measures.times import fhir, from_text
from schemas.records import Normalised

_RATE: Final = re.compile(r"(\d{1,5}(?:\.\d+)?)\s*(?:hertz|hz|赫兹|赫茲)", re.IGNORECASE)
_UNITS: Final = {"µV": "uV", "μV": "uV", "uV": "uV", "mV": "mV"}
#: Heading lines before the values, and values: at 512 a second a quarter of an hour.
_MOST: Final = 10**7
_DIGITS: Final = 12
_HEADINGS: Final = 40
_VALUES: Final = 500_000
#: Classification and device stand in these lines of the heading, counted from the recording's date.
_CLASSIFICATION, _DEVICE = 1, 4


def convert(record: bytes, user: str, collector: Collector) -> Normalised:
    """Return the resources of an ECG file.

    Raises:
        SetAside: It is none.
    """
    lines = decoded(record, collector.context.charset).splitlines()
    heading, values = _split(lines)
    said = [row[1].strip() if len(row) > 1 else "" for row in csv.reader(heading)]
    when = next((at for at, text in enumerate(said) if from_text(text)), None)
    rate = next((Decimal(match[1]) for text in said if (match := _RATE.fullmatch(text))), Decimal(0))
    unit = next((_UNITS[text] for text in said if text in _UNITS), "")
    if when is None or not rate or not unit or not values:
        raise set_aside("structure", "heading", "Expected an ECG: recording date, sample rate, unit and values.")
    start = from_text(said[when])
    assert start is not None
    end = start + timedelta(seconds=float((len(values) - 1) / rate))
    patient = add_patient(collector, user, record, {})
    name = said[when + _DEVICE] if when + _DEVICE < len(said) else ""
    device = add_device(collector, patient, "heading", name=name)
    data = " ".join(values)
    origin = {"value": 0, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    sampled = {"origin": origin, "period": plain(1000 / rate), "dimensions": 1, "data": data}
    classification = cleaned(said[when + _CLASSIFICATION]) if when + _CLASSIFICATION < len(said) else ""
    rhythm = [Sample("rhythm", classification, "", f"line {when + _CLASSIFICATION + 1}")] if classification else []
    moment = Moment(start, end, device, (), {"valueSampledData": sampled})
    Observer(collector, patient).panel("ecg", rhythm, moment, "values")
    return collector.finish(fhir(end), "electrocardiogram")


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the heading's lines and the values."""
    head = (at for at, line in enumerate(lines[:_HEADINGS]) if number(line.strip(' ,"')) is not None)
    begins = next(head, len(lines))
    if len(lines) - begins > _VALUES:
        raise set_aside("oversize", "values", f"Expected at most {_VALUES} values in one ECG.")
    return lines[:begins], list(_values(lines, begins))


def _values(lines: list[str], begins: int) -> Iterator[str]:
    for at, line in enumerate(lines[begins:], begins + 1):
        text = line.strip(' ,"')
        if not text:
            continue
        value = number(text)
        if value is None or abs(value) > _MOST or value.as_tuple().exponent < -_DIGITS:  # type: ignore[operator]
            raise set_aside("bad_value", f"line {at}", "Expected a number: the voltage of one sample.")
        yield f"{value:f}"
