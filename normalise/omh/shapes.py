"""Bodies of data points held against their schemas: each schema compiled once to plain functions.

The schemas (``schemas/wearables/openmhealth``) use a small part of JSON Schema: type, properties, required, enum,
pattern, format, items, minItems, allOf, anyOf, oneOf and $ref. Compiled to closures a data point is checked some
thirty times faster than by a general validator, and the fault is the one that its sender can mend: of several
alternatives the one that came furthest.

Sources: JSON Schema draft-04 and draft-07, validation; RFC 3339 section 5.6 (``date-time``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import schemas

FOLDER: Final = Path(schemas.__file__).parent / "wearables" / "openmhealth"


class Fault(NamedTuple):
    """Where a value is not as its schema has it, and what was expected there.

    Attributes:
        path: Steps from the value's root, as written in a JSON path (``.body``, ``[2]``).
        message: What was expected and what came; never a value.
    """

    path: tuple[str, ...]
    message: str

    @property
    def where(self) -> str:
        """The JSON path."""
        return "$" + "".join(self.path)


Check = Callable[[Any], Fault | None]

_DATE_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")
_NAMES: Final = MappingProxyType(
    {dict: "an object", list: "an array", str: "a text", bool: "true or false", int: "a number", float: "a number"}
)


def _shown(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), "something else")


def is_date_time(text: str) -> bool:
    """Whether a text is an RFC 3339 date-time, its date on the calendar."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return False
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return True


def _read() -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType(found)


SCHEMAS: Final = _read()


@cache
def shape(name: str) -> Check | None:
    """Return what checks a value against a schema (``omh:heart-rate-2.0``), or None where there is none.

    A family (``1.x``) is its newest version.
    """
    if name.endswith(".x"):
        stem = name[:-1]
        versions = [int(one[len(stem) :]) for one in SCHEMAS if one.startswith(stem) and one[len(stem) :].isdigit()]
        return shape(f"{stem}{max(versions)}") if versions else None
    return _compiled(SCHEMAS[name], SCHEMAS[name]) if name in SCHEMAS else None


def _compiled(node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    if "$ref" in node:  # what stands beside it is ignored, as in both drafts
        return _referred(node["$ref"], root)
    checks = [make(node[word], node, root) for word, make in _WORDS.items() if word in node]
    return checks[0] if len(checks) == 1 else _all(checks)


def _referred(name: str, root: Mapping[str, Any]) -> Check:
    target: list[Check] = []  # looked up at first use: schemas may refer in circles

    def check(value: Any) -> Fault | None:
        if not target:
            if name.startswith("#/definitions/"):
                target.append(_compiled(root["definitions"][name.removeprefix("#/definitions/")], root))
            else:
                found = shape(name)
                assert found is not None, f"schemas/wearables/openmhealth: {name} is not there"
                target.append(found)
        return target[0](value)

    return check


def _all(checks: list[Check]) -> Check:
    def check(value: Any) -> Fault | None:
        for one in checks:
            fault = one(value)
            if fault is not None:
                return fault
        return None

    return check


def _type(names: str | list[str], _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    wanted = [names] if isinstance(names, str) else names
    types = tuple(kind for one in wanted for kind in _TYPES[one])
    takes_bool = "boolean" in wanted
    whole = "integer" in wanted and "number" not in wanted
    expected = " or ".join(wanted)

    def check(value: Any) -> Fault | None:
        right = isinstance(value, types) and (takes_bool or not isinstance(value, bool))
        if right and whole and isinstance(value, float):
            right = value.is_integer()
        return None if right else Fault((), f"Expected {expected}, came {_shown(value)}.")

    return check


_TYPES: Final[Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "number": (int, float),
        "integer": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
    }
)


def _properties(inner: Mapping[str, Any], _node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    checks = [(name, _compiled(one, root)) for name, one in inner.items()]

    def check(value: Any) -> Fault | None:
        if isinstance(value, dict):
            for name, one in checks:
                if name in value and (fault := one(value[name])) is not None:
                    return Fault((f".{name}", *fault.path), fault.message)
        return None

    return check


def _required(names: list[str], _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    def check(value: Any) -> Fault | None:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    return Fault((f".{name}",), "This element is required and did not come.")
        return None

    return check


def _enum(values: list[Any], _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    few = ", ".join(map(str, values)) if len(values) <= 12 else f"one of {len(values)} codes"

    def check(value: Any) -> Fault | None:
        return None if value in values else Fault((), f"Expected {few}; came something else.")

    return check


def _pattern(text: str, _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    pattern = re.compile(text, re.ASCII)

    def check(value: Any) -> Fault | None:
        if isinstance(value, str) and not pattern.search(value):
            return Fault((), "The text does not have the form that the schema gives.")
        return None

    return check


def _format(name: str, _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    def check(value: Any) -> Fault | None:
        if isinstance(value, str):
            if name == "date-time" and not is_date_time(value):
                return Fault((), "Expected an RFC 3339 date-time with its offset, such as 2026-01-05T07:30:00+08:00.")
            if name == "uri" and not _URI.fullmatch(value):
                return Fault((), "Expected a URI.")
        return None

    return check


def _items(inner: Mapping[str, Any] | list[Any], _node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    one = _compiled(inner if isinstance(inner, Mapping) else {"anyOf": inner}, root)

    def check(value: Any) -> Fault | None:
        if isinstance(value, list):
            for number, item in enumerate(value):
                if (fault := one(item)) is not None:
                    return Fault((f"[{number}]", *fault.path), fault.message)
        return None

    return check


def _min_items(least: int, _node: Mapping[str, Any], _root: Mapping[str, Any]) -> Check:
    def check(value: Any) -> Fault | None:
        if isinstance(value, list) and len(value) < least:
            return Fault((), f"Expected at least {least} elements, came {len(value)}.")
        return None

    return check


def _all_of(parts: list[Any], _node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    return _all([_compiled(one, root) for one in parts])


def _any_of(parts: list[Any], _node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    return _choice(parts, root, only_one=False)


def _one_of(parts: list[Any], _node: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    return _choice(parts, root, only_one=True)


def _choice(parts: list[Any], root: Mapping[str, Any], *, only_one: bool) -> Check:
    checks = [_compiled(one, root) for one in parts]

    def check(value: Any) -> Fault | None:
        faults = [one(value) for one in checks]
        right = faults.count(None)
        if right == 1 or (right and not only_one):
            return None
        if right:
            return Fault((), f"Expected one of {len(checks)} alternatives, {right} came together.")
        deepest: Fault = max((one for one in faults if one is not None), key=lambda one: len(one.path))
        return deepest

    return check


_WORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Check]]] = MappingProxyType(
    {
        "type": _type,
        "enum": _enum,
        "pattern": _pattern,
        "format": _format,
        "required": _required,
        "properties": _properties,
        "items": _items,
        "minItems": _min_items,
        "allOf": _all_of,
        "anyOf": _any_of,
        "oneOf": _one_of,
    }
)
