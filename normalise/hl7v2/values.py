"""The value of an observation: OBX-5 read as OBX-2 says, into value[x] of Observation or its component.

Sources: HL7 v2.8.2 chapters 2A and 7 (OBX); HL7 v2-to-FHIR, OBX[Observation]. Which reader serves which type of
OBX-2 stands in ``schemas/hl7v2/values.csv``. What a reader cannot read is kept as text with a note: no result is lost.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import concept, term_coding, unit
from normalise.hl7v2.escapes import components, free_text, text
from normalise.hl7v2.memory import Remembered
from normalise.hl7v2.people import address, contact_point, name_text
from normalise.hl7v2.quantities import between, compared, quantity, structured
from normalise.hl7v2.tables import VALUE_READERS, VOCABULARIES
from normalise.hl7v2.times import moment, time_of_day

Reader = Callable[[str, Building, Body], Body | None]

_ATTACHMENT: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
_MEDIA: Final = re.compile(r"[A-Za-z0-9.+-]+", re.ASCII)
#: Types of which repetitions are lines of one text.
_LINES: Final = ("TX", "FT", "ST")


def observed(raw: str, building: Building, field: int = 5) -> Body:
    """Return the value elements of the OBX being read: value[x], or component, or the extension of an attachment."""
    fields = building.at.fields
    type_ = fields[2]
    reader = _BY_TYPE.get(type_) or _BY_TYPE.get(type_ := text(type_).upper())
    if reader is None:
        wrong = "is missing" if not type_ else "is not a value type that is mapped"
        building.note("bad_value", 2, f"OBX-2 {wrong}; the value is kept as text.")
        return _as_text(raw)
    unit_of: Body = _unit(fields[6], building, 6) if len(fields) > 6 and fields[6] else {}
    if "~" not in raw:
        return _one(reader, raw, building, unit_of, field)
    repetitions = [one for one in raw.split("~") if one.strip("^& ")]
    if len(repetitions) < 2 or type_ in _LINES:
        return _one(reader, repetitions[0] if len(repetitions) == 1 else raw, building, unit_of, field)
    return _components(reader, repetitions, building, unit_of, field)


def _components(reader: Reader, repetitions: list[str], building: Building, unit_of: Body, field: int) -> Body:
    """HL7 v2-to-FHIR, OBX[Observation-Component]: one component a repetition, each with the observation's code."""
    code = concept(building.at.get(3).partition("~")[0], building)
    values = [_one(reader, one, building, unit_of, field) for one in repetitions]
    if code is None:
        return _as_text(building.at.get(field))
    return {"component": [{"code": code, **value} for value in values if value]}


def _one(reader: Reader, raw: str, building: Building, unit_of: Body, field: int) -> Body:
    if not raw.strip("^& "):
        return {}
    found = reader(raw, building, unit_of)
    if found is None:
        building.note("bad_value", field, "The value is not of the type in OBX-2; it is kept as text.")
        return _as_text(raw)
    return found


def _as_text(raw: str) -> Body:
    """Every part that came, in order: text written without escaping is whole again."""
    whole = "\n".join(free_text(one) for one in raw.split("~")).strip("\n")
    return {"valueString": whole} if whole.strip() else {}


def _text(raw: str, _: Building, __: Body) -> Body:
    return _as_text(raw)


def _number(raw: str, building: Building, unit_of: Body) -> Body | None:
    sent = text(raw.partition("^")[0])
    found = quantity(sent, unit_of)
    if found is None and (found := compared(sent, unit_of)):
        building.note("bad_value", 5, "An NM holds a comparator, which is an SN; read as comparator and number.")
    return {"valueQuantity": found} if found else None


def _structured(raw: str, _: Building, unit_of: Body) -> Body | None:
    parts = components(raw)
    found = structured(parts, unit_of)
    if found:
        return {found[0]: found[1]}
    # 2+ and the like are no quantity: the standard's own text form (v2-to-FHIR, OBX[Observation], last rule for SN).
    return {"valueString": " ".join(filter(None, (*parts[:4], unit_of.get("unit", ""))))} if any(parts[:4]) else None


def _range(raw: str, _: Building, unit_of: Body) -> Body | None:
    ends = [*components(raw), ""]
    found = between(ends[0], ends[1], unit_of)
    return {"valueRange": found} if found else None


def _concept(raw: str, building: Building, _: Body) -> Body | None:
    found = concept(raw, building)
    return {"valueCodeableConcept": found} if found else None


def _moment(raw: str, building: Building, _: Body) -> Body | None:
    found = moment(text(raw.partition("^")[0]), building.zone)
    return {"valueDateTime": found.value} if found else None


def _time(raw: str, _: Building, __: Body) -> Body | None:
    found = time_of_day(text(raw.partition("^")[0]))
    return {"valueTime": found} if found else None


def _period(raw: str, building: Building, _: Body) -> Body | None:
    ends = [moment(text(part), building.zone) for part in raw.split("^")[:2]]
    found = {name: end.value for name, end in zip(("start", "end"), ends, strict=False) if end}
    return {"valuePeriod": found} if found else None


def _attachment(raw: str, _: Building, __: Body) -> Body | None:
    found = attachment(raw)
    return None if found is None else _attached(found)


def attachment(raw: str) -> Body | None:
    """Return the Attachment of an ED: source, type, subtype, encoding, data; None where the data are not so encoded.

    FHIR carries base64; hexadecimal and plain text become it.
    """
    parts = [*raw.split("^", 4), "", "", "", ""]
    encoding, sent = text(parts[3]).lower(), text(parts[4])
    data = _encoded(encoding, sent)
    if data is None:
        return None
    found: Body = {"data": data} if data else {}
    return found | _media(text(parts[1]), text(parts[2]))


def _encoded(encoding: str, sent: str) -> str | None:
    compact = "".join(sent.split())
    try:
        if encoding == "base64":
            return base64.b64encode(base64.b64decode(compact, validate=True)).decode("ascii")
        if encoding == "hex":
            return base64.b64encode(bytes.fromhex(compact)).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(sent.encode()).decode("ascii")


def _pointer(raw: str, _: Building, __: Body) -> Body | None:
    found = pointer(raw)
    return None if found is None else _attached(found)


def pointer(raw: str) -> Body | None:
    """Return the Attachment of an RP: pointer, application, type, subtype; None where it is no address."""
    parts = [*components(raw), "", "", ""]
    if not parts[0] or any(one.isspace() for one in parts[0]):
        return None
    return {"url": parts[0], **_media(parts[2], parts[3])}


def _media(type_: str, subtype: str) -> Body:
    """The MIME type of an ED or RP. HL7's ``AP^PDF`` (application) is spelt out; what is no MIME type is the title."""
    if not type_ and not subtype:
        return {}
    main = {"ap": "application", "au": "audio", "ft": "text", "im": "image", "text": "text"}.get(
        type_.lower(), type_.lower()
    )
    if _MEDIA.fullmatch(main) and _MEDIA.fullmatch(subtype):
        return {"contentType": f"{main}/{subtype.lower()}"}
    return {"title": " ".join(filter(None, (type_, subtype)))}


def _attached(attachment: Body) -> Body:
    return {"extension": [{"url": _ATTACHMENT, "valueAttachment": attachment}]} if attachment else {}


def _composite_quantity(raw: str, building: Building, unit_of: Body) -> Body | None:
    number, _, own = raw.partition("^")
    found = quantity(text(number), unit(own.replace("&", "^"), building) or unit_of)
    return {"valueQuantity": found} if found else None


def _money(raw: str, _: Building, __: Body) -> Body | None:
    """An MO, or the price (an MO divided by ``&``) that begins a CP."""
    price = raw.partition("^")[0] if "&" in raw else raw.replace("^", "&")
    amount, currency = [*price.split("&"), ""][:2]
    code = text(currency).upper()
    known = len(code) == 3 and code.isascii() and code.isalpha()
    found = quantity(text(amount), {"unit": code, "system": "urn:iso:std:iso:4217", "code": code} if known else {})
    return {"valueQuantity": found} if found else None


def _joined(raw: str, _: Building, __: Body) -> Body | None:
    found = " ".join(filter(None, (text(part) for part in raw.replace("~", "^").split("^"))))
    return {"valueString": found} if found else None


def _identifier(raw: str, _: Building, __: Body) -> Body | None:
    found = text(raw.partition("^")[0])
    return {"valueString": found} if found else None


def _span(raw: str, _: Building, __: Body) -> Body | None:
    found = "-".join(filter(None, (text(part) for part in raw.split("^")[:2])))
    return {"valueString": found} if found else None


def _person(raw: str, building: Building, _: Body) -> Body | None:
    found = name_text(raw, building)
    return {"valueString": found} if found else None


def _staff(raw: str, building: Building, _: Body) -> Body | None:
    found = name_text(raw, building, 1) or text(raw.partition("^")[0])
    return {"valueString": found} if found else None


def _address(raw: str, building: Building, _: Body) -> Body | None:
    found = address(raw, building)
    if found is None:
        return None
    parts = (
        *found.get("line", ()),
        *(found.get(name, "") for name in ("city", "district", "state", "postalCode", "country")),
    )
    return {"valueString": found.get("text") or ", ".join(filter(None, parts))}


def _telephone(raw: str, building: Building, _: Body) -> Body | None:
    found = contact_point(raw, building)
    return {"valueString": found["value"]} if found else None


READERS: Final[dict[str, Reader]] = {
    "number": _number,
    "structured": _structured,
    "range": _range,
    "concept": _concept,
    "text": _text,
    "moment": _moment,
    "time": _time,
    "period": _period,
    "attachment": _attachment,
    "pointer": _pointer,
    "composite_quantity": _composite_quantity,
    "money": _money,
    "joined": _joined,
    "identifier": _identifier,
    "span": _span,
    "person": _person,
    "staff": _staff,
    "address": _address,
    "telephone": _telephone,
}


_BY_TYPE: Final = {type_: READERS[reader] for type_, reader in VALUE_READERS.items()}
_unit: Final = Remembered(lambda raw, building, _: unit(raw.partition("~")[0], building))


def absent(status: str) -> Body:
    """Return the dataAbsentReason of an observation without a value, from OBX-11."""
    term = VOCABULARIES["AbsentReason"].find(status)
    return {"coding": [term_coding("AbsentReason", status) if term else dict(_UNKNOWN)]}


_UNKNOWN: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "code": "unknown",
    "display": "Unknown",
}
