"""The patient and the persons of an object (PS3.3 C.7.1.1, C.7.2.1, table 10-1)."""

from __future__ import annotations

from typing import Final

from normalise.dicom.dataset import Item
from normalise.dicom.reading import PATIENT, Reading
from normalise.dicom.values import Body, code_of, long_text, names, one_line, system_of
from normalise.ids import derive, id_within, local_uri
from normalise.patients import patient_id
from schemas.residents import RESIDENT, is_resident_number

_ISSUER: Final = 0x00100021
_ISSUER_QUALIFIERS: Final = 0x00100024
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_SEX: Final = {"M": "male", "F": "female", "O": "other", "U": "unknown"}


def identifiers(item: Item, institution: str) -> list[Body]:
    """Return the patient's identifiers: (0010,0020) first, then (0010,1002)."""
    found = [_identifier(item, institution), *(_identifier(one, institution) for one in item.items(0x00101002))]
    return [one for at, one in enumerate(found) if one and one not in found[:at]]


def _identifier(item: Item, institution: str) -> Body:
    value = item.text(PATIENT)
    if not value:
        return {}
    if is_resident_number(value):
        return {"system": RESIDENT, "value": value}
    number: Body = {"type": {"coding": [{"system": _TYPES, "code": "MR"}]}, "value": value}
    qualifiers = item.first(_ISSUER_QUALIFIERS)
    universal = qualifiers.text(0x00400032) if qualifiers else ""
    kind = qualifiers.text(0x00400033) if qualifiers else ""
    issuer = item.text(_ISSUER)
    if universal and kind == "ISO" and set(universal) <= set("0123456789."):
        number["system"] = f"urn:oid:{universal}"
    elif issuer:
        number["system"] = local_uri(institution, "assigner", issuer)
    if issuer:
        number["assigner"] = {"display": issuer}
    return number


def patient(item: Item, study: str, institution: str) -> tuple[str, list[Body]]:
    """Return the id of the patient of an object and his identifiers.

    (0010,0020) may be empty (it is of type 2). Then the patient is whoever the study is of, and no more.
    """
    known = identifiers(item, institution)
    return patient_id(known, institution) or id_within("Patient", institution, "of study", study), known


def add_patient(reading: Reading, known: list[Body]) -> None:
    """The Patient is ensured: an object says who the patient was, and is no news about him."""
    item = reading.item
    body: Body = {"resourceType": "Patient", "id": reading.patient}
    if known:
        body["identifier"] = known
    else:
        why = "The patient has no number here; he is kept apart by the study until a number comes. Send (0010,0020)."
        reading.note("required", PATIENT, why)
    if name := names(item.text(0x00100010)):
        body["name"] = name
    sex = item.text(0x00100040).upper()
    if sex in _SEX:
        body["gender"] = _SEX[sex]
    elif sex:
        reading.note("bad_value", 0x00100040, "Expected M, F or O; left out.")
    if birth := reading.day(0x00100030):
        body["birthDate"] = birth
    if phone := item.text(0x00102154):
        body["telecom"] = [{"system": "phone", "value": phone}]
    if address := long_text(item.text(0x00101040)):
        body["address"] = [{"text": address}]
    reading.add(body, PATIENT, "ensure")


def practitioner(name: str, code: Item | None, reading: Reading, tag: int) -> Body:
    """Return the reference to a person, who is ensured: by his code where there is one, else by name."""
    scheme, value = code_of(code)
    if value:
        system = system_of(scheme) or local_uri(reading.institution, "staff", "dicom")
        id_ = derive("Practitioner", system if scheme else f"institution:{reading.institution}", value)
        body: Body = {"resourceType": "Practitioner", "id": id_, "identifier": [{"system": system, "value": value}]}
    else:
        id_ = reading.id_within("Practitioner", "name", one_line(name))
        body = {"resourceType": "Practitioner", "id": id_}
    body["name"] = names(name)
    return {"reference": reading.add(body, tag, "ensure", own=False), "display": one_line(name)}
