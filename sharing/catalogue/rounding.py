"""Numbers as they may be told to everybody: in tens, and nothing of fewer than ten patients.

A cell that may not be told is put together with the smallest other ones until ten patients stand behind it, so that no
subtraction from a total brings it back: there is nothing hidden to compute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

#: Patients behind every number, at least. Also the step that numbers are rounded to.
FEW: Final = 10
HIDDEN: Final = f"<{FEW}"
Told = int | str


def tens(count: int) -> int:
    """Return the nearest multiple of ten, halves upwards."""
    return (count + FEW // 2) // FEW * FEW


def told(count: int, patients: int | None = None) -> Told:
    """Return a number as it may be told: rounded, or ``<10``.

    Args:
        count: The number; 0 may be told.
        patients: How many stand behind it; the number itself where it counts them.
    """
    behind = count if patients is None else patients
    return tens(count) if count == 0 or behind >= FEW else HIDDEN


@dataclass(slots=True)
class Cell:
    """One part of a total.

    Attributes:
        names: What it is the count of; several where parts were put together.
        records: How many.
        patients: Whose they are.
    """

    names: tuple[str, ...]
    records: int = 0
    patients: set[bytes] = field(default_factory=set)

    @property
    def few(self) -> bool:
        """Whether too few patients stand behind it."""
        return len(self.patients) < FEW


def tellable(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells of the same sum, in order of name, that may all be told, or one that may not.

    Those of few patients become one cell, which takes the smallest of the others along until it is of enough.
    """
    found = list(cells)
    few, enough = [one for one in found if one.few], [one for one in found if not one.few]
    if not few:
        return sorted(found, key=lambda one: one.names)
    enough.sort(key=lambda one: (-len(one.patients), -one.records, one.names))
    together = _together(few)
    while together.few and enough:
        together = _together([together, enough.pop()])
    return sorted([*enough, together], key=lambda one: one.names)


def _together(cells: list[Cell]) -> Cell:
    names = sorted(name for one in cells for name in one.names)
    return Cell(tuple(names), sum(one.records for one in cells), set().union(*(one.patients for one in cells)))
