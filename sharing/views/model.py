"""What FHIR R4 says of an element: its type, and whether it repeats.

It decides what a date is (in JSON they are strings), lets a view name its faults before any resource is read, and
never what a path finds: an element that R4 does not know is looked up all the same.
Source: ``schemas/fhir/elements.csv``, derived from the official definitions.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import schemas

TEMPORAL: Final = frozenset({"date", "dateTime", "instant", "time"})
NUMBERS: Final = frozenset({"decimal", "integer", "integer64", "positiveInt", "unsignedInt"})
TEXTS: Final = TEMPORAL | {
    "base64Binary",
    "canonical",
    "code",
    "id",
    "markdown",
    "oid",
    "string",
    "uri",
    "url",
    "uuid",
    "xhtml",
}
PRIMITIVE: Final = NUMBERS | TEXTS | {"boolean"}
#: Primitives that extend others (FHIR R4, 2.24.0.1).
_EXTENDED: Final = {
    **dict.fromkeys(("code", "id", "markdown"), "string"),
    **dict.fromkeys(("url", "canonical", "uuid", "oid"), "uri"),
    **dict.fromkeys(("positiveInt", "unsignedInt"), "integer"),
}
_SYSTEM: Final = {
    "String": "string",
    "Boolean": "boolean",
    "Integer": "integer",
    "Decimal": "decimal",
    "Date": "date",
    "DateTime": "dateTime",
    "Time": "time",
}


@dataclass(frozen=True, slots=True)
class Element:
    """One element.

    Attributes:
        type: Its FHIR type, or its own path where it is a backbone; "" for one of several types.
        many: Whether it repeats.
        choices: Types it can have, where there are several.
    """

    type: str
    many: bool
    choices: tuple[str, ...] = ()


@cache
def _table() -> tuple[Mapping[str, str], Mapping[str, Element], Mapping[str, tuple[str, ...]]]:
    """Return every type's base, every element by path, and the types of every choice by its stem."""
    bases: dict[str, str] = {}
    elements: dict[str, Element] = {}
    stems: dict[str, dict[str, None]] = {}
    path = Path(schemas.__file__).parent / "fhir" / "elements.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        for name, types, most in csv.reader(stream):
            if not most:
                bases[name] = types
            elif name.endswith("[x]"):
                choices = tuple(types.split())
                elements[name[:-3]] = Element("", most == "*", choices)
                stems.setdefault(name[:-3].rpartition(".")[2], {}).update(dict.fromkeys(choices))
            else:
                elements[name] = Element(_type(name, types), most == "*")
    return bases, elements, {stem: tuple(found) for stem, found in stems.items()}


def _type(path: str, types: str) -> str:
    if types.startswith("#"):
        return types[1:]
    return path if types in ("BackboneElement", "Element") else _SYSTEM.get(types, types)


def is_type(name: str) -> bool:
    """Whether R4 has a type of that name."""
    return name in PRIMITIVE or name in _table()[0]


def is_resource(name: str) -> bool:
    """Whether it is a type of resource."""
    return "Resource" in ancestry(name)


@cache
def resources() -> tuple[str, ...]:
    """Return the types of resources."""
    return tuple(name for name in _table()[0] if is_resource(name))


def ancestry(name: str) -> tuple[str, ...]:
    """Return a type and what it extends, nearest first."""
    bases, found = _table()[0], [name]
    while base := bases.get(found[-1], _EXTENDED.get(found[-1], "")):
        found.append(base)
    return tuple(found)


def element(parent: str, name: str) -> Element | None:
    """Return an element of a type or backbone; None where R4 has none of that name.

    Args:
        parent: A type's name or a backbone's path.
        name: The element's; that of one choice (``valueQuantity``) is found, too.
    """
    elements = _table()[1]
    owners = (parent, "BackboneElement", "Element") if "." in parent else ancestry(parent)
    for owner in owners:
        if found := elements.get(f"{owner}.{name}"):
            return found
    for at in range(1, len(name)):
        if name[at].isupper():
            for owner in owners:
                whole = elements.get(f"{owner}.{name[:at]}")
                for type_ in whole.choices if whole else ():
                    if name[at:] == capitalised(type_):
                        return Element(type_, False)
    return None


def choices(stem: str) -> tuple[str, ...]:
    """Return the types of any element ``<stem>[x]`` of R4; none where there is no such element."""
    return _table()[2].get(stem, ())


def capitalised(type_: str) -> str:
    """Return a type as it stands in an element's name: ``valueDateTime``."""
    return type_[:1].upper() + type_[1:]


def system(name: str) -> str:
    """Return FHIR's name of a type of FHIRPath (``String`` is ``string``), and any other as it is."""
    return _SYSTEM.get(name, name)
