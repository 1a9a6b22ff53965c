"""Bytes to one FHIR resource, as strictly as FHIR's JSON is (FHIR R4, 2.6.2; RFC 8259).

Refused are comments, NaN, names that stand twice in an object, bytes that are no UTF-8, and nesting without end. None
of the parsers at hand refuses all of it, and the one that is told of every name is several times slower; so the fast
one reads, and names are counted: only where fewer came out than went in is the slow one asked.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from normalise.errors import set_aside
from schemas import json_text

Body = dict[str, Any]

#: Objects and arrays inside each other, at most.
DEPTH: Final = 100
_BOM: Final = b"\xef\xbb\xbf"
_NAME: Final = re.compile(rb'"[ \t\r\n]*:')


def read(content: bytes) -> Body:
    """Return the resource that these bytes are, with its ``resourceType`` a text.

    Raises:
        SetAside: ``charset``, ``not_fhir`` or ``bad_value``.
    """
    content = content.removeprefix(_BOM)
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _why(content, error) from None
    if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
        raise set_aside("not_fhir", "resourceType", "Expected a JSON object with a resourceType; send FHIR R4.")
    if (depth := _depth(body)) > DEPTH:
        raise set_aside(
            "not_fhir", "JSON", f"Expected at most {DEPTH} levels of objects and arrays, {depth} or more came."
        )
    # An escaped quote before a colon would be counted in what comes out alone.
    if b"\\u0022" in content or len(_NAME.findall(content)) != _names(body):
        _refuse_twins(content)
    return body


def _names(body: Body) -> int:
    return len(_NAME.findall(orjson.dumps(body)))


def _why(content: bytes, error: orjson.JSONDecodeError) -> Exception:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as fault:
        return set_aside("charset", f"byte {fault.start}", "FHIR's JSON is UTF-8, these bytes are not; send UTF-8.")
    where = f"line {error.lineno} column {error.colno}"
    return set_aside("not_fhir", where, "Expected JSON (RFC 8259: no comments, no NaN, quoted names); send it so.")


def _refuse_twins(content: bytes) -> None:
    try:
        json_text.parse(content, fractions=True, depth=DEPTH)
    except json_text.Twice:
        message = "An element stands twice in one object; which is meant cannot be known."
        raise set_aside("bad_value", "JSON", message) from None
    except json_text.NotStrict:
        raise set_aside("not_fhir", "JSON", "Expected JSON that every parser reads the same way.") from None


def _depth(body: Body) -> int:
    """Return how deeply objects and arrays stand in each other, as far as ``DEPTH`` + 1."""
    level: list[Any] = [body]
    for depth in range(1, DEPTH + 2):
        level = [
            one
            for node in level
            for one in (node.values() if isinstance(node, dict) else node)
            if isinstance(one, dict | list)
        ]
        if not level:
            return depth
    return DEPTH + 1
