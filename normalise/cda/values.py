"""Data types: II, CD, PQ, TS and their kin as FHIR ones. HL7 V3 Data Types R1; FHIR R4 datatypes.

A null (an element with nullFlavor) becomes nothing, except where FHIR asks for a reason.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from normalise.cda.reading import Body, Reading
from normalise.cda.tables import ASSIGNERS, CODE_SYSTEMS, UNITS, Term, find
from normalise.cda.tree import Node
from normalise.hl7v2.quantities import quantity as number_with
from normalise.hl7v2.times import Moment, moment
from normalise.ids import local_uri

_OID: Final = re.compile(r"[0-2](?:\.\d{1,40}){1,40}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
#: Units that can be UCUM (7-bit, no blanks); what is none of them is kept as the sender's wording alone.
_UCUM: Final = re.compile(r"[!-~]{1,80}")
_URI: Final = "urn:ietf:rfc:3986"
_UNITS: Final = "http://unitsofmeasure.org"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
NULLS: Final = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"


def uri(root: str, institution: str) -> str:
    """Return the URI of a root: an OID, a UUID, or a name that only means something inside the institution."""
    if _OID.fullmatch(root):
        return f"urn:oid:{root}"
    if _UUID.fullmatch(root):
        return f"urn:uuid:{root.lower()}"
    return local_uri(institution, "ids", root)


def assigned(root: str, institution: str) -> str:
    """Return the system of the identifiers under a root.

    China's OIDs for a hospital's own numbers (``2.16.156.10011.1.12``, inpatient number) say what a number is and
    not whose: the same number of two hospitals is two things, so such a system is the institution's.
    """
    known = ASSIGNERS.get(root)
    if known is None:
        return uri(root, institution)
    return known.uri or local_uri(institution, "ids", root)


def identifier(node: Node, reading: Reading) -> Body | None:
    """Return an II as an Identifier; one without extension is itself a URI (FHIR R4, Identifier, III)."""
    root, extension = node.get("root"), " ".join(node.get("extension").split())
    if node.get("nullFlavor") or not (root or extension):
        return None
    assigner = ASSIGNERS.get(root)
    if not extension:
        return {"system": _URI, "value": uri(root, reading.institution)}
    found: Body = {"system": assigned(root, reading.institution)} if root else {}
    found["value"] = extension
    if assigner and assigner.display:
        found["type"] = {"text": assigner.display}
        if assigner.type:
            found["type"]["coding"] = [{"system": _TYPES, "code": assigner.type}]
    if name := node.get("assigningAuthorityName"):
        found["assigner"] = {"display": name}
    return found


@lru_cache(maxsize=4096)
def code_system(root: str, name: str, institution: str) -> str:
    """Return the URI of a code system by its OID, else by its name inside the institution; ``""`` where unsaid."""
    if root:
        return CODE_SYSTEMS.get(root) or uri(root, institution).replace(":ids:", ":codes:", 1)
    return local_uri(institution, "codes", name) if name else ""


def coding(node: Node, reading: Reading) -> Body | None:
    """Return the code of a CD without its translations, or None where it has none."""
    code = " ".join(node.get("code").split())
    if not code:
        return None
    found: Body = {}
    if system := code_system(node.get("codeSystem"), node.get("codeSystemName"), reading.institution):
        found["system"] = system
    if version := node.get("codeSystemVersion"):
        found["version"] = version
    found["code"] = code
    if display := " ".join(node.get("displayName").split()):
        found["display"] = display
    return found


def term_coding(term: Term) -> Body:
    """Return a term of a vocabulary as a Coding."""
    return {name: one for name, one in (("system", term.system), ("code", term.code), ("display", term.display)) if one}


def concept(node: Node, reading: Reading, vocabulary: str = "") -> Body | None:
    """Return a CD as a CodeableConcept: what the vocabulary makes of it, its code, its translations, its wording."""
    codings: list[Body] = []
    for one in (node, *node.all("translation")):
        if vocabulary and (term := find(vocabulary, one.get("code"), one.get("codeSystem"))) is not None:
            codings.append(term_coding(term))
        own = coding(one, reading)
        if own is not None and not any(_same(own, other) for other in codings):
            codings.append(own)
    said = original_text(node, reading) or node.get("displayName") or _spoken(node)
    found: Body = {}
    if codings:
        found["coding"] = codings
    if said:
        found["text"] = said
    return found or None


def _same(one: Body, other: Body) -> bool:
    return one["code"] == other["code"] and one.get("system") == other.get("system")


def _spoken(node: Node) -> str:
    """The wording of a translation, where the code itself has none."""
    return next((one for each in node.all("translation") if (one := each.get("displayName"))), "")


def original_text(node: Node, reading: Reading) -> str:
    """Return the wording of a coded element, where it stands in the element or in the narrative it points at."""
    said = node.first("originalText")
    return text(said, reading) if said is not None else ""


def text(node: Node, reading: Reading) -> str:
    """Return an ED or ST as plain text: its own, else that of the narrative its reference points at."""
    if said := node.own_text:
        return said
    reference = node.first("reference")
    if reference is not None:
        target = reading.mentions.get(reference.get("value").removeprefix("#"))
        if target is not None:
            return target.text
    return node.text if reference is None else ""


def instant_of(node: Node, reading: Reading) -> Moment | None:
    """Return a TS as a moment, with a note where it is none; the offset kept, else the source's zone."""
    raw = node.get("value")
    if not raw:
        return None
    found = moment(raw, reading.zone)
    if found is None:
        reading.note(
            "bad_value", "A time was expected (YYYYMMDDhhmmss+zzzz); what came is none and is left out.", node.name
        )
    elif found.note:
        reading.note("imprecise", f"A time: {found.note}", node.name)
    return found


def date_time(node: Node, reading: Reading) -> str | None:
    """Return a TS, or the centre or the low end of an IVL_TS, as a dateTime."""
    for one in (node, node.first("center"), node.first("low")):
        if one is not None and (found := instant_of(one, reading)) is not None:
            return found.value
    return None


def period(node: Node, reading: Reading) -> Body | None:
    """Return an IVL_TS as a Period; a single moment is its start."""
    found: Body = {}
    for name, end in (("start", "low"), ("end", "high")):
        one = node.first(end)
        if one is not None and (at := instant_of(one, reading)) is not None:
            found[name] = at.value
    if not found and (value := date_time(node, reading)) is not None:
        found["start"] = value
    if len(found) == 2 and _comparable(found) and found["start"] > found["end"]:
        reading.note("bad_value", "A period ends before it begins; its end is left out.")
        del found["end"]
    return found or None


def _comparable(found: Body) -> bool:
    """Whether texts compare as times do: both at one offset, or both dates."""
    start, end = found["start"], found["end"]
    return (start[19:] == end[19:] and len(start) == len(end)) or (len(start) <= 10 and len(start) == len(end))


def moment_or_period(node: Node, reading: Reading, name: str) -> Body | None:
    """Return a time as ``<name>Period`` where it has ends, else as ``<name>DateTime``."""
    if any((end := node.first(one)) is not None and end.get("value") for one in ("low", "high")):
        span = period(node, reading)
        return {f"{name}Period": span} if span else None
    value = date_time(node, reading)
    return {f"{name}DateTime": value} if value else None


def unit(written: str) -> Body:
    """Return the unit elements of a Quantity: as it was written, and as UCUM where it can be."""
    written = written.strip()
    if not written or written == "1":
        return {}
    ucum = UNITS.get(written, written)
    if ucum and _UCUM.fullmatch(ucum):
        return {"unit": written, "system": _UNITS, "code": ucum}
    return {"unit": written}


def quantity(node: Node, reading: Reading, comparator: str = "") -> Body | None:
    """Return a PQ (or INT, REAL, MO) as a Quantity; one that is null may stand in its translation."""
    for one in (node, *node.all("translation")):
        value = one.get("value")
        if not value:
            continue
        sent = one.get("unit") or one.get("currency")
        units = unit(sent) if sent else _translated_unit(one, reading)
        found = number_with(value, units, comparator)
        if found is not None:
            return found
        reading.note(
            "bad_value", "A number was expected in a quantity; what came is none, or too long for one.", node.name
        )
    return None


def _translated_unit(node: Node, reading: Reading) -> Body:
    """A unit that is no UCUM stands as a code of its own system or as words (PQR)."""
    for one in (node, *node.all("translation")):
        if one.get("code"):
            found: Body = {"unit": one.get("displayName") or one.get("code"), "code": one.get("code")}
            if system := code_system(one.get("codeSystem"), one.get("codeSystemName"), reading.institution):
                found["system"] = system
            return found
        if words := original_text(one, reading):
            return {"unit": words}
    return {}


def limits(node: Node, reading: Reading) -> Body | None:
    """Return an IVL_PQ as a Range's low and high, or None where it has neither."""
    found = {name: one for name in ("low", "high") if (end := node.first(name)) and (one := quantity(end, reading))}
    return found or None


def spread(node: Node, reading: Reading) -> Body | None:
    """Return an IVL_PQ as ``valueQuantity`` with a comparator where it is open, else as ``valueRange``."""
    low, high, centre = node.first("low"), node.first("high"), node.first("center")
    least, most = (quantity(one, reading) if one is not None else None for one in (low, high))
    if least and most:
        return {"valueRange": {"low": least, "high": most}}
    for end, found, signs in ((low, least, (">=", ">")), (high, most, ("<=", "<"))):
        if end is not None and found is not None:
            sign = signs[end.get("inclusive") == "false"]
            return {"valueQuantity": {"value": found["value"], "comparator": sign, **found}}
    middle = quantity(centre, reading) if centre is not None else quantity(node, reading)
    return {"valueQuantity": middle} if middle else None
