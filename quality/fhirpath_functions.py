"""The functions of FHIRPath that the invariants of FHIR R4 use, over lists of plain JSON values.

Source: FHIRPath N1 (2.0.0), chapter 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from quality.readings import earliest, latest

Items = list[Any]
_DAY: Final = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T.*)?)?)?", re.ASCII)


def truth(items: Items) -> bool | None:
    """Whether a collection is true, false or empty; what stands alone and is no boolean is there, hence true."""
    if not items:
        return None
    return items[0] if len(items) == 1 and isinstance(items[0], bool) else True


def same(one: Any, other: Any) -> bool:
    """Whether two nodes are equal; true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def equal(left: Items, right: Items) -> bool:
    """Whether two collections hold equal nodes in the same order."""
    return len(left) == len(right) and all(map(same, left, right))


def compare(left: Any, right: Any, sign: str) -> bool | None:
    """Whether two values stand in that order; None where that cannot be said.

    Numbers, quantities of one unit, and dates: a date that is less exact is before another only where all of it is.
    """
    if isinstance(left, dict) and isinstance(right, dict):
        if any(left.get(key) != right.get(key) for key in ("system", "code")):
            return None
        left, right = left.get("value"), right.get("value")
    if _number(left) and _number(right):
        return _order(left, right, left, right, sign)
    if isinstance(left, str) and isinstance(right, str) and _DAY.fullmatch(left) and _DAY.fullmatch(right):
        return _order(earliest([left]), earliest([right]), latest([left]), latest([right]), sign)
    return None


def _order(left: Any, right: Any, left_end: Any, right_end: Any, sign: str) -> bool | None:
    if None in (left, right, left_end, right_end):
        return None
    if sign in (">", ">="):
        left, right, left_end, right_end = right, left, right_end, left_end
    if sign in ("<", ">"):
        return True if left_end < right else (False if left >= right_end else None)
    return True if left_end <= right else (False if left > right_end else None)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "boolean": lambda one: isinstance(one, bool),
    "decimal": lambda one: _number(one),
    "integer": lambda one: isinstance(one, int) and not isinstance(one, bool),
    "string": lambda one: isinstance(one, str),
}


def is_of(node: Any, name: str) -> bool:
    """Whether a node is of a type: a resource by its own word, a primitive by what JSON makes of it."""
    plain = _PLAIN_TYPES.get(name.lower() if name in ("Boolean", "String", "Integer", "Decimal") else name)
    if plain is not None:
        return plain(node)
    if name in ("canonical", "uri", "url"):
        return isinstance(node, str)
    return isinstance(node, dict) and node.get("resourceType") == name


def children(items: Items) -> Items:
    """Every element of every node."""
    found: Items = []
    for item in items:
        if isinstance(item, dict):
            for key, child in item.items():
                if key != "resourceType":
                    found += child if isinstance(child, list) else [child]
    return [one for one in found if one is not None]


def descendants(items: Items) -> Items:
    """Every element of every node, and theirs."""
    found: Items = []
    below = children(items)
    while below:
        found += below
        below = children(below)
    return found


def is_distinct(items: Items) -> bool:
    """Whether no two nodes are equal."""
    seen: set[tuple[type, Any]] = set()
    others: Items = []
    for one in items:
        if isinstance(one, dict | list):
            if one in others:
                return False
            others.append(one)
        elif (type(one), one) in seen:
            return False
        else:
            seen.add((type(one), one))
    return True


def _texts(items: Items, make: Callable[[str], Any]) -> Items:
    return [make(items[0])] if len(items) == 1 and isinstance(items[0], str) else []


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _argument(items: Items) -> Any:
    return items[0] if items else ""


def _whole_number(items: Items) -> Items:
    return [int(items[0])] if items and re.fullmatch(r"[+-]?\d{1,18}", str(items[0]), re.ASCII) else []


FUNCTIONS: Final[dict[str, Callable[..., Items]]] = {
    "empty": lambda items: [not items],
    "not": lambda items: [] if truth(items) is None else [not truth(items)],
    "count": lambda items: [len(items)],
    "first": lambda items: items[:1],
    "tail": lambda items: items[1:],
    "isDistinct": lambda items: [is_distinct(items)],
    "hasValue": lambda items: [len(items) == 1 and not isinstance(items[0], dict)],
    "children": children,
    "descendants": descendants,
    "allFalse": lambda items: [all(one is False for one in items)],
    "combine": lambda items, other: items + other,
    "intersect": lambda items, other: [one for one in items if any(same(one, each) for each in other)],
    "startsWith": lambda items, other: _texts(items, lambda text: text.startswith(_argument(other))),
    "endsWith": lambda items, other: _texts(items, lambda text: text.endswith(_argument(other))),
    "contains": lambda items, other: _texts(items, lambda text: _argument(other) in text),
    "matches": lambda items, other: _texts(items, lambda text: bool(_pattern(_argument(other)).search(text))),
    "replaceMatches": lambda items, one, other: _texts(
        items, lambda text: _pattern(_argument(one)).sub(_argument(other), text)
    ),
    "substring": lambda items, start: _texts(items, lambda text: text[_argument(start) :]),
    "toInteger": _whole_number,
    "toString": lambda items: [str(one) for one in items[:1]],
    "trace": lambda items, *_: items,
    "is": lambda items, name: [is_of(one, name) for one in items[:1]],
    "as": lambda items, name: [one for one in items if is_of(one, name)],
    "ofType": lambda items, name: [one for one in items if is_of(one, name)],
}


def _exists(items: Items, scene: Any, condition: Any = None) -> Items:
    return [any(_holding(items, scene, condition)) if condition else bool(items)]


def _holding(items: Items, scene: Any, condition: Any) -> Iterator[bool]:
    for one in items:
        yield truth(condition([one], scene)) is True


def _iif(items: Items, scene: Any, condition: Any, then: Any, otherwise: Any = None) -> Items:
    if truth(condition(items, scene)):
        found: Items = then(items, scene)
        return found
    return otherwise(items, scene) if otherwise else []


#: Functions whose arguments are asked of each node in turn; they get the scene and the arguments uncalled.
LAMBDAS: Final[dict[str, Callable[..., Items]]] = {
    "exists": _exists,
    "all": lambda items, scene, condition: [all(_holding(items, scene, condition))],
    "where": lambda items, scene, condition: [one for one in items if truth(condition([one], scene)) is True],
    "select": lambda items, scene, made: [each for one in items for each in made([one], scene)],
    "iif": _iif,
}
