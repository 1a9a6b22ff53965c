"""The value of an observation: ``value[x]`` of every data type that CDA has for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from normalise.cda import values
from normalise.cda.attachments import attachment
from normalise.cda.reading import Body, Reading
from normalise.cda.tree import Node

_WHOLE: Final = re.compile(r"[+-]?\d{1,10}", re.ASCII)


def value(node: Node, reading: Reading) -> Body | None:
    """Return the value of an observation as ``value[x]``, by its ``xsi:type`` or by how it looks."""
    kind = node.get("xsi:type") or _guess(node)
    reader = _VALUES.get(kind, _text_value)
    return reader(node, reading)


def _guess(node: Node) -> str:
    if node.get("code"):
        return "CD"
    if node.first("low") is not None or node.first("high") is not None:
        return "IVL_PQ"
    if node.get("value"):
        return "PQ"
    return "ST"


def _text_value(node: Node, reading: Reading) -> Body | None:
    said = values.text(node, reading) or node.get("value")
    return {"valueString": said} if said else None


def _coded_value(node: Node, reading: Reading) -> Body | None:
    found = values.concept(node, reading)
    return {"valueCodeableConcept": found} if found else None


def _quantity_value(node: Node, reading: Reading) -> Body | None:
    found = values.quantity(node, reading)
    if found:
        return {"valueQuantity": found}
    # What the sender wrote in place of a number is worth keeping as words.
    said = node.own_text or (node.get("value") and f"{node.get('value')} {node.get('unit')}".strip())
    return {"valueString": said} if said else None


def _document_value(node: Node, reading: Reading) -> Body | None:
    if node.get("representation") == "B64" or (node.get("mediaType") or "text/plain").partition("/")[0] != "text":
        found = attachment(node, reading)
        url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
        return {"extension": [{"url": url, "valueAttachment": found}]} if found else None
    return _text_value(node, reading)


def _ratio(node: Node, reading: Reading) -> Body | None:
    found = ratio(node, reading)
    return {"valueRatio": found} if found else None


def _series(node: Node, reading: Reading) -> Body | None:
    """SLIST_PQ: a series of samples, such as an ECG."""
    origin, scale, digits = (node.first(name) for name in ("origin", "scale", "digits"))
    zero = values.quantity(origin, reading) if origin is not None else None
    factor = values.quantity(scale, reading) if scale is not None else None
    if zero is None or digits is None or not digits.own_text:
        return None
    found: Body = {"origin": zero, "period": 1, "dimensions": 1, "data": digits.own_text}
    reading.note("imprecise", "A series of samples does not say its period; written as 1 ms.")
    return {"valueSampledData": {**found, **({"factor": factor["value"]} if factor else {})}}


def _moment_value(node: Node, reading: Reading) -> Body | None:
    found = values.date_time(node, reading)
    return {"valueDateTime": found} if found else None


def _period_value(node: Node, reading: Reading) -> Body | None:
    found = values.period(node, reading)
    return {"valuePeriod": found} if found else None


def _integer_value(node: Node, reading: Reading) -> Body | None:
    found = whole(node, reading)
    return {"valueInteger": found} if found is not None else _text_value(node, reading)


def _boolean_value(node: Node, reading: Reading) -> Body | None:
    found = boolean(node, reading)
    return {"valueBoolean": found} if found is not None else None


def boolean(node: Node, _: Reading) -> bool | None:
    """Return a BL, or None where it is none."""
    return {"true": True, "1": True, "false": False, "0": False}.get(node.get("value").lower())


def whole(node: Node, reading: Reading) -> int | None:
    """Return an INT as a whole number of at most 32 bits, or None with a note where it is none."""
    sent = node.get("value")
    if not sent:
        return None
    if not _WHOLE.fullmatch(sent) or not -(2**31) <= int(sent) < 2**31:
        reading.note("bad_value", "A whole number was expected; what came is none and is left out.", node.name)
        return None
    return int(sent)


def ratio(node: Node, reading: Reading) -> Body | None:
    """Return an RTO as a Ratio, or None where one of its two is missing."""
    found = {
        name: one
        for name in ("numerator", "denominator")
        if (part := node.first(name)) is not None and (one := values.quantity(part, reading))
    }
    return found if len(found) == 2 else None


_VALUES: Final[dict[str, Callable[[Node, Reading], Body | None]]] = {
    "BL": _boolean_value,
    "CD": _coded_value,
    "CE": _coded_value,
    "CO": _coded_value,
    "CS": _coded_value,
    "CV": _coded_value,
    "ED": _document_value,
    "INT": _integer_value,
    "IVL_INT": values.spread,
    "IVL_PQ": values.spread,
    "IVL_REAL": values.spread,
    "IVL_TS": _period_value,
    "MO": _quantity_value,
    "PQ": _quantity_value,
    "REAL": _quantity_value,
    "RTO": _ratio,
    "RTO_PQ_PQ": _ratio,
    "SLIST_PQ": _series,
    "TS": _moment_value,
}
