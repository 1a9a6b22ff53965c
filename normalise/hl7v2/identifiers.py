"""Identifiers: CX, EI, EIP, DLN and plain numbers as Identifier, with the system that their assigner has.

Sources: HL7 v2.8.2 chapter 2A; HL7 v2-to-FHIR, CX[Identifier] and EI[Identifier-Extension].
"""

from __future__ import annotations

from functools import lru_cache

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import coding_of
from normalise.hl7v2.escapes import components, text
from normalise.hl7v2.identity import code_system
from normalise.hl7v2.people import put_period
from normalise.hl7v2.tables import VOCABULARIES


def identifier(raw: str, building: Building, default_type: str = "") -> Body | None:
    """Return the Identifier of a CX (also of an EI, whose assigner stands in the components after the first)."""
    parts = raw.split("^")
    value = text(parts[0])
    if not value:
        return None
    found: Body = {"value": value}
    put_assigner(found, parts[3] if len(parts) > 3 else "", building)
    put_type(found, (text(parts[4]) if len(parts) > 4 else "") or default_type, building)
    if len(parts) > 6:
        put_period(found, parts[6], parts[7] if len(parts) > 7 else "", building)
    return found


def entity(raw: str, building: Building, default_type: str = "") -> Body | None:
    """Return the Identifier of an EI: entity, namespace, universal id and its type."""
    if not raw:
        return None
    if "&" in (first := raw.partition("^")[0]):  # an EIP, as ORC-4 is one in 2.8: the placer's part
        raw = first.replace("&", "^")
    parts = [*map(text, raw.split("^", 4)), "", "", ""]
    if not parts[0]:
        return None
    found: Body = {"value": parts[0]}
    if parts[1] or parts[2]:
        put_assigner(found, f"{parts[1]}&{parts[2]}", building)
    put_type(found, default_type, building)
    return found


def put_type(body: Body, type_: str, building: Building) -> None:
    """The identifier says what it is: a code of HL7 table 0203, or the institution's own."""
    if type_:
        body["type"] = {"coding": [_type(type_, building.institution).copy()]}


@lru_cache(maxsize=1024)
def _type(sent: str, institution: str) -> Body:
    code = " ".join(sent.split())
    term = VOCABULARIES["IdentifierType"].find(code)
    return coding_of(term) if term else {"code": code, "system": code_system("identifier type", institution)}


def put_assigner(body: Body, hd: str, building: Building) -> None:
    """The identifier says who assigned it (an HD, its parts divided by ``&``): the system and the name."""
    if not hd:
        return
    namespace, _, rest = hd.partition("&")
    system, display = building.assigner(text(namespace), text(rest.partition("&")[0]))
    if system:
        body["system"] = system
    if display:
        body["assigner"] = {"display": display}


def pair(raw: str, building: Building, part: int, type_: str) -> Body | None:
    """Return the Identifier of one side of an EIP: 0 the placer's, 1 the filler's."""
    sides = raw.split("^")
    return entity(sides[part].replace("&", "^"), building, type_) if part < len(sides) else None


def licence(raw: str, building: Building) -> Body | None:
    """Return the Identifier of a driver's licence (DLN)."""
    parts = [*components(raw), "", ""]
    if not parts[0]:
        return None
    found: Body = {"value": parts[0]}
    put_assigner(found, parts[1].partition("&")[0], building)
    put_type(found, "DL", building)
    put_period(found, "", parts[2], building)
    return found


def practitioner_number(raw: str, building: Building) -> Body | None:
    """Return the Identifier of a PLN: the number, its type, the state or country, until when."""
    parts = [*components(raw), "", "", ""]
    if not parts[0]:
        return None
    found: Body = {"value": parts[0]}
    put_assigner(found, parts[2].partition("&")[0], building)
    put_type(found, parts[1], building)
    put_period(found, "", parts[3], building)
    return found


def number(raw: str, building: Building, type_: str) -> Body | None:
    """Return the Identifier of a plain number (ST) of this type, its assigner unsaid."""
    value = text(raw)
    if not value:
        return None
    found: Body = {"value": value}
    put_type(found, type_, building)
    return found


def coded(raw: str, building: Building) -> Body | None:
    """Return the Identifier of a CWE: its code in its coding system."""
    parts = [*components(raw), "", ""]
    if not parts[0]:
        return None
    return (
        {"value": parts[0], "system": code_system(parts[2], building.institution)} if parts[2] else {"value": parts[0]}
    )
