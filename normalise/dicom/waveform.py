"""ECGs and other waveforms: what was recorded, how, and what was measured in it; the samples stay in the object.

Sources: PS3.3 C.10.9 (Waveform), C.10.10 (Annotation). FHIR R4 Observation with SampledData, whose ``data`` may be
left out.
"""

from __future__ import annotations

from typing import Any, Final

from normalise.dicom.dataset import Item
from normalise.dicom.image import add_device
from normalise.dicom.reading import INSTANCE, Reading
from normalise.dicom.values import Body, concept, is_oid, long_text, number, oid, stamp, unit

_GROUPS: Final = 0x54000100
_ANNOTATIONS: Final = 0x0040B020
_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1"
_LOINC: Final = "http://loinc.org"
_CATEGORY: Final = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "procedure"}
#: More channels or annotations than this are refused to be listed.
_MOST: Final = 2_000


def add_waveform(reading: Reading, study: str) -> None:
    """One Observation of the recording, a component a channel, and one for each measurement in it."""
    item = reading.item
    ecg = reading.sop_class == _ECG or reading.sop_class.startswith(_ECG + ".")
    code: Body = (
        {"coding": [{"system": _LOINC, "code": "11524-6", "display": "EKG study"}]}
        if ecg
        else {"text": item.text(0x0008103E) or f"{item.text(0x00080060) or 'DICOM'} waveform"}
    )
    body = _observation(reading, code, "waveform")
    body["partOf"] = [{"reference": study}]
    channels = [one for group in item.items(_GROUPS) for one in _channels(group, reading)][:_MOST]
    if channels:
        body["component"] = channels
    else:
        body["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "unknown"}]}
    if device := add_device(reading):
        body["device"] = {"reference": device}
    if remarks := [one for one in item.items(_ANNOTATIONS) if one.text(0x00700006)]:
        body["note"] = [{"text": long_text(one.text(0x00700006))} for one in remarks[:_MOST]]
    members = [_measured(one, at, reading) for at, one in enumerate(item.items(_ANNOTATIONS)) if at < _MOST]
    if found := [{"reference": one} for one in members if one]:
        body["hasMember"] = found
    reading.add(body, INSTANCE)


_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def _observation(reading: Reading, code: Body, *place: str) -> Body:
    item = reading.item
    body: Body = {
        "resourceType": "Observation",
        "id": reading.id_within("Observation", reading.uid, *place),
        "identifier": [{"system": "urn:dicom:uid", "value": oid(reading.uid) if is_oid(reading.uid) else reading.uid}],
        "status": "final",
        "category": [{"coding": [_CATEGORY]}],
        "code": code,
        "subject": {"reference": f"Patient/{reading.patient}"},
    }
    made = stamp(item.text(0x0008002A), reading.zone, reading.offset) or reading.moment(0x00080023, 0x00080033)
    if made := made or reading.moment(0x00080020, 0x00080030):
        body["effectiveDateTime"] = made
    return body


def _channels(group: Item, reading: Reading) -> list[Body]:
    """The channels of a multiplex group as components: how densely and how finely each was sampled."""
    frequency = (number(group.text(0x003A001A)) or 0) if group.text(0x003A001A) else 0
    found = []
    for channel in group.items(0x003A0200):
        source = concept(channel.first(0x003A0208)) or {"text": channel.text(0x003A0203) or "channel"}
        component: Body = {"code": source}
        if frequency and frequency > 0:
            component["valueSampledData"] = _sampled(channel, 1000 / frequency)
        else:
            reading.note(
                "required", group.at(0x003A001A), "Expected the sampling frequency in Hz; the rate is left out."
            )
            component["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "unknown"}]}
        found.append(component)
    return found


def _sampled(channel: Item, period: float) -> Body:
    baseline = number(channel.text(0x003A0213)) or 0
    body: Body = {
        "origin": {"value": baseline, **unit(channel.first(0x003A0211))},
        "period": _exact(period),
        "dimensions": 1,
    }
    sensitivity = number(channel.text(0x003A0210))
    correction = number(channel.text(0x003A0212)) if channel.text(0x003A0212) else 1
    if sensitivity is not None and correction is not None and sensitivity * correction > 0:
        body["factor"] = _exact(sensitivity * correction)
    return body


def _exact(value: float) -> float | int:
    rounded = round(value, 9)
    return int(rounded) if rounded == int(rounded) else rounded


def _measured(annotation: Item, at: int, reading: Reading) -> str | None:
    """The measurement of an annotation with a concept name and a number; returns the reference to it."""
    name, values = concept(annotation.first(0x0040A043)), annotation.texts(0x0040A30A)
    if name is None or not values:
        return None
    value: Any = number(values[0])
    body = _observation(reading, name, "annotation", str(at))
    if value is None:
        reading.note("bad_value", annotation.at(0x0040A30A), "Expected a number; left out.")
        body["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "error"}]}
    else:
        body["valueQuantity"] = {"value": value, **unit(annotation.first(0x004008EA))}
    return reading.add(body, annotation.path)
