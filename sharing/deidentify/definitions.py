"""What FHIR R4 says of the elements of a type, read from ``schemas/deidentify/definitions.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from sharing.deidentify.tables import HERE

#: Elements that are not rules' business: every resource or element has them, and they are handled once for all.
BUILT_IN: Final = frozenset({"id", "meta", "implicitRules", "language", "contained", "extension", "modifierExtension"})
ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type; of a choice each of its types is one.

    Attributes:
        type: FHIR type; ``BackboneElement`` and ``Element`` have elements of their own below.
        many: It repeats.
        required: FHIR demands it; of a choice, one of it.
        modifier: It changes what other elements mean.
        codes: The only codes that FHIR allows; empty where it does not enumerate them.
        choice: The stem that the types of a choice share (``value``), or "".
        path: Its path below the type that defines it, where its own elements are found.
    """

    type: str
    many: bool
    required: bool
    modifier: bool
    codes: frozenset[str]
    choice: str
    path: str

    @property
    def primitive(self) -> bool:
        """Whether JSON has a plain value for it."""
        return self.type[0].islower()


@cache
def _definitions() -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = orjson.loads((HERE / "definitions.json").read_bytes())
    return found


def is_type(name: str) -> bool:
    """Whether FHIR R4 has a type of that name."""
    return name in _definitions()


@cache
def elements(type_: str, below: str = "") -> Mapping[str, Element]:
    """Return the elements right below ``type_`` or below a path in it, by name.

    Raises:
        KeyError: FHIR R4 has no such type.
    """
    prefix = f"{below}." if below else ""
    found: dict[str, Element] = {}
    for path, (kind, many, required, modifier, codes, choice) in _definitions()[type_].items():
        name = path.removeprefix(prefix)
        if path.startswith(prefix) and "." not in name:
            # A reference to another element's content: ``#section`` of Composition.section.section.
            nested = kind[1:] if kind[0] == "#" else path
            kind = "BackboneElement" if kind[0] == "#" else kind
            found[name] = Element(kind, many, required, modifier, frozenset(codes), choice, nested)
    return found


@cache
def resource_types() -> frozenset[str]:
    """Return the names of all resource types."""
    return frozenset(name for name, found in _definitions().items() if "implicitRules" in found)
