"""Coded elements: CE, CWE, CNE, CF, IS and ID as CodeableConcept, Coding, code and quantity units.

Sources: HL7 v2.8.2 chapter 2A; HL7 v2-to-FHIR, CWE[CodeableConcept] and CWE[Quantity].
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identity import code_system
from normalise.hl7v2.tables import VOCABULARIES, Term, Vocabulary

#: The places of code, text, system and version of the three codings of a CWE (counted from 0).
_CODINGS: Final = ((0, 1, 2, 6), (3, 4, 5, 7), (9, 10, 11, 12))
#: The places of codes and wordings.
_NAMING: Final = frozenset({0, 1, 3, 4, 8, 9, 10})


def concept(raw: str, building: Building, vocabulary: Vocabulary | None = None, field: int = 0) -> Body | None:
    """Return a CodeableConcept: the vocabulary's coding before the sender's, and the wording a person reads.

    Args:
        raw: One repetition as it came.
        building: The message.
        vocabulary: Map of the sender's codes to FHIR's, or None where FHIR takes any.
        field: The field's number, for the note that a code is not in the map.
    """
    parts = raw.split("^")
    count = len(parts)
    codings: list[Body] = []
    said = text(parts[8]) if count > 8 else ""
    for code_at, text_at, system_at, version_at in _CODINGS:
        if code_at >= count:
            break
        code = " ".join(text(parts[code_at]).split())
        display = text(parts[text_at]) if text_at < count else ""
        said = said or display
        if not code:
            continue
        system = text(parts[system_at]) if system_at < count else ""
        if vocabulary is not None:
            term = vocabulary.find(code, system)
            if term is not None:
                codings.append(coding_of(term))
                said = said or term.display
                if display in ("", term.display) and (term.code == code or not system):
                    continue
            elif field:
                message = f"A code that the map {vocabulary.name} does not know is kept as it is."
                building.note("bad_value", field, message)
        version = text(parts[version_at]) if version_at < count else ""
        own = _sent(code, display, system, version, building)
        if own not in codings:
            codings.append(own)
    if not codings:
        return {"text": said} if said else None
    return {"coding": codings, "text": said} if said else {"coding": codings}


def _sent(code: str, display: str, system: str, version: str, building: Building) -> Body:
    found: Body = {"code": code}
    if system:
        found["system"] = code_system(system, building.institution)
        if version:
            found["version"] = version
    if display:
        found["display"] = display
    return found


def wording(concept_of: Body) -> str:
    """Return how a person calls a CodeableConcept: its text, else its first code."""
    return str(concept_of.get("text") or concept_of["coding"][0]["code"])


def names_something(raw: str) -> bool:
    """Whether a coded field's first repetition has a code or a wording, so that ``concept`` returns one."""
    parts = raw.partition("~")[0].split("^")
    return any(text(part) for at, part in enumerate(parts) if at in _NAMING)


def coding(raw: str, building: Building, vocabulary: Vocabulary | None, field: int) -> Body | None:
    """Return the first Coding of a coded element."""
    whole = concept(raw, building, vocabulary, field)
    return whole["coding"][0] if whole and "coding" in whole else None


def code(raw: str, building: Building, vocabulary: Vocabulary, field: int) -> str | None:
    """Return the FHIR code; a code outside the map is left out with a note, for FHIR allows no other."""
    parts = raw.split("^", 3)
    sent = text(parts[0])
    if not sent:
        return None
    system = text(parts[2]) if len(parts) > 2 else ""
    term = vocabulary.find(sent, system) or (vocabulary.find(sent) if system else None)
    if term is None:
        building.note("bad_value", field, f"A code that the map {vocabulary.name} does not know is left out.")
        return None
    return term.code


def term_coding(vocabulary: str, name: str) -> Body:
    """Return the Coding of a term of the tables themselves."""
    term = VOCABULARIES[vocabulary].find(name)
    if term is None:
        raise ValueError(f"schemas/hl7v2/vocabularies.csv: {vocabulary} has no {name}")
    return coding_of(term)


def unit(raw: str, building: Building) -> Body:
    """Return the unit elements of a Quantity: ``code`` and ``system`` only when the sender names the system."""
    if "^" not in raw:
        name = text(raw)
        return {"unit": name} if name else {}
    parts = [text(part) for part in raw.split("^", 6)]
    parts += [""] * (3 - len(parts))
    sent, name, system = parts[:3]
    found: Body = {"unit": name or sent} if name or sent else {}
    if sent and system:
        found["system"] = code_system(system, building.institution)
        found["code"] = sent
    return found


def coding_of(term: Term) -> Body:
    """Return the Coding of a term."""
    found: Body = {"code": term.code}
    if term.system:
        found["system"] = term.system
    if term.display:
        found["display"] = term.display
    return found
