"""Resources with a mark in every text: what FHIR's models know of a type, all of it filled, all choices at once."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from quality.definitions import Element, definition
from simulators.people import check_character

#: Deeper than any element of the listed types that is not an extension in an extension.
DEPTH = 6
DATES = {
    "date": "{:04d}-03-17",
    "dateTime": "{:04d}-03-17T04:05:06+08:00",
    "instant": "{:04d}-03-17T04:05:06.789+08:00",
}


def resident(number: int) -> str:
    """Return a resident identity number, with its check character, for each number; the area was never given out."""
    digits = f"110199{1930 + number % 70}{1 + number // 70 % 12:02d}{1 + number // 840 % 28:02d}{number // 23520:03d}"
    return digits + check_character(digits)


#: How a mark looks, by its number, and how it is found again: what hides in texts, codes and ids.
KINDS: dict[str, tuple[Callable[[int], str], str]] = {
    "name": (lambda n: f"欧阳{chr(0x4E00 + n)}喆", "欧阳.喆"),
    "latin name": (lambda n: f"Zhangwei{n}", r"Zhangwei\d+"),
    "mobile": (lambda n: f"199{n:08d}", r"199\d{8}"),
    "foreign telephone": (lambda n: f"+44 20 7946 {n:05d}", r"\+44 20 7946 \d{5}"),
    "resident number": (resident, r"110199\d{11}[\dX]"),
    "record number": (lambda n: f"MRN-{n:06d}x", r"MRN-\d{6}x"),
    "url": (lambda n: f"https://mark.example/p/{n:06d}", r"https://mark\.example/p/\d{6}"),
    "mail": (lambda n: f"mark{n:06d}@example.org", r"mark\d{6}@example\.org"),
    "digits": (lambda n: f"{7000000 + n}", r"70\d{5}"),
}


class Planter:
    """Makes resources; remembers each mark and where it was put."""

    def __init__(self, kind: str, system: str) -> None:
        self.marks: dict[str, str] = {}
        self._make, self._form = KINDS[kind]
        self._system = system

    def mark(self, place: str) -> str:
        """Return a mark that stands nowhere else."""
        text = self._make(len(self.marks))
        self.marks[text] = place
        return text

    def resource(self, kind: str) -> dict[str, Any]:
        """Return a resource of a type with everything in it that FHIR knows."""
        body = self._filled(kind, kind, 0)
        body["id"] = self.mark(f"{kind}.id")
        body["contained"] = [
            {"resourceType": "Practitioner", "id": "inside", "name": [{"text": self.mark("contained name")}]},
            {"resourceType": "Observation", "id": "other", "valueString": self.mark("contained value")},
            {
                "resourceType": "Basic",
                "id": self.mark("contained id"),
                "author": {"display": self.mark("contained who")},
            },
        ]
        body["madeUp"] = {"nobody": self.mark("element that FHIR has not")}
        body[self.mark("name of an element")] = "x"
        body["resourceType"] = kind
        return body

    def _filled(self, kind: str, place: str, depth: int) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for element in definition(kind).elements:
            if element.name in ("modifierExtension", "implicitRules", "contained"):
                continue  # with them nothing leaves at all: a test of its own
            where = f"{place}.{element.name}"
            value = self._value(kind, element, where, depth)
            if value is None:
                continue
            body[element.name] = [value] if element.many else value
            if element.primitive and element.name != "id" and depth < 3:
                twin = {"id": self.mark(f"{where} (id beside)"), "extension": self._extensions(f"{where} (beside)")}
                body[f"_{element.name}"] = [twin] if element.many else twin
        return body

    def _value(self, owner: str, element: Element, where: str, depth: int) -> Any:
        if element.name == "extension":
            if depth > 2:
                return None
            return {"url": self.mark(where), "valueString": self.mark(where), "valueCode": self.mark(where)}
        if element.primitive:
            return self._primitive(owner, element, where)
        if element.name == "assigner":
            return {"display": self.mark(where), "reference": self.mark(where)}
        if depth >= DEPTH or element.type in ("Resource", "Extension", "Element"):
            return None
        return self._filled(element.type, where, depth + 1)

    def _primitive(self, owner: str, element: Element, where: str) -> Any:
        kind = element.type
        if kind == "boolean":
            return True
        if kind in ("integer", "positiveInt", "unsignedInt", "integer64"):
            return 3
        if kind == "decimal":
            return 1.5
        if kind in DATES:
            # Each date has a day of its own in no other year of the marks.
            year = 1000 + len(self.marks) % 900
            text = DATES[kind].format(year)
            self.marks[text[:10]] = where
            return text
        if kind == "time":
            return "04:05:06"
        if kind == "base64Binary":
            return base64.b64encode(self.mark(where).encode()).decode()
        if element.codes:
            return element.codes[0]
        if element.name == "system" and owner in ("Coding", "Quantity", "Age", "Count", "Duration", "Distance"):
            return self._system
        return self.mark(where)

    def _extensions(self, where: str) -> list[dict[str, Any]]:
        return [{"url": self.mark(where), "valueString": self.mark(where)}]

    def found(self, text: str) -> list[str]:
        """Return where the marks had been put that a text holds."""
        marks = re.findall(self._form, text)
        dates = re.findall(r"1\d{3}-03-17", text)
        return [self.marks[one] for one in (*marks, *dates) if one in self.marks]
