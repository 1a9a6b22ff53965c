"""The tables of ``schemas/wearables``: measures, units and conversions, read once, and the version of a mapping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final

from normalise.tables import SCHEMAS, read_rows, version

FOLDER: Final = SCHEMAS / "wearables"
LOINC: Final = "http://loinc.org"
#: What no code system has a code for that this project is sure of.
LOCAL: Final = "urn:xinglin:fhir:CodeSystem:measure"
_LONGEST_NUMBER: Final = 64
_PROFILES: Final = "http://hl7.org/fhir/StructureDefinition/"


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of ``measures.csv``.

    Attributes:
        name: How the tables call it.
        system: Of its code.
        code: Its code.
        display: The code's name.
        also: A second code of the same system, as (code, display), or None.
        category: Of Observation (``vital-signs``, ``activity`` …).
        unit: UCUM unit it is given in, or ``""`` where it has none.
        kept: Units that are left as they were sent.
        profile: Canonical URL of the vital signs profile it must satisfy, or ``""``.
    """

    name: str
    system: str
    code: str
    display: str
    also: tuple[str, str] | None
    category: str
    unit: str
    kept: frozenset[str]
    profile: str

    @property
    def concept(self) -> dict[str, Any]:
        """A new CodeableConcept of it."""
        coding = [{"system": self.system, "code": self.code, "display": self.display}]
        if self.also:
            coding.append({"system": self.system, "code": self.also[0], "display": self.also[1]})
        return {"coding": coding}


def rows(name: str) -> Iterator[dict[str, str]]:
    """Return the rows of one table of ``schemas/wearables``."""
    return read_rows(FOLDER / name)


def mapping(media: str, package: str) -> str:
    """Return the version of a wearables' mapping: all of its tables and schemas, and the code that runs them."""
    tables = (one for one in FOLDER.rglob("*") if one.suffix in {".csv", ".json"})
    return version(media, tables, package, "measures")


def _measure(row: dict[str, str]) -> Measure:
    code, _, display = row["also"].partition(" ")
    return Measure(
        row["measure"],
        LOCAL if row["system"] == "local" else LOINC,
        row["code"],
        row["display"],
        (code, display) if code else None,
        row["category"],
        row["unit"],
        frozenset((*row["kept_units"].split(), row["unit"])),
        _PROFILES + row["profile"] if row["profile"] else "",
    )


MEASURES: Final = MappingProxyType({row["measure"]: _measure(row) for row in rows("measures.csv")})
UNITS: Final = MappingProxyType({row["sent"]: row["ucum"] for row in rows("units.csv")})
CONVERSIONS: Final = MappingProxyType(
    {(row["from"], row["to"]): (Decimal(row["factor"]), Decimal(row["offset"])) for row in rows("conversions.csv")}
)


def plain(value: Decimal) -> int | float:
    """Return a JSON number of at most 12 digits that count: whole where it is whole."""
    rounded = value if len(value.as_tuple().digits) <= 12 else Decimal(f"{value:.12g}")
    whole = abs(rounded) < 10**15 and rounded == rounded.to_integral_value()
    return int(rounded) if whole else float(rounded)


def number(value: Any) -> Decimal | None:
    """Return a finite number as it was written, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 300 else None


def quantity(measure: Measure, value: Decimal, sent: str) -> dict[str, Any] | None:
    """Return the Quantity of a value in a unit that the measure may be given in, or None where no table leads there.

    Args:
        measure: What was measured.
        value: The number as sent.
        sent: The unit as sent; ``""`` or ``count`` where the sender leaves it to what is measured.
    """
    unit = measure.unit if sent in ("", "count") else UNITS.get(sent, sent)
    if unit not in measure.kept:
        step = CONVERSIONS.get((unit, measure.unit))
        if step is None:
            return None
        value, unit = value * step[0] + step[1], measure.unit
        value = Decimal(f"{value:.9g}")  # what a factor adds beyond the sensor's own digits is no news
    if not unit:
        return {"value": plain(value)}
    return {"value": plain(value), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
