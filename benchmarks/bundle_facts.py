"""What a FHIR bundle says, fact by fact, whoever converted it: see ``hl7v2_facts.py`` for what a fact is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")
#: Written by each converter in its own way.
_OWN = {"id", "meta", "text", "resourceType", "contained", "display", "system", "url", "div", "_recorded", "assigner"}
#: Codes that stand in an element of their own.
_CODES = {"status", "docStatus", "intent", "priority", "severity", "criticality", "category", "type", "when"}
#: Who refers to an Organization that is known only as the sender or receiver of the message.
_CARRYING = ("MessageHeader.", "Organization.partOf", "Provenance.agent")
#: Elements of FHIR whose texts are values.
_VALUES = ("valueString", "valueInteger", "valueBoolean", "valueTime", "valueDecimal")


class Fact(NamedTuple):
    """One thing that a bundle says."""

    kind: str
    type: str
    element: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind:10} {self.type}.{self.element} {self.value[:100]}"


class Bundle:
    """The resources of one bundle, and what each is known by."""

    def __init__(self, resources: Iterable[dict[str, Any]]) -> None:
        self.resources = list(resources)
        self._by_id = {f"{one['resourceType']}/{one.get('id')}": one for one in self.resources}
        self._referring: dict[str, set[str]] = {}
        for one in self.resources:
            for element, reference in _references(one["resourceType"], one):
                if not element.startswith("Provenance.target"):  # it is about every resource
                    self._referring.setdefault(reference, set()).add(element)

    def facts(self) -> set[Fact]:
        """Return everything that the bundle says."""
        return {fact for one in self.resources for fact in self._of(one)}

    def _of(self, resource: dict[str, Any]) -> Iterator[Fact]:
        type_ = self._role(resource)
        for name, value in resource.items():
            if name not in _OWN:
                yield from (Fact(kind, type_, element, said) for kind, element, said in self._walk(name, name, value))

    def _role(self, resource: dict[str, Any]) -> str:
        """The type, and for an Organization that only assigns numbers or carries messages, what it is there for."""
        type_: str = resource["resourceType"]
        referring = self._referring.get(f"{type_}/{resource.get('id')}", set())
        if type_ == "Organization" and referring and all(one.endswith(".assigner") for one in referring):
            return "Assigner"
        if type_ == "Organization" and all(one.startswith(_CARRYING) for one in referring):
            return "Carrier"
        return type_

    def _walk(self, top: str, name: str, value: Any) -> Iterator[tuple[str, str, str]]:
        if isinstance(value, list):
            for one in value:
                yield from self._walk(top, name, one)
        elif isinstance(value, dict):
            yield from self._object(top, name, value)
        elif name in ("birthDate", "gender"):
            yield name, top, str(value)
        elif isinstance(value, str) and _DATE.fullmatch(value) and name not in ("value", "code", "name"):
            yield "date", _path(top, name), instant(value)
        elif name in _CODES and isinstance(value, str):
            yield "code", _path(top, name), value
        elif name in _VALUES or isinstance(value, bool | int | float):
            yield "value", _path(top, name), plain(value)
        elif name == "name" and isinstance(value, str):
            yield "name", top, plain(value)

    def _object(self, top: str, name: str, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        if isinstance(value.get("reference"), str):
            for said in self._target(value["reference"], set()):
                yield "reference", _path(top, name), said
            return
        if name == "identifier" or name.endswith("Identifier"):
            if value.get("value"):
                yield "identifier", top, plain(value["value"])
            yield from self._walk(top, "type", value.get("type", {}))
            return
        if name in ("name", "alias") and ("family" in value or "given" in value or "text" in value):
            yield from _human(top, value)
            yield from self._walk(top, "period", value.get("period", {}))
            return
        if "currency" in value or ("value" in value and isinstance(value["value"], int | float)):
            ucum = value.get("code") if value.get("system") == "http://unitsofmeasure.org" else ""
            unit = value.get("currency") or ucum or value.get("unit") or value.get("code") or ""
            yield "value", _path(top, name), f"{value.get('comparator', '')}{plain(value['value'])} {unit}".strip()
            return
        if value.get("code") and isinstance(value["code"], str):
            yield "code", top, plain(value["code"])
        for key, inner in value.items():
            if key not in _OWN and not (key == "code" and isinstance(inner, str)):
                yield from self._walk(top, key, inner)

    def _target(self, reference: str, seen: set[str]) -> Iterator[str]:
        """What a reference points at: its type, and the identifier, name or code that it is known by.

        A role stands for whoever has it.
        """
        found = self._by_id.get(reference)
        if found is None or reference in seen:
            yield reference.partition("/")[0]
        elif found["resourceType"] == "PractitionerRole":
            for name in ("practitioner", "organization"):
                if name in found and "reference" in found[name]:
                    yield from self._target(found[name]["reference"], seen | {reference})
                    return
            yield "PractitionerRole"
        else:
            yield f"{found['resourceType']} {known_by(found)}".strip()


def _references(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each reference, and the path of elements that it stands in."""
    if isinstance(value, list):
        for one in value:
            yield from _references(path, one)
    elif isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield path, value["reference"]
        for key, inner in value.items():
            yield from _references(f"{path}.{key}", inner)


def known_by(resource: dict[str, Any]) -> str:
    """Return the identifier, else the name, else the code that a resource is known by."""
    named_first = resource["resourceType"] in ("Location", "Organization")
    for element in ("identifier", "masterIdentifier"):
        values = resource.get(element, [])
        for one in values if isinstance(values, list) else [values]:
            if one.get("value") and not (named_first and resource.get("name")):
                return plain(one["value"])
    name = resource.get("name")
    if isinstance(name, list) and name:
        return plain(name[0].get("family") or name[0].get("text", ""))
    if isinstance(name, str):
        return plain(name)
    for element in ("code", "vaccineCode", "medicationCodeableConcept"):
        coding = resource.get(element, {}).get("coding") if isinstance(resource.get(element), dict) else None
        if coding:
            return plain(coding[0].get("code", ""))
    return ""


def _path(top: str, name: str) -> str:
    return top if top == name or name in ("coding", "reference") else f"{top}.{name}"


def _human(top: str, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if value.get("family"):
        yield "name", f"{top}.family", plain(value["family"])
    for part in ("given", "prefix", "suffix"):
        for one in value.get(part, ()):
            yield "name", f"{top}.{part}", plain(one)


def plain(value: Any) -> str:
    """Return a value as both sides write it: numbers as numbers, blanks as one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(float(value)).removesuffix(".0")
    return " ".join(str(value).split())


def instant(value: str) -> str:
    """Return a time as its instant, a date as it is."""
    if "T" not in value:
        return value
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except ValueError:
        return value
