"""How much of HL7's own v2-to-FHIR inventory the mapping tables cover, segment by segment.

A row of the inventory (``segments/HL7_Segment_-_FHIR_R4__PID[Patient]_-_PID.csv``) with a target says: this field
stands in this element of that resource. It is covered where a row of our table of the segment and the resource reads
the same field into the same element, or where ``read_elsewhere.csv`` names the table or the module that does; it is
left out on purpose where ``left_out.csv`` says why; and open otherwise. The inventory is HL7's and stands outside.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from normalise.hl7v2.tables import FOLDER, rows

Answer = Literal["covered", "left out", "open"]

_NAME: Final = re.compile(r"__(?P<segment>\w{3})\[(?P<target>[\w-]+)\]_-_")
_FIELD: Final = re.compile(r"\w{3}-\d+")
_INNER: Final = re.compile(r"\(\[?\d*\]?(?P<type>[A-Z][A-Za-z]+)(?:\[\w*\])?\.\(?(?P<element>[A-Za-z]+)")
_ELEMENT: Final = re.compile(r"\$this|[A-Za-z]+")
#: Our tables that describe one element of the resource: which.
_ELEMENTS: Final = {
    "AIG-Appointment": "participant",
    "AIL-Appointment": "participant",
    "AIP-Appointment": "participant",
    "DG1-Encounter": "diagnosis",
    "DG1-EpisodeOfCare": "diagnosis",
    "NK1-Patient": "contact",
    "NTE-Annotation": "note",
    "PRT-CareTeam": "participant",
    "PRT-Encounter": "participant",
    "ROL-CareTeam": "participant",
    "ROL-Encounter": "participant",
}
#: Columns of the inventory's sheets: the field, and the FHIR attribute.
_FIELD_AT, _ATTRIBUTE_AT = 1, 9


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the inventory that has a target.

    Attributes:
        map: The sheet: ``PID[Patient]``.
        field: ``PID-7``.
        attribute: ``birthDate``, as the inventory writes it.
        answer: Whether our tables cover it.
        where: The table or module that reads it, or why it is left out, or ``""``.
    """

    map: str
    field: str
    attribute: str
    answer: Answer
    where: str

    @property
    def segment(self) -> str:
        """The segment's three letters."""
        return self.map[:3]


class NoInventory(Exception):
    """There is no inventory in the folder: nothing can be compared with it."""


def inventory(folder: Path) -> list[Target]:
    """Return every row of the inventory that has a target, with our answer.

    Args:
        folder: The inventory: it holds ``segments/*.csv``.

    Raises:
        NoInventory: It holds none.
    """
    sheets = sorted((folder / "segments").glob("*.csv"))
    named = [(match["segment"], match["target"], path) for path in sheets if (match := _NAME.search(path.name))]
    if not named:
        raise NoInventory(f"no sheets segments/HL7_Segment_-_FHIR_R4__…[…]_-_….csv in {folder}")
    return [
        _answered(f"{segment}[{target}]", target.partition("-")[0], field, attribute)
        for segment, target, path in named
        for field, attribute in _targets(path)
    ]


def _targets(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in list(csv.reader(stream))[2:]:
            cells = [cell.strip() for cell in row]
            if len(cells) > _ATTRIBUTE_AT and cells[_ATTRIBUTE_AT] and _FIELD.fullmatch(cells[_FIELD_AT]):
                yield cells[_FIELD_AT], cells[_ATTRIBUTE_AT]


def _answered(map_: str, type_: str, field: str, attribute: str) -> Target:
    table = _by_table(type_, field, attribute)
    if table:
        return Target(map_, field, attribute, "covered", table)
    for answer, name, column in (("covered", "read_elsewhere.csv", "where"), ("left out", "left_out.csv", "reason")):
        for row in _decisions(name):
            if row["map"] == map_ and row["field"] in ("", field) and attribute.startswith(row["attribute"]):
                return Target(map_, field, attribute, answer, row[column])  # type: ignore[arg-type]
    return Target(map_, field, attribute, "open", "")


def _by_table(type_: str, field: str, attribute: str) -> str:
    """The table that reads the field into the element; an attribute inside another resource is that resource's."""
    segment = field[:3]
    for inner in _INNER.finditer(attribute):
        if inner["element"] in _filled(f"{segment}-{inner['type']}", field):
            return f"{segment}-{inner['type']}.csv"
    table = f"{segment}-{type_}"
    path = _ELEMENT.findall(attribute)
    element = _ELEMENTS.get(table)
    if element is not None and path[0] == element and len(path) > 1:
        del path[0]
    filled = _filled(table, field)
    return f"{table}.csv" if path[0] in filled or "$this" in filled else ""


@cache
def _filled(table: str, field: str) -> frozenset[str]:
    """The elements of the resource that rows of a table fill from a field."""
    if not (FOLDER / "segments" / f"{table}.csv").exists():
        return frozenset()
    found = (_ELEMENT.search(row["path"].lstrip("_")) for row in rows(f"segments/{table}.csv") if row["field"] == field)
    return frozenset(match[0] for match in found if match)


@cache
def _decisions(name: str) -> tuple[dict[str, str], ...]:
    return tuple(rows(name))
