"""Structured reports as DiagnosticReport and Observations (PS3.3 A.35, C.17.3; PS3.16 TID 1500 and others).

The content tree is walked once. Numbers, codes, texts, dates become Observations; a measurement group (TID 1501) and
any container with a finding site or tracking identifier becomes one that has them as members; other containers only
divide. What says something about a number (its site, method, derivation) goes into that Observation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from normalise.dicom.dataset import Item
from normalise.dicom.reading import INSTANCE, Reading
from normalise.dicom.values import (
    DCM,
    Body,
    code_of,
    concept,
    day,
    instant,
    is_oid,
    long_text,
    moment,
    number,
    oid,
    one_line,
    stamp,
    unit,
)  # fmt: skip
from normalise.errors import set_aside

CONTENT: Final = 0x0040A730
_TYPE: Final = 0x0040A040
_NAME: Final = 0x0040A043
_RELATION: Final = 0x0040A010
_TEXT: Final = 0x0040A160
_CODE: Final = 0x0040A168
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_CATEGORY: Final = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
_SECTION: Final = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}
_GENERAL: Final = {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
#: Items of a tree and depth of it that are followed.
_MOST: Final = 20_000
_DEEPEST: Final = 24

#: Concept names by what they say of what stands around them; retired SNOMED-RT codes beside SNOMED CT's.
_SITE: Final = frozenset((("SCT", "363698007"), ("SRT", "G-C0E3"), ("SCT", "723251008")))
_SIDE: Final = frozenset((("SCT", "272741003"), ("SRT", "G-C171")))
_METHOD: Final = frozenset((("SCT", "370129005"), ("SRT", "G-C036")))
_TRACKING: Final = frozenset((("DCM", "112040"), ("DCM", "112039")))
_GROUP: Final = ("DCM", "125007")
_CONCLUSIONS: Final = frozenset((("DCM", "121077"), ("DCM", "121073"), ("LN", "19005-8")))
_CONCLUSION_SECTIONS: Final = frozenset((("DCM", "121076"), ("DCM", "121072"), ("LN", "19005-8"), ("LN", "55110-1")))
#: What tells who observed and how the document is written; it stands in the report's own elements.
_CONTEXT: Final = frozenset(
    ("DCM", code) for code in ("121005", "121008", "121049", "121046", "121012", "121013", "121014", "121018")
)


@dataclass(slots=True)
class _Place:
    """Where in the tree we are.

    Attributes:
        path: Position, ``1.2.1``.
        site: Finding site that counts here, or None.
        concluding: Whether texts here belong to the conclusion.
    """

    path: str = ""
    site: Body | None = None
    concluding: bool = False

    def below(self, at: int) -> str:
        """Return the position of the child with this number."""
        return f"{self.path}.{at}" if self.path else str(at)


@dataclass(slots=True)
class _Tree:
    """What a walk collects."""

    results: list[str] = field(default_factory=list)
    conclusions: list[str] = field(default_factory=list)
    codes: list[Body] = field(default_factory=list)
    items: int = 0
    unmapped: set[str] = field(default_factory=set)


def add_report(reading: Reading, study: str, order: str | None) -> None:
    """The report stands with everything that its tree says."""
    item, tree = reading.item, _Tree()
    tree.results = list(_children(item, _Place(site=_found(item, _SITE)), reading, tree, 0))
    title = concept(item.first(_NAME))
    body: Body = {
        "resourceType": "DiagnosticReport",
        "id": reading.id_within("DiagnosticReport", reading.uid),
        "identifier": [{"system": "urn:dicom:uid", "value": oid(reading.uid) if is_oid(reading.uid) else reading.uid}],
        "status": _status(item),
        "category": [{"coding": [_SECTION]}],
        "code": title or {"coding": [_GENERAL]},
        "subject": {"reference": f"Patient/{reading.patient}"},
        "imagingStudy": [{"reference": study}],
    }
    if order:
        body["basedOn"] = [{"reference": order}]
    if effective := reading.moment(0x00080023, 0x00080033) or reading.moment(0x00080020, 0x00080030):
        body["effectiveDateTime"] = effective
    verified = list(item.items(0x0040A073))
    issued = [instant(stamp(one.text(0x0040A030), reading.zone, reading.offset)) for one in verified]
    if issued := sorted(one for one in issued if one):
        body["issued"] = issued[-1]
    authors = [*item.items(0x0040A078), *item.items(0x0040A07A)]
    if performers := _persons(authors, 0x0040A123, reading):
        body["performer"] = performers
    if interpreters := _persons(verified, 0x0040A075, reading):
        body["resultsInterpreter"] = interpreters
    if tree.results:
        body["result"] = [{"reference": one} for one in tree.results]
    if tree.conclusions:
        body["conclusion"] = long_text("\n".join(tree.conclusions))
    if tree.codes:
        body["conclusionCode"] = tree.codes
    for type_ in sorted(tree.unmapped):
        reading.note("structure", CONTENT, f"Content items of type {type_} are not mapped; they stay in the object.")
    reading.add(body, INSTANCE)


def _status(item: Item) -> str:
    """PS3.3 C.17.2: completeness and verification."""
    if item.text(0x0040A491) == "PARTIAL":
        return "partial"
    return "final" if item.text(0x0040A493) == "VERIFIED" else "preliminary"


def _persons(items: list[Item], tag: int, reading: Reading) -> list[Body]:
    from normalise.dicom.people import practitioner

    found = []
    for one in items:
        if one_line(name := one.text(tag)):
            found.append(practitioner(name, one.first(0x0040A088) or one.first(0x00401101), reading, tag))
    return [one for at, one in enumerate(found) if one not in found[:at]]


def _children(parent: Item, place: _Place, reading: Reading, tree: _Tree, depth: int) -> Iterator[str]:
    """Yield references to the Observations that the content items below one become, in their order."""
    if depth > _DEEPEST:
        raise set_aside("structure", parent.at(CONTENT), f"The tree of content items is deeper than {_DEEPEST}.")
    for at, one in enumerate(parent.items(CONTENT), 1):
        tree.items += 1
        if tree.items > _MOST:
            raise set_aside("oversize", parent.at(CONTENT), f"The report has more than {_MOST} content items.")
        yield from _item(one, _Place(place.below(at), place.site, place.concluding), reading, tree, depth)


def _item(one: Item, place: _Place, reading: Reading, tree: _Tree, depth: int) -> Iterator[str]:
    type_, name = one.text(_TYPE), code_of(one.first(_NAME))
    if name in _CONTEXT | _SITE | _TRACKING or one.text(_RELATION) == "HAS CONCEPT MOD":
        return  # said elsewhere: by the report, or by the Observation it qualifies
    if type_ == "CONTAINER":
        yield from _container(one, name, place, reading, tree, depth)
    elif type_ in ("NUM", "CODE", "TEXT", "DATE", "TIME", "DATETIME", "UIDREF"):
        _conclude(one, type_, name, place, tree)
        yield _observe(one, type_, place, reading, tree, depth)
    elif type_ not in ("IMAGE", "COMPOSITE", "WAVEFORM", "PNAME", ""):  # these point elsewhere
        tree.unmapped.add(type_ if type_.isalnum() else "unknown")


def _container(
    one: Item, name: tuple[str, str], place: _Place, reading: Reading, tree: _Tree, depth: int
) -> Iterator[str]:
    place = _Place(place.path, _found(one, _SITE) or place.site, place.concluding or name in _CONCLUSION_SECTIONS)
    members = list(_children(one, place, reading, tree, depth + 1))
    tracking = _tracking(one)
    if not members or not (name == _GROUP or tracking):
        yield from members
        return
    body = _observation(concept(one.first(_NAME)) or {"text": "Measurement Group"}, place, reading)
    if tracking:
        body["identifier"] = tracking
    body["hasMember"] = [{"reference": member} for member in members]
    yield reading.add(body, one.path)


def _tracking(one: Item) -> list[Body]:
    found = []
    for child in one.items(CONTENT):
        if code_of(child.first(_NAME)) in _TRACKING:
            uid, text = child.uid(0x0040A124), child.text(_TEXT)
            found.append(
                {"system": "urn:dicom:uid", "value": oid(uid) if is_oid(uid) else uid} if uid else {"value": text}
            )
    return [one for one in found if one.get("value")]


def _found(one: Item, names: frozenset[tuple[str, str]]) -> Body | None:
    """The code of the first child that has one of these concept names."""
    for child in one.items(CONTENT):
        if code_of(child.first(_NAME)) in names:
            return concept(child.first(_CODE))
    return None


def _conclude(one: Item, type_: str, name: tuple[str, str], place: _Place, tree: _Tree) -> None:
    if not (place.concluding or name in _CONCLUSIONS):
        return
    if type_ == "TEXT" and (text := one.text(_TEXT)):
        tree.conclusions.append(text)
    elif type_ == "CODE" and (code := concept(one.first(_CODE))):
        tree.codes.append(code)


def _observation(code: Body, place: _Place, reading: Reading) -> Body:
    body: Body = {
        "resourceType": "Observation",
        "id": reading.id_within("Observation", reading.uid, place.path),
        "status": "final" if _status(reading.item) == "final" else "preliminary",
        "category": [{"coding": [_CATEGORY]}],
        "code": code,
        "subject": {"reference": f"Patient/{reading.patient}"},
    }
    if place.site:
        body["bodySite"] = place.site
    if made := reading.moment(0x00080023, 0x00080033) or reading.moment(0x00080020, 0x00080030):
        body["effectiveDateTime"] = made
    return body


def _observe(one: Item, type_: str, place: _Place, reading: Reading, tree: _Tree, depth: int) -> str:
    site = _found(one, _SITE)
    place = _Place(place.path, site or place.site, place.concluding)
    body = _observation(concept(one.first(_NAME)) or {"text": "unnamed"}, place, reading)
    value = _value(one, type_, reading)
    body |= value or {"dataAbsentReason": {"coding": [{"system": _ABSENT, "code": "unknown"}]}}
    if made := stamp(one.text(0x0040A032), reading.zone, reading.offset):
        body["effectiveDateTime"] = made
    if method := _found(one, _METHOD):
        body["method"] = method
    if components := _modifiers(one):
        body["component"] = components
    members = [] if type_ == "UIDREF" else list(_members(one, place, reading, tree, depth))
    if members:
        body["hasMember"] = [{"reference": member} for member in members]
    return reading.add(body, one.path)


def _members(one: Item, place: _Place, reading: Reading, tree: _Tree, depth: int) -> Iterator[str]:
    """What is contained in or inferred for an item, but for what went into the item's own Observation."""
    if depth > _DEEPEST:
        raise set_aside("structure", one.at(CONTENT), f"The tree of content items is deeper than {_DEEPEST}.")
    for at, child in enumerate(one.items(CONTENT), 1):
        tree.items += 1
        if tree.items > _MOST:
            raise set_aside("oversize", one.at(CONTENT), f"The report has more than {_MOST} content items.")
        if code_of(child.first(_NAME)) not in _METHOD | _SIDE:
            below = _Place(place.below(at), place.site, place.concluding)
            yield from _item(child, below, reading, tree, depth + 1)


def _modifiers(one: Item) -> list[Body]:
    """Concept modifiers as components: what the concept name alone does not say (a derivation, a side)."""
    found = []
    for child in one.items(CONTENT):
        name = code_of(child.first(_NAME))
        modifies = child.text(_RELATION) == "HAS CONCEPT MOD" and name not in _SITE | _METHOD
        value, code = concept(child.first(_CODE)), concept(child.first(_NAME))
        if (modifies or name in _SIDE) and value and code:
            found.append({"code": code, "valueCodeableConcept": value})
    return found


def _value(one: Item, type_: str, reading: Reading) -> Body:
    """The value of a content item as ``value[x]``, or why there is none (PS3.3 C.18)."""
    if type_ == "NUM":
        return _quantity(one, reading)
    if type_ == "CODE":
        return {"valueCodeableConcept": code} if (code := concept(one.first(_CODE))) else {}
    if type_ == "TEXT":
        return {"valueString": text} if (text := long_text(one.text(_TEXT))) else {}
    if type_ == "UIDREF":
        return {"valueString": uid} if (uid := one.uid(0x0040A124)) else {}
    if type_ == "TIME":
        time = moment("20000101", one.text(0x0040A122), reading.zone)
        return {"valueTime": time[11:19]} if time and "T" in time else {}
    when = day(one.text(0x0040A121)) if type_ == "DATE" else stamp(one.text(0x0040A120), reading.zone, reading.offset)
    return {"valueDateTime": when} if when else {}


def _quantity(one: Item, reading: Reading) -> Body:
    measured = one.first(0x0040A300)
    if measured is not None:
        text = measured.text(0x0040A30A)
        value = number(text) if text else None
        if value is not None:
            return {"valueQuantity": {"value": value, **unit(measured.first(0x004008EA))}}
        if text:
            reading.note("bad_value", measured.at(0x0040A30A), "Expected a number; left out.")
    reason = concept(one.first(0x0040A301))
    return {"dataAbsentReason": reason} if reason else {}


__all__ = ["DCM", "add_report"]
