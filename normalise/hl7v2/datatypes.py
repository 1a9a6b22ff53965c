"""The ``type`` column of the segment tables: each name is a function from a field to a FHIR value.

``CX(VN)`` is the function ``CX`` with the argument ``VN``. A function gets one repetition as it came and returns None
where it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from normalise.hl7v2 import concepts, identifiers, people, timing
from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import concept, term_coding, unit, wording
from normalise.hl7v2.escapes import components, text
from normalise.hl7v2.memory import Remembered
from normalise.hl7v2.quantities import money, quantity, reference_range
from normalise.hl7v2.references import REFERENCES, authority, coded_device, location, named_organization, practitioner
from normalise.hl7v2.tables import VOCABULARIES, Vocabulary
from normalise.hl7v2.times import Moment, moment, time_of_day
from normalise.hl7v2.values import observed

#: One repetition, the message, the field's number -> the value.
Convert = Callable[[str, Building, int], Any]

_TYPE: Final = re.compile(r"([A-Za-z0-9.-]+)(?:\(([^)]*)\))?")
_SNOMED: Final = "http://snomed.info/sct"
_PRICE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0205"
_COVERAGE_CLASS: Final = "http://terminology.hl7.org/CodeSystem/coverage-class"
_LOCATION_CLASSIFICATION: Final = "http://hl7.org/fhir/StructureDefinition/subject-locationClassification"
_LOCATION_CLASS: Final = "urn:xinglin:fhir:CodeSystem:location-classification"
_PARTICIPANT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def converter(type_: str, vocabulary: str) -> Convert:
    """Return the function that a row of a segment table names.

    Raises:
        ValueError: The table names a type or a vocabulary that does not exist.
    """
    match = _TYPE.fullmatch(type_)
    if vocabulary and vocabulary not in VOCABULARIES:
        raise ValueError(f"schemas/hl7v2/vocabularies.csv has no vocabulary {vocabulary}")
    name, argument = (match[1], match[2] or "") if match else ("", "")
    if name == "code" and not vocabulary:
        raise ValueError("the type code needs a vocabulary")
    if name in _CODED:
        return Remembered(partial(_CODED[name], vocabulary=VOCABULARIES.get(vocabulary)))
    if name == "Reference":
        make = REFERENCES.get(argument)
        if make is not None:
            return lambda raw, building, _: make(raw, building)
    elif name in _WITH_ARGUMENT:
        return partial(_WITH_ARGUMENT[name], argument=argument)
    elif name in _TIMES and not argument:
        return Remembered(_TIMES[name], fleeting=True)
    elif name in _PLAIN and not argument:
        return _PLAIN[name]
    raise ValueError(f"schemas/hl7v2/segments: no type {type_!r}; datatypes.py lists what there is")


def _concept(raw: str, building: Building, field: int, vocabulary: Vocabulary | None) -> Body | None:
    return concept(raw, building, vocabulary, field)


def _language(raw: str, building: Building, field: int, vocabulary: Vocabulary | None) -> Body | None:
    """The primary language as an element of Patient.communication."""
    found = concept(raw, building, vocabulary, field)
    return {"language": found, "preferred": True} if found else None


def _coding(raw: str, building: Building, field: int, vocabulary: Vocabulary | None) -> Body | None:
    return concepts.coding(raw, building, vocabulary, field)


def _code(raw: str, building: Building, field: int, vocabulary: Vocabulary) -> str | None:
    return concepts.code(raw, building, vocabulary, field)


def _string(raw: str, _: Building, __: int) -> str | None:
    return text(raw.partition("^")[0]) or None


def _display(raw: str, building: Building, _: int) -> Body | None:
    """A Reference to something that is only described."""
    said = concept(raw, building)
    return {"display": wording(said)} if said else None


def _moment(raw: str, building: Building, field: int) -> Moment | None:
    sent = text(raw.partition("^")[0])
    found = moment(sent, building.zone) if sent else None
    if found is None and sent:
        building.note("bad_value", field, "Expected a date or time YYYYMMDD[HHMM[SS]][+ZZZZ]; left out.")
    elif found is not None and found.note:
        building.note("imprecise", field, f"A time is not exact: {found.note}")
    return found


def _date(raw: str, building: Building, field: int) -> str | None:
    sent = text(raw.partition("^")[0])
    found = moment(sent, building.zone) if sent else None
    if found is None and sent:
        building.note("bad_value", field, "Expected a date YYYYMMDD; left out.")
    return found.date if found else None


def _date_time(raw: str, building: Building, field: int) -> str | None:
    found = _moment(raw, building, field)
    return found.value if found else None


def _instant(raw: str, building: Building, field: int) -> str | None:
    found = _moment(raw, building, field)
    if found is not None and found.instant is None:
        building.note("bad_value", field, "Expected a time exact to the minute at least; left out.")
    return found.instant if found else None


def _time(raw: str, building: Building, field: int) -> str | None:
    found = time_of_day(text(raw))
    if found is None:
        building.note("bad_value", field, "Expected a time HHMM[SS]; left out.")
    return found


def _boolean(raw: str, building: Building, field: int) -> bool | None:
    found = {"Y": True, "N": False}.get(text(raw.partition("^")[0]).upper())
    if found is None:
        building.note("bad_value", field, "Expected Y or N; left out.")
    return found


def _integer(raw: str, building: Building, field: int) -> int | None:
    sent = text(raw.partition("^")[0])
    if sent.isascii() and sent.isdigit() and len(sent) < 10:
        return int(sent)
    building.note("bad_value", field, "Expected a whole number; left out.")
    return None


def _positive(raw: str, building: Building, field: int) -> int | None:
    return _integer(raw, building, field) or None


def _days(raw: str, building: Building, field: int) -> Body | None:
    found = quantity(text(raw), {"unit": "days", "system": "http://unitsofmeasure.org", "code": "d"})
    if found is None:
        building.note("bad_value", field, "Expected a number of days; left out.")
    return found


def _amount(raw: str, building: Building, field: int) -> Body | None:
    """CQ: a number and its unit."""
    number, _, own = raw.partition("^")
    found = quantity(text(number), unit(own.replace("&", "^"), building))
    if found is None and text(number):
        building.note("bad_value", field, "Expected a number and its unit; left out.")
    return found


def _money(raw: str, building: Building, field: int) -> Body | None:
    found = money(raw)
    if found is None and raw.strip("&^ "):
        building.note("bad_value", field, "Expected an amount of money; left out.")
    return found


def _range(raw: str, building: Building, _: int) -> Body | None:
    return reference_range(text(raw), unit(building.at.get(6).partition("~")[0], building))


def _period(raw: str, building: Building, field: int) -> Body | None:
    ends = [_date_time(part, building, field) if part else None for part in raw.split("^")[:2]]
    return {name: end for name, end in zip(("start", "end"), ends, strict=False) if end} or None


def _participant(raw: str, building: Building, _: int, argument: str) -> Body | None:
    who = practitioner(raw, building)
    return {"type": [{"coding": [term_coding("Participation", argument)]}], "individual": who} if who else None


def _place(raw: str, building: Building, _: int, argument: str) -> Body | None:
    where = location(raw, building)
    if where is None:
        return None
    status, kind = [*argument.split("|"), ""][:2]
    found: Body = {"location": where, "status": status}
    if kind:
        said = {"coding": [{"system": _LOCATION_CLASS, "code": kind}]}
        found["extension"] = [{"url": _LOCATION_CLASSIFICATION, "valueCodeableConcept": said}]
    return found


def _performer(raw: str, building: Building, _: int, argument: str) -> Body | None:
    who = practitioner(raw, building)
    if who is None or not argument:
        return {"actor": who} if who else None
    code, display = argument.split("|")
    return {"function": {"coding": [{"system": _SNOMED, "code": code, "display": display}]}, "actor": who}


def _role_performer(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """An element around a Practitioner whose function is a code of HL7 table 0443."""
    who = practitioner(raw, building)
    return {"function": {"coding": [term_coding("PerformerFunction", argument)]}, "actor": who} if who else None


def _agent(raw: str, building: Building, _: int, argument: str) -> Body | None:
    who = practitioner(raw, building)
    return {"type": {"coding": [{"system": _PARTICIPANT, "code": argument}]}, "who": who} if who else None


def _facility_agent(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """An HD: a facility as an agent."""
    who = authority(raw, building)
    return {"type": {"coding": [{"system": _PARTICIPANT, "code": argument}]}, "who": who} if who else None


def _device_agent(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """A CWE: equipment as an agent."""
    who = coded_device(raw, building)
    return {"type": {"coding": [{"system": _PARTICIPANT, "code": argument}]}, "who": who} if who else None


def _cost(raw: str, building: Building, field: int) -> Body | None:
    """A CP as an element of Coverage.costToBeneficiary: the price, and its type (HL7 table 0205)."""
    amount = _money(raw, building, field)
    if amount is None:
        return None
    kind = text(raw.split("^")[1]) if "^" in raw and "&" in raw.partition("^")[0] else ""
    said = {"type": {"coding": [{"system": _PRICE_TYPE, "code": kind}]}} if kind else {}
    return {**said, "valueMoney": amount}


def _animal(raw: str, building: Building, _: int, argument: str) -> list[Body]:
    """Species, and the breed that stands in another field, as the parts of one extension."""
    parts = ("species", concept(raw, building)), ("breed", concept(building.at.first_whole(int(argument)), building))
    return [{"url": name, "valueCodeableConcept": found} for name, found in parts if found]


def _class(raw: str, _: Building, __: int, argument: str) -> Body | None:
    """A coded plan or group as Coverage.class of this type."""
    value, name = [*components(raw), ""][:2]
    if not value:
        return None
    kind = {"coding": [{"system": _COVERAGE_CLASS, "code": argument}]}
    return {"type": kind, "value": value, "name": name} if name else {"type": kind, "value": value}


def _organization(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """The organisation of an XON, with the address that stands in another field of its segment."""
    found = named_organization(raw, building)
    place = people.address(building.at.first_whole(int(argument)), building) if found else None
    if found and place:
        building.complete(found, {"address": [place]})
    return found


def _located(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """The place of a PL, with the address that stands in another field of its segment."""
    found = location(raw, building)
    place = people.address(building.at.first_whole(int(argument)), building) if found else None
    if found and place:
        building.complete(found, {"address": place})
    return found


def _located_before(raw: str, building: Building, _: int) -> Body | None:
    """LA2, a place until 2.6: the levels of a PL, and its address in the components after them."""
    parts = raw.split("^")
    found = location("^".join(parts[:8]), building)
    place = people.address("^".join(parts[8:14]), building) if found else None
    if found and place:
        building.complete(found, {"address": place})
    return found


def _by_identifier(raw: str, building: Building, field: int, argument: str) -> Body | None:
    found = converter(argument, "")(raw, building, field)
    return {"identifier": found} if found else None


def _parent(raw: str, building: Building, _: int, argument: str) -> Body | None:
    """The order of this type that an EIP names: the placer's number of it, else the filler's."""
    found = identifiers.pair(raw, building, 0, "PLAC") or identifiers.pair(raw, building, 1, "FILL")
    return {"type": argument, "identifier": found} if found else None


def _prescription(raw: str, building: Building, _: int) -> Body | None:
    """The order of a prescription number."""
    found = identifiers.number(raw, building, "prescription")
    return {"type": "MedicationRequest", "identifier": found} if found else None


def _specimen_source(raw: str, building: Building, _: int) -> Body | None:
    """SPS, the specimen source of OBR-15 until 2.6: its components are CEs divided by ``&``."""
    parts = [*raw.split("^"), "", "", "", ""]
    source, additive, note, site = (part.replace("&", "^") for part in parts[:4])
    found: Body = {}
    if kind := concept(source, building, VOCABULARIES["SpecimenType"]):
        found["type"] = kind
    if added := concept(additive, building):
        found["container"] = [{"additiveCodeableConcept": added}]
    if comment := text(note):
        found["note"] = [{"text": comment}]
    if place := concept(site, building):
        found["collection"] = {"bodySite": place}
    return found or None


def _wording(raw: str, building: Building, _: int) -> Body | None:
    """ST[CodeableConcept]: a text; some senders write code and text all the same."""
    if "^" in raw:
        return concept(raw, building)
    said = text(raw)
    return {"text": said} if said else None


def _financial_class(raw: str, building: Building, _: int) -> Body | None:
    """FC: a code and the day from which it holds; Chinese senders write code and name."""
    first, name = [*raw.split("^"), ""][:2]
    wording = "" if moment(text(name), building.zone) else name
    return concept(first.replace("&", "^") + (f"^{wording}" if wording and "&" not in first else ""), building)


def _udi(raw: str, building: Building, _: int) -> Body | None:
    """EI of a unique device identifier: the device identifier, and the system that issued it."""
    number = identifiers.entity(raw, building)
    if number is None:
        return None
    return {"deviceIdentifier": number["value"], **({"issuer": number["system"]} if "system" in number else {})}


def _side(side: int) -> Callable[..., Body | None]:
    def convert(raw: str, building: Building, _: int, argument: str) -> Body | None:
        return identifiers.pair(raw, building, side, argument)

    return convert


_CODED: Final[dict[str, Callable[..., Any]]] = {
    "CodeableConcept": _concept,
    "Coding": _coding,
    "code": _code,
    "language": _language,
}
_WITH_ARGUMENT: Final[dict[str, Callable[..., Any]]] = {
    "CX": lambda raw, building, _, argument: identifiers.identifier(raw, building, argument),
    "EI": lambda raw, building, _, argument: identifiers.entity(raw, building, argument),
    "EIP.1": _side(0),
    "EIP.2": _side(1),
    "ST.identifier": lambda raw, building, _, argument: identifiers.number(raw, building, argument),
    "XTN": lambda raw, building, _, argument: people.contact_point(raw, building, argument),
    "Reference.identifier": _by_identifier,
    "parent": _parent,
    "constant": lambda raw, _, __, argument: argument if text(raw.partition("^")[0]) else None,
    "participant": _participant,
    "place": _place,
    "performer": _performer,
    "performer.role": _role_performer,
    "amount": timing.amount,
    "agent": _agent,
    "agent.device": _device_agent,
    "agent.facility": _facility_agent,
    "animal": _animal,
    "class": _class,
    "XON": _organization,
    "PL": _located,
}
_TIMES: Final[dict[str, Convert]] = {"date": _date, "dateTime": _date_time, "instant": _instant}
_PLAIN: Final[dict[str, Convert]] = {
    "string": _string,
    "text": lambda raw, _, __: text(raw) or None,
    "display": _display,
    "time": _time,
    "boolean": _boolean,
    "integer": _integer,
    "positiveInt": _positive,
    "days": _days,
    "CQ": _amount,
    "money": _money,
    "cost": _cost,
    "CQ.day": timing.per_day,
    "CQ.duration": timing.duration,
    "CQ.occurrence": timing.occurrence,
    "RPT": timing.repeat_pattern,
    "LA2": _located_before,
    "prescription": _prescription,
    "DR": _period,
    "DR.start": lambda raw, building, field: _date_time(raw.partition("^")[0], building, field),
    "range": Remembered(_range, with_unit=True),
    "XPN": lambda raw, building, _: people.human_name(raw, building),
    "XPN.text": lambda raw, building, _: people.name_text(raw, building),
    "XAD": lambda raw, building, _: people.address(raw, building),
    "udi": _udi,
    "PLN": lambda raw, building, _: identifiers.practitioner_number(raw, building),
    "DLN": lambda raw, building, _: identifiers.licence(raw, building),
    "CWE.identifier": lambda raw, building, _: identifiers.coded(raw, building),
    "CWE.text": lambda raw, building, _: wording(said) if (said := concept(raw, building)) else None,
    "CX.value": _string,
    "ST.concept": _wording,
    "SPS": _specimen_source,
    "FC": _financial_class,
    "OBX-5": observed,
}
