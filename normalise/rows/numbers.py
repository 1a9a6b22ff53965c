"""Numbers for FHIR, exact: a value that a JSON number of Python cannot hold exactly is never rounded.

A FHIR decimal stands as int or float in the resource, because that is what is sealed as canonical JSON. A float is used
only where its shortest writing is the same number: ``0.10`` is written 0.1, ``283251.18`` stays as it is, and seventeen
nines are refused. Trailing zeros say how exact somebody measured; where a text brings them, Quantity keeps them in the
extension quantity-precision. In a column with a declared scale, and in money, whose currency has one, they say nothing.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

Body = dict[str, Any]

NUMBER: Final = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})", re.ASCII)
_COMPARED: Final = re.compile(r"(<=|>=|<|>|≤|≥|＜|＞|=<|=>)?\s*([+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40}))", re.ASCII)
_COMPARATORS: Final = {"≤": "<=", "≥": ">=", "＜": "<", "＞": ">", "=>": ">=", "=<": "<="}
_SPAN: Final = re.compile(
    r"([+-]?\d{1,20}(?:\.\d{1,20})?)\s*(?:-{1,2}|–|—|～|~|至)\s*([+-]?\d{1,20}(?:\.\d{1,20})?)", re.ASCII
)
_PRECISION: Final = "http://hl7.org/fhir/StructureDefinition/quantity-precision"


def exact(value: Decimal) -> int | float | None:
    """Return the JSON number that is exactly this value, or None where there is none."""
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        whole = int(value)
        return whole if abs(whole) < 2**53 else None
    number = float(value)
    return number if Decimal(repr(number)) == value else None


def number_of(value: object) -> Decimal | None:
    """Return the number in a column, or None where it holds none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    if isinstance(value, str) and NUMBER.fullmatch(text := value.strip().replace(",", "")):
        return Decimal(text)
    return None


def quantity(value: object, unit: Body) -> Body | None:
    """Return a Quantity of a number or of ``<0.01``, or None where the column holds neither or no number holds it."""
    comparator = ""
    if isinstance(value, str):
        match = _COMPARED.fullmatch(value.strip())
        if match is None:
            return None
        comparator, text = match[1] or "", match[2]
    else:
        text = ""
    number = number_of(text or value)
    plain = None if number is None else exact(number)
    if plain is None:
        return None
    found: Body = {"value": plain}
    places = text.partition(".")[2]
    if places.endswith("0"):
        found["_value"] = {"extension": [{"url": _PRECISION, "valueInteger": len(places)}]}
    if comparator:
        found["comparator"] = _COMPARATORS.get(comparator, comparator)
    return {**found, **unit}


def reference_range(text: str, unit: Body) -> Body:
    """Return an Observation.referenceRange: the text, and the ends where it is plainly ``3.9-6.1`` or ``<0.04``."""
    found: Body = {"text": text}
    if (span := _SPAN.fullmatch(text)) and Decimal(span[1]) <= Decimal(span[2]):
        ends = {"low": span[1], "high": span[2]}
    elif (one := _COMPARED.fullmatch(text)) and one[1]:
        ends = {"high" if _COMPARATORS.get(one[1], one[1])[0] == "<" else "low": one[2]}
    else:
        ends = {}
    for name, end in ends.items():
        if made := quantity(end, unit):
            found[name] = made
    return found
