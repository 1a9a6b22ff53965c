"""The mapping tables of ``schemas/cda``, read once at import, and the digest that names their version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from normalise.tables import SCHEMAS, read_rows, version

FOLDER: Final = SCHEMAS / "cda"


@dataclass(frozen=True, slots=True)
class Term:
    """What a code is in FHIR."""

    code: str
    display: str
    system: str


@dataclass(frozen=True, slots=True)
class Assigner:
    """Who assigns the identifiers under an OID.

    Attributes:
        uri: The system of its identifiers, ``""`` where every institution assigns its own under that OID.
        type: Their type (HL7 table 0203), or ``""``.
        display: What they are called.
    """

    uri: str
    type: str
    display: str


@dataclass(frozen=True, slots=True)
class SectionRule:
    """One row of ``sections.csv``: what a section is called in ``entries.csv`` and what it says of its entries.

    Attributes:
        key: Its name here.
        title: What it is called where it has no title.
        category: Observation.category of its observations, or ``""``.
        condition: Condition.category of its conditions, or ``""``.
    """

    key: str
    title: str
    category: str
    condition: str


@dataclass(frozen=True, slots=True)
class EntryRule:
    """One row of ``entries.csv``: which statements a table reads; an empty cell takes all.

    Attributes:
        element: ``observation``, ``act`` …
        template: OID of a template that it must conform to.
        mood: Its moodCode is one of these.
        code: Its code is one of these.
        section: It stands in a section of one of these keys.
        table: The table that makes a resource of it; ``""`` where only ``inner`` is read.
        inner: Path of statements inside that are read instead, or beside.
    """

    element: str
    template: str
    mood: frozenset[str]
    code: frozenset[str]
    section: frozenset[str]
    table: str
    inner: str


@dataclass(frozen=True, slots=True)
class DataElement:
    """One row of ``data_elements.csv``: what a data element of WS 363 (``DE04.10.174.00``) becomes.

    Attributes:
        name: What the standard calls it.
        table: The table that makes a resource of it.
        term: Code that stands beside the data element's own, or None.
        category: Observation.category, or ``""``.
        unit: UCUM unit where the sender gives none.
    """

    name: str
    table: str
    term: Term | None
    category: str
    unit: str


def rows(name: str) -> Iterator[dict[str, str]]:
    """Return the rows of one table of ``schemas/cda``."""
    return read_rows(FOLDER / name)


def _vocabularies() -> dict[str, dict[tuple[str, str], Term]]:
    found: dict[str, dict[tuple[str, str], Term]] = {}
    for row in rows("vocabularies.csv"):
        term = Term(row["target"], row["display"], row["system"])
        found.setdefault(row["vocabulary"], {})[row["source"], row["code"]] = term
    return found


def _sections() -> dict[str, SectionRule]:
    """Section rules by LOINC code and by the OID of their template."""
    found: dict[str, SectionRule] = {}
    for row in rows("sections.csv"):
        rule = SectionRule(row["key"], row["title"], row["category"], row["condition"])
        found.update(dict.fromkeys((*row["loinc"].split(), *row["templates"].split()), rule))
    return found


def _entries() -> tuple[EntryRule, ...]:
    return tuple(
        EntryRule(
            row["element"],
            oid(row["template"]) if row["template"] else "",
            frozenset(row["mood"].split()),
            frozenset(row["code"].split()),
            frozenset(row["section"].split()),
            row["table"],
            row["inner"],
        )
        for row in rows("entries.csv")
    )


def _data_elements() -> dict[str, DataElement]:
    return {
        row["element"]: DataElement(
            row["name"],
            row["table"],
            Term(row["code"], row["display"], row["system"]) if row["code"] else None,
            row["category"],
            row["unit"],
        )
        for row in rows("data_elements.csv")
    }


def oid(name: str) -> str:
    """Return the OID of a template by the name it has in ``templates.csv``.

    Raises:
        ValueError: There is none of this name.
    """
    if name[:1].isdigit():
        return name
    if name not in TEMPLATES:
        raise ValueError(f"template {name!r} is not in schemas/cda/templates.csv")
    return TEMPLATES[name]


MAPPING: Final = version("cda", FOLDER.rglob("*.csv"), "cda", "hl7v2")
TEMPLATES: Final = MappingProxyType({row["name"]: row["oid"] for row in rows("templates.csv")})
DOCUMENTS: Final = MappingProxyType({row["template"]: row["name"] for row in rows("documents.csv")})
REPORTS: Final = MappingProxyType({row["template"]: row["report"] for row in rows("documents.csv") if row["report"]})
CODE_SYSTEMS: Final = MappingProxyType({row["oid"]: row["uri"] for row in rows("code_systems.csv")})
ASSIGNERS: Final = MappingProxyType(
    {row["oid"]: Assigner(row["uri"], row["type"], row["display"]) for row in rows("assigners.csv")}
)
VOCABULARIES: Final = MappingProxyType(_vocabularies())
UNITS: Final = MappingProxyType({row["written"]: row["ucum"] for row in rows("units.csv")})
SECTIONS: Final = MappingProxyType(_sections())
ENTRIES: Final = _entries()
DATA_ELEMENTS: Final = MappingProxyType(_data_elements())


def find(vocabulary: str, code: str, system: str = "") -> Term | None:
    """Return what a code is in a vocabulary: by the OID of its code system first, then whatever its system."""
    terms = VOCABULARIES[vocabulary]
    return terms.get((system, code)) or terms.get(("", code))
