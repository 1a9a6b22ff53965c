"""The tables of ``schemas/deidentify``: which codes, units, words and places may leave as they are.

Everything here is a closed list or a closed form: what is in neither is refused, whoever sends it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import schemas
from schemas.documents import load_document

HERE: Final = Path(schemas.__file__).parent / "deidentify"
UCUM: Final = "http://unitsofmeasure.org"
_CATALOGUE: Final = re.compile(r"urn:xinglin:[a-z0-9-]{1,64}:codes:([a-z-]{1,32})", re.ASCII)
_MOBILE: Final = re.compile(r"(?:0|86|0086)?1[3-9]\d{9}", re.ASCII)
_RESIDENT: Final = re.compile(r"\d{17}[\dXx]", re.ASCII)
#: Dihedral group tables of Verhoeff's check digit.
_D: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_P: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def verhoeff(code: str) -> bool:
    """Whether a SNOMED CT identifier has its check digit and the partition of a concept (SNOMED CT TIG 5.4)."""
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = int(_D[check][int(_P[place % 8][int(digit)])])
    return check == 0 and code[-3:-1] in ("00", "10")


def mod10(code: str) -> bool:
    """Whether a LOINC code has its check digit (LOINC Users' Guide, Luhn's)."""
    *number, check = (int(one) for one in code if one.isdigit())
    total = sum(number[-2::-2])
    total += sum(one * 2 - 9 if one > 4 else one * 2 for one in number[::-2])
    return (total + check) % 10 == 0


def names_a_person(code: str) -> bool:
    """Whether a code looks like a resident identity number (GB 11643, with its check character) or a mobile number."""
    if _MOBILE.fullmatch(code):
        return True
    if not _RESIDENT.fullmatch(code):
        return False
    total = 0
    for digit in code[:17]:
        total = (total + int(digit)) * 2
    return "10X98765432"[total % 11] == code[17].upper()


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {"verhoeff": verhoeff, "mod10": mod10}


@dataclass(frozen=True, slots=True)
class Tables:
    """The closed lists and forms, ready to be asked.

    Attributes:
        closed: Displays by (system, code).
        forms: For each system, the form of its codes and a further check.
        catalogues: For each kind of a hospital's own catalogue, the form of its codes.
        unit: Whether a text is a unit of measurement.
        result: Whether a text is a result of a laboratory.
        media: Kinds of files.
        currencies: Currencies.
    """

    closed: Mapping[tuple[str, str], str]
    forms: Mapping[str, tuple[tuple[re.Pattern[str], Callable[[str], bool] | None], ...]]
    catalogues: Mapping[str, re.Pattern[str]]
    unit: Callable[[str], bool]
    result: Callable[[str], bool]
    media: frozenset[str]
    currencies: frozenset[str]

    def display(self, system: str, code: str) -> str | None:
        """Return the list's own display of a code, ``""`` where only its form is known, None where it may not leave."""
        known = self.closed.get((system, code))
        if known is not None:
            return known
        if names_a_person(code):
            return None
        for form, check in self.forms.get(system, ()):
            if form.fullmatch(code):
                return "" if check is None or check(code) else None
        if system == UCUM:
            return "" if self.unit(code) else None
        catalogue = _CATALOGUE.fullmatch(system)
        if catalogue is not None and catalogue[1] in self.catalogues:
            return "" if self.catalogues[catalogue[1]].fullmatch(code) else None
        return None


@cache
def tables() -> Tables:
    """Return the tables that ship.

    Raises:
        ConfigurationError: ``systems.yaml`` breaks its schema.
    """
    document = load_document(HERE / "systems.yaml", "deidentify/systems")
    files = document["closed"]
    rows = [*_rows(files["table"]), *_rows(files["displays"])]
    closed = {(row["system"], row["code"]): row["display"] for row in rows}
    for one in document["lists"]:
        closed |= {(one["system"], code): display for code, display in one["codes"].items()}
    forms: dict[str, list[tuple[re.Pattern[str], Callable[[str], bool] | None]]] = {}
    for one in document["forms"]:
        check = _CHECKS[one["check"]] if "check" in one else None
        forms.setdefault(one["system"], []).append((re.compile(one["form"], re.ASCII), check))
    return Tables(
        closed,
        {system: tuple(found) for system, found in forms.items()},
        {name: _catalogue(one) for one in document["catalogues"] for name in one["names"]},
        _either(_unit_form(document["units"]), document["units"]["words"].split()),
        _either(re.compile(document["results"]["form"], re.ASCII), document["results"]["words"].split()),
        frozenset(document["media"]["types"].split()),
        frozenset(document["currencies"]["codes"].split()),
    )


def _catalogue(one: Mapping[str, Any]) -> re.Pattern[str]:
    if "form" in one:
        return re.compile(one["form"], re.ASCII)
    return re.compile("|".join(map(re.escape, one["words"])))


def _either(form: re.Pattern[str], words: Iterable[str]) -> Callable[[str], bool]:
    listed = frozenset(words)

    @lru_cache(maxsize=8_192)  # units and results repeat
    def short(text: str) -> bool:
        return text in listed or form.fullmatch(text) is not None

    def known(text: str) -> bool:
        # No unit and no result is longer: neither the form nor the cache need bear a novel.
        return len(text) <= 40 and short(text)

    return known


def _unit_form(units: Mapping[str, str]) -> re.Pattern[str]:
    """Return the grammar of UCUM (ISO 80000 units, section 2) over the listed atoms, prefixes and annotations."""
    atoms = sorted(units["atoms"].split(), key=len, reverse=True)
    prefixes = "|".join(map(re.escape, units["prefixes"].split()))
    annotation = r"\{(?:" + "|".join(map(re.escape, units["annotations"].split())) + r")\}"
    # A figure by itself may be anything: only powers of ten and small factors stand in units.
    factor = r"10[*^][+-]?\d{1,2}|10{0,6}|[1-9]\d?"
    atom = f"(?:{prefixes})?(?:{'|'.join(map(re.escape, atoms))})[+-]?[1-9]?"
    part = f"(?:{factor}|(?:{atom})(?:{annotation})?|{annotation})"
    return re.compile(f"/?{part}(?:[./]{part}){{0,5}}", re.ASCII)


def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@cache
def places() -> Mapping[str, frozenset[str]]:
    """Return names of GB/T 2260 by level: ``province``, ``city`` (with the municipalities), ``district``."""
    found: dict[str, set[str]] = {"province": set(), "city": set(), "district": set()}
    for row in [*_rows("places.csv"), *_rows("places_own.csv")]:
        code, name = row["code"], row["name"]
        if code.endswith("0000"):
            found["province"].add(name)
            if code[:2] in ("11", "12", "31", "50"):
                found["city"].add(name)
        else:
            found["city" if code.endswith("00") else "district"].add(name)
    return {level: frozenset(names) for level, names in found.items()}
