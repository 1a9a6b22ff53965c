"""Numbers with their units: NM, SN, NR, CQ, MO and the reference range as Quantity, Ratio and Range.

A FHIR decimal keeps the digits that the sender wrote; a JSON number in Python does not keep trailing zeros, so
where they would be lost the quantity says its precision (extension quantity-precision).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from normalise.hl7v2.building import Body

NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_COMPARED: Final = re.compile(r"(<=|>=|<|>|≤|≥|＜|＞)\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))", re.ASCII)
_COMPARATORS: Final = {"≤": "<=", "≥": ">=", "＜": "<", "＞": ">", "=>": ">=", "=<": "<="}
_SPAN: Final = re.compile(
    r"([+-]?\d+(?:\.\d+)?)\s*(?:-{1,2}|–|—|to|～|至)\s*([+-]?\d+(?:\.\d+)?)", re.ASCII | re.IGNORECASE
)
_PRECISION: Final = "http://hl7.org/fhir/StructureDefinition/quantity-precision"
#: More digits than this and a JSON number is no longer what was sent.
_DIGITS: Final = 15


def quantity(sent: str, unit: Body, comparator: str = "") -> Body | None:
    """Return a Quantity, or None where the text is no decimal number of at most 15 digits."""
    sent = sent.strip()
    if not NUMBER.fullmatch(sent) or (len(sent) > _DIGITS and sum(map(str.isdigit, sent)) > _DIGITS):
        return None
    whole, point, places = sent.partition(".")
    found: Body = {"value": float(sent) if point else int(whole)}
    if places[-1:] == "0" and len(places) > 1:
        found["_value"] = {"extension": [{"url": _PRECISION, "valueInteger": len(places)}]}
    if comparator and (comparator := _COMPARATORS.get(comparator, comparator)) in ("<", "<=", ">=", ">"):
        found["comparator"] = comparator
    found.update(unit)
    return found


def money(sent: str) -> Body | None:
    """Return the Money of an MO (``50.00^CNY``) or of the price that begins a CP (``50.00&CNY^UP``), or None.

    The amount keeps its digits, as those of a Quantity; a currency that is no code of ISO 4217 by its form is left out.
    """
    price = sent.partition("^")[0] if "&" in sent else sent.replace("^", "&")
    amount, currency = [*price.split("&"), ""][:2]
    code = currency.strip().upper()
    known = len(code) == 3 and code.isascii() and code.isalpha()
    return quantity(amount, {"currency": code} if known else {})


def compared(sent: str, unit: Body) -> Body | None:
    """Return the Quantity of a number written with its comparator in one, ``<0.5``, or None."""
    match = _COMPARED.fullmatch(sent.strip())
    return quantity(match[2], unit, match[1]) if match else None


def structured(parts: list[str], unit: Body) -> tuple[str, Body] | None:
    """Return what an SN says as ``valueQuantity``, ``valueRatio`` or ``valueRange``; None where it is none of them.

    Args:
        parts: Comparator, first number, separator, second number (HL7 v2.8.2 chapter 2A, SN).
        unit: The unit elements.
    """
    comparator, first, separator, second = (*(one.strip() for one in parts[:4]), "", "", "", "")[:4]
    known = comparator in ("", "=") or comparator in ("<", "<=", ">", ">=", *_COMPARATORS)
    one = quantity(first, unit, comparator) if known else None
    if one is None:
        return None
    if not separator and not second:
        return "valueQuantity", one
    other = quantity(second, unit)
    if other is None:
        return None
    if separator in (":", "/"):
        return "valueRatio", {"numerator": one, "denominator": other}
    if separator == "-" and comparator in ("", "=") and Decimal(first) <= Decimal(second):
        return "valueRange", {"low": one, "high": other}
    return None


def between(low: str, high: str, unit: Body) -> Body | None:
    """Return a Range of the ends that are numbers, or None where neither is or they stand the wrong way round."""
    first, last = quantity(low, unit), quantity(high, unit)
    if first and last and Decimal(low.strip()) > Decimal(high.strip()):
        return None
    return {name: one for name, one in (("low", first), ("high", last)) if one} or None


def reference_range(sent: str, unit: Body) -> Body | None:
    """Return an Observation.referenceRange: always the text; the ends where the text is plainly ``3.5-9.5``."""
    sent = sent.strip()
    if not sent:
        return None
    found: Body = {"text": sent}
    span = _SPAN.fullmatch(sent)
    if span and (ends := between(span[1], span[2], unit)):
        found |= ends
    return found
