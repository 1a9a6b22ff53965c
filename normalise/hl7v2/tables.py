"""The mapping tables of ``schemas/hl7v2``, read once at import, and the digest that names their version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, cast

from normalise.tables import SCHEMAS, read_rows, version

FOLDER: Final = SCHEMAS / "hl7v2"

#: Tables about the mapping, which change nothing of it.
_ABOUT: Final = frozenset({"left_out.csv", "read_elsewhere.csv"})
#: ``update`` for news, ``ensure`` for what is only mentioned.
Mode = Literal["update", "ensure"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of ``kinds.csv``: how messages of one kind are checked and read.

    Attributes:
        mode: What they say of patients and visits themselves.
        patients: Whether they may be about ``one`` or ``many``.
        needs: Segments of which at least one must be there; empty for none.
        check: Name of the check of ``checks.py`` that they must pass, or ``""``.
        groups: Names of the groups of ``grammar.py`` that read their segments.
    """

    mode: Mode
    patients: str
    needs: frozenset[str]
    check: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One row of ``events.csv``: what a message of this type and event is news about.

    Attributes:
        message: MSH-9.1.
        code: MSH-9.2.
        kind: A row of ``kinds.csv``.
        status: Encounter.status that the event itself says, or ``""``.
        visit: Whether PV1 is ``required``, ``optional``, read where it names a visit by number or time (``named``), or
            ``ignored``.
    """

    message: str
    code: str
    kind: str
    status: str
    visit: str


@dataclass(frozen=True, slots=True)
class Term:
    """What a code of an HL7 table is in FHIR."""

    code: str
    display: str
    system: str


class Vocabulary:
    """One map from the codes of a source table to FHIR codes; other tables may map to the same codes."""

    __slots__ = ("_by_source", "_default", "_main", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._main: str | None = None
        self._default: dict[str, Term] = {}
        self._by_source: dict[str, dict[str, Term]] = {}

    def add(self, source: str, code: str, term: Term) -> None:
        """The code of the source maps to the term; the first source is the one meant when none is named."""
        if self._main is None:
            self._main = source
        table = self._by_source.setdefault(table_key(source), {})
        table[code] = term
        if source == self._main:
            self._default = table

    def find(self, code: str, source: str = "") -> Term | None:
        """Return the term for a code of the named source table, or None where the map does not know it."""
        table = self._by_source.get(table_key(source)) if source else self._default
        if table is None:
            return None
        return table.get(code) or table.get(code.upper())


@lru_cache(maxsize=4096)
def table_key(name: str) -> str:
    """Return a table's name as it is compared: no spaces, capitals, no year of edition."""
    name = name.upper().replace(" ", "")
    head, dash, tail = name.rpartition("-")
    return head if dash and head.startswith("GB/T") and tail.isdigit() else name


def rows(name: str) -> Iterator[dict[str, str]]:
    """Return the rows of one table of ``schemas/hl7v2``."""
    return read_rows(FOLDER / name)


def _vocabularies() -> dict[str, Vocabulary]:
    found: dict[str, Vocabulary] = {}
    for row in rows("vocabularies.csv"):
        vocabulary = found.setdefault(row["vocabulary"], Vocabulary(row["vocabulary"]))
        vocabulary.add(row["source"], row["code"], Term(row["target"], row["display"], row["system"]))
    return found


def _kinds() -> dict[str, Kind]:
    return {
        row["kind"]: Kind(
            cast(Mode, row["mode"]),
            row["patients"],
            frozenset(row["needs"].split()),
            row["check"],
            tuple(row["groups"].split()),
        )
        for row in rows("kinds.csv")
    }


def _events() -> dict[tuple[str, str], Event]:
    return {
        (row["message"], row["event"]): Event(row["message"], row["event"], row["kind"], row["status"], row["visit"])
        for row in rows("events.csv")
    }


MAPPING: Final = version("hl7v2", (one for one in FOLDER.rglob("*.csv") if one.name not in _ABOUT), "hl7v2")
VOCABULARIES: Final = MappingProxyType(_vocabularies())
KINDS: Final = MappingProxyType(_kinds())
EVENTS: Final = MappingProxyType(_events())
CODE_SYSTEMS: Final = MappingProxyType({table_key(row["name"]): row["uri"] for row in rows("code_systems.csv")})
ASSIGNERS: Final = MappingProxyType({row["name"]: (row["uri"], row["display"]) for row in rows("assigners.csv")})
VALUE_READERS: Final = MappingProxyType({row["type"]: row["reader"] for row in rows("values.csv")})
PATIENT_NUMBERS: Final = tuple(row["type"] for row in rows("patient_numbers.csv"))
SURNAMES: Final = MappingProxyType({row["kind"]: row["names"] for row in rows("surnames.csv")})
CHARSETS: Final = MappingProxyType(
    {"".join(filter(str.isalnum, row["name"].upper())): row["codec"] for row in rows("charsets.csv")}
)
