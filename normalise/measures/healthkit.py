"""HealthKit's types as measures: the rows of ``healthkit.csv``, which Apple's exports and Granola's samples share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from normalise.measures.observing import Sample
from normalise.measures.tables import MEASURES, number, quantity, rows

SLEEP: Final = "HKCategoryTypeIdentifierSleepAnalysis"
_SLEEP_VALUE: Final = "HKCategoryValueSleepAnalysis"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of ``healthkit.csv``.

    Attributes:
        measures: Measures it may be; the unit that comes decides.
        unit: Unit that its number has once scaled, or ``""`` for the unit that comes.
        scale: What its number is multiplied by: HealthKit writes 97 % as 0.97.
        sums: Whether samples of the same time from several devices count the same thing, so that adding them up
            would count it twice.
    """

    measures: tuple[str, ...]
    unit: str
    scale: Decimal
    sums: bool


KINDS: Final = MappingProxyType(
    {
        row["type"]: Kind(tuple(row["measures"].split()), row["unit"], Decimal(row["scale"] or 1), row["sum"] == "sum")
        for row in rows("healthkit.csv")
    }
)


def chosen(measures: tuple[str, ...], value: Any, unit: str) -> str:
    """Return the first of the measures that may be given in the unit, else the first."""
    found = number(value)
    if len(measures) > 1 and found is not None:
        for name in measures:
            if quantity(MEASURES[name], found, unit) is not None:
                return name
    return measures[0]


def sample(type_: str, value: Any, unit: str, where: str) -> Sample | None:
    """Return the sample of a quantity type, or None where no table has it."""
    kind = KINDS.get(type_)
    if kind is None:
        return None
    found = number(value)
    if found is not None and kind.scale != 1:
        # Some apps write a percentage where HealthKit asks for a share; no share is above 1.5.
        value, unit = (found * kind.scale if abs(found) <= Decimal("1.5") else found), kind.unit
    return Sample(chosen(kind.measures, value, unit), value, unit, where)


def slept(value: str, start: datetime, end: datetime, where: str) -> Sample | None:
    """Return the time spent in a phase of sleep, in seconds, or None where the phase is none that is known."""
    kind = KINDS.get(value if value.startswith(_SLEEP_VALUE) else _SLEEP_VALUE + value)
    if kind is None:
        return None
    return Sample(kind.measures[0], Decimal(str((end - start).total_seconds())), "s", where)
