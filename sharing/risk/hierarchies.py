"""How values become coarser, step by step: ages, dates, places, codes, and what only a star can stand for.

A step turns the label of the level below into the label of this one. Levels are steps applied one after the other, so
whatever two values share at one level they share at every level above: nobody can write a hierarchy that is not one.
A label that a step cannot place becomes a star, since text of unknown form may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

STAR: Final = "*"
#: HIPAA 45 CFR 164.514(b)(2)(i)(C): ages over 89 are one category.
OLDEST: Final = 90
#: 老年人权益保障法 article 2: who is 60 or more is elderly. Twenty-year bands meet there too.
ELDERLY: Final = 60

Step = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Level:
    """One level above a column's own values.

    Attributes:
        name: What a value is given as, for people.
        step: From the label of the level below to the label here.
    """

    name: str
    step: Step


def star(_: str) -> str:
    """Return the star: nothing is said any more."""
    return STAR


_EVERYTHING: Final = Level("nothing (*)", star)

# --- ages ------------------------------------------------------------------------------------------------------------

_AGE: Final = re.compile(r"(\d{1,3})(?:\.\d+)?(?:-(\d{1,3})|(\+))?", re.ASCII)
_UNDER: Final = re.compile(r"under (\d{1,3})", re.ASCII)
_OPEN: Final = 999


def _years(label: str) -> tuple[int, int] | None:
    """Return the least and greatest age that a label stands for, or None where it says no age."""
    if found := _UNDER.fullmatch(label):
        return 0, int(found[1]) - 1
    if (found := _AGE.fullmatch(label)) is None:
        return None
    low = int(found[1])
    return low, _OPEN if found[3] else int(found[2] or low)


def age_of(label: str) -> int:
    """Return the least age that a label stands for, or -1 where it says none."""
    years = _years(label)
    return -1 if years is None else years[0]


def _band(width: int) -> Step:
    """Return the step to bands of so many years, the last one open; a coarser band that came in stays as it is."""
    last = OLDEST // width * width

    def step(label: str) -> str:
        if (years := _years(label)) is None:
            return STAR
        low, high = years
        if low >= last:
            return f"{last}+"
        start = low // width * width
        return f"{start}-{start + width - 1}" if high < start + width else label

    return step


def _side(label: str) -> str:
    if (years := _years(label)) is None:
        return STAR
    low, high = years
    return f"{ELDERLY}+" if low >= ELDERLY else f"under {ELDERLY}" if high < ELDERLY else STAR


_AGES: Final = (
    Level("bands of 5 years", _band(5)),
    Level("bands of 10 years", _band(10)),
    Level("bands of 20 years", _band(20)),
    Level(f"under {ELDERLY} or not", _side),
    _EVERYTHING,
)

# --- dates -----------------------------------------------------------------------------------------------------------

_DATE: Final = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(\d{2})(?:[T ].*)?)?)?", re.ASCII)
_QUARTER: Final = re.compile(r"\d{4}-Q[1-4]", re.ASCII)
_YEARS: Final = re.compile(r"\d{3}0s|\d{4}-\d{4}", re.ASCII)


def _coarser(label: str) -> bool:
    return bool(_QUARTER.fullmatch(label) or _YEARS.fullmatch(label))


def _shortened(length: int) -> Step:
    def step(label: str) -> str:
        return label[:length] if _DATE.fullmatch(label) else label if _coarser(label) else STAR

    return step


def _quarter(label: str) -> str:
    if (found := _DATE.fullmatch(label)) is None:
        return label if _coarser(label) else STAR
    return f"{found[1]}-Q{(int(found[2]) + 2) // 3}" if found[2] else label


def _year(label: str) -> str:
    return label if label == STAR or _YEARS.fullmatch(label) else label[:4]


def _five(label: str) -> str:
    if label == STAR or _YEARS.fullmatch(label):
        return label
    start = int(label) // 5 * 5
    return f"{start:04}-{start + 4:04}"


def _decade(label: str) -> str:
    return label if label == STAR else f"{label[:3]}0s"


_DATES: Final = (
    Level("day", _shortened(10)),
    Level("month", _shortened(7)),
    Level("quarter", _quarter),
    Level("year", _year),
    Level("5 years", _five),
    Level("decade", _decade),
    _EVERYTHING,
)

# --- places ----------------------------------------------------------------------------------------------------------

_DIVISION: Final = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\d{3}(?:\d{3})?)?)?)?", re.ASCII)
_PROVINCE: Final = r"[^省市区县]{2,8}?(?:省|自治区|特别行政区)"
_PREFECTURE: Final = r"(?:[^省市区县]{1,10}?(?:自治州|地区|盟|市))"
_COUNTY: Final = r"(?:[^省市区县旗]{1,12}?(?:自治县|自治旗|林区|特区|新区|区|县|旗|市))"
#: A place as an address writes it: province, prefecture (none in a municipality), county, and the rest.
_ADDRESS: Final = re.compile(
    rf"(?:(?P<city>(?:北京|天津|上海|重庆)市)(?:(?P=city)|市辖区|县(?=.))?|(?P<province>{_PROVINCE})(?P<prefecture>{_PREFECTURE})?)"
    rf"(?P<county>{_COUNTY})?.*"
)


def _place(digits: int, parts: tuple[str, ...]) -> Step:
    """Return the step to the first digits of a code of GB/T 2260, or to the first parts of a written place."""

    def step(label: str) -> str:
        label = label.strip()
        if _DIVISION.fullmatch(label):
            return label[:digits]
        if (found := _ADDRESS.fullmatch(label)) is None:
            return STAR
        return "".join(found[one] or "" for one in parts)

    return step


_PLACES: Final = (
    Level("county (6 digits)", _place(6, ("city", "province", "prefecture", "county"))),
    Level("prefecture (4 digits)", _place(4, ("city", "province", "prefecture"))),
    Level("province (2 digits)", _place(2, ("city", "province"))),
    _EVERYTHING,
)

# --- codes -----------------------------------------------------------------------------------------------------------

#: ICD-10 and the Chinese modifications of it (GB/T 14396: E11.900, E11.900x001).
_ICD: Final = re.compile(r"([A-Z])(\d[\dA-Z])(?:\.(\d)[\w+*†/-]*|[+*†])?", re.ASCII)
_ATC: Final = re.compile(r"([A-Z])(\d{2})(?:([A-Z])(?:([A-Z])(\d{2})?)?)?", re.ASCII)
_DOTTED: Final = re.compile(r"\w+(?:\.\w+)+", re.ASCII)
_ANY: Final = re.compile(r"[\w.+*†/:-]{1,24}", re.ASCII)
_SHORT: Final = re.compile(r"[A-Z]\d[\dA-Z]", re.ASCII)
_NUMBER: Final = re.compile(r"\d{2,3}", re.ASCII)
#: Postcodes, whole or cut: two digits are a province, three a postal zone, four a county or city.
_POST: Final = re.compile(r"\d{4,6}", re.ASCII)


def _subgroup(label: str) -> str:
    if _POST.fullmatch(label):
        return label[:4]
    if found := _ATC.fullmatch(label):
        return f"{found[1]}{found[2]}{found[3] or ''}{found[4] or ''}"
    if found := _ICD.fullmatch(label):
        return f"{found[1]}{found[2]}.{found[3]}" if found[3] else f"{found[1]}{found[2]}"
    return label.rpartition(".")[0] if _DOTTED.fullmatch(label) else label if _ANY.fullmatch(label) else STAR


def _group(label: str) -> str:
    if _POST.fullmatch(label) or _ATC.fullmatch(label) or _ICD.fullmatch(label):
        return label[:3]
    if _DOTTED.fullmatch(label) or _NUMBER.fullmatch(label):
        return label.partition(".")[0]
    return STAR  # a code whose places mean nothing (SNOMED CT, LOINC) has no shorter form


def _chapter(label: str) -> str:
    if _SHORT.fullmatch(label):
        return label[0]
    return label[:2] if _NUMBER.fullmatch(label) else STAR


_CODES: Final = (
    Level("subcategory (one place after the dot)", _subgroup),
    Level("category (3 characters)", _group),
    Level("chapter (first letter, or 2 digits)", _chapter),
    _EVERYTHING,
)

#: By the name that a column's ``hierarchy`` says; "" is any other value.
HIERARCHIES: Final[Mapping[str, tuple[Level, ...]]] = {
    "age": _AGES,
    "date": _DATES,
    "place": _PLACES,
    "code": _CODES,
    "": (_EVERYTHING,),
}
