"""FHIRPath expressions compiled to closures over plain JSON values, fast enough to ask of every resource.

Collections are lists. A primitive that has only extensions is its ``_name`` object, so that it exists and has no
value. Only what the invariants of FHIR R4 use is here: no quantities with units, no date arithmetic, no environment
but ``%resource``, ``%rootResource``, ``%context`` and ``%ucum``. Whatever the grammar has and is not here is a fault
when compiled, never a wrong answer. Source: FHIRPath N1 (2.0.0), chapters 3 to 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from quality.fhir_tables import choice_names
from quality.fhirpath_functions import FUNCTIONS, LAMBDAS, compare, equal, is_of, same, truth
from schemas.errors import ExpressionError
from schemas.fhirpath import Node

Items = list[Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an expression is evaluated.

    Attributes:
        resource: The resource that the node is in (``%resource``).
        root: The resource that contains that one, or the same (``%rootResource``).
    """

    resource: dict[str, Any]
    root: dict[str, Any]


Path = Callable[[Items, Scene], Items]
_UCUM: Final = "http://unitsofmeasure.org"


def reads(tree: Node) -> frozenset[str] | None:
    """Return the element names of the node itself that decide an expression's value; None where others do, too."""
    names: set[str] = set()
    return frozenset(names) if _collect(tree, names) else None


def _collect(node: Node, names: set[str]) -> bool:
    if node.kind == "literal" or node.kind == "type":
        return True
    if node.kind == "operator":
        return all(_collect(one, names) for one in node.inner)
    if node.kind == "variable":
        return bool(node.value == "ucum")
    if node.kind == "member" and node.base is None:
        for name in (node.value, *choice_names(node.value)):
            names.update((name, f"_{name}"))
        return not str(node.value)[:1].isupper()
    if node.base is None:
        return False
    arguments = () if node.value in LAMBDAS else node.inner
    return _collect(node.base, names) and all(_collect(one, names) for one in arguments) and not _foreign(node)


def _foreign(node: Node) -> bool:
    """Whether a variable but ``%ucum`` occurs anywhere in it."""
    if node.kind == "variable":
        return bool(node.value != "ucum")
    return any(_foreign(one) for one in node.inner) or (node.base is not None and _foreign(node.base))


def compile_tree(node: Node) -> Path:
    """Return the function that evaluates an expression on a list of nodes.

    Raises:
        ExpressionError: It uses what is not here; says what, and at which character.
    """
    if node.kind == "literal":
        return _literal(node)
    if node.kind == "this":
        return lambda items, _scene: items
    if node.kind == "variable":
        return _variable(node)
    if node.kind == "operator":
        return _operator(node)
    if node.kind == "call":
        return _call(node)
    if node.kind == "member":
        return _member(node)
    raise ExpressionError(f"{_UNKNOWN.get(node.kind, node.kind)} is not known here", node.at)


#: Kinds of nodes that no invariant has, as messages name them.
_UNKNOWN: Final = {"empty": "{}", "index": "$index", "item": "[]", "sign": "a sign before a value"}


def _literal(node: Node) -> Path:
    if node.type in ("date", "dateTime", "time"):
        raise ExpressionError(f"a {node.type} is not known here", node.at)
    # What is read from JSON are floats, and 0.1 of one is not 0.1 of the other.
    held = [float(node.value) if isinstance(node.value, Decimal) else node.value]
    return lambda _items, _scene: held


def _variable(node: Node) -> Path:
    name = node.value
    if name == "ucum":
        return lambda _items, _scene: [_UCUM]
    if name == "rootResource":
        return lambda _items, scene: [scene.root]
    if name == "resource":
        return lambda _items, scene: [scene.resource]
    if name == "context":
        return lambda items, _scene: items
    raise ExpressionError(f"%{name} is not known here", node.at)


def _member(node: Node) -> Path:
    name, twin = node.value, f"_{node.value}"
    if node.base is None and name[:1].isupper():
        return lambda items, _scene: [one for one in items if is_of(one, name)]
    choices = choice_names(name)

    def below(items: Items) -> Items:
        found: Items = []
        for item in items:
            if isinstance(item, dict):
                child = item.get(name)
                if child is None:
                    child = item.get(twin)
                if child is None and choices:
                    child = next((item[key] for key in item if key in choices), None)
                if isinstance(child, list):
                    found += [one for one in child if one is not None]
                elif child is not None:
                    found.append(child)
        return found

    if node.base is None:
        return lambda items, _scene: below(items)
    base = compile_tree(node.base)
    return lambda items, scene: below(base(items, scene))


def _call(node: Node) -> Path:
    base = compile_tree(node.base) if node.base is not None else lambda items, _scene: items
    arguments = tuple(one.value if one.kind == "type" else compile_tree(one) for one in node.inner)
    if node.value in LAMBDAS:
        run = LAMBDAS[node.value]
        return lambda items, scene: run(base(items, scene), scene, *arguments)
    if node.value not in FUNCTIONS:
        raise ExpressionError(f"{node.value}() is not known here", node.at)
    plain = FUNCTIONS[node.value]
    if not arguments:
        return lambda items, scene: plain(base(items, scene))
    if node.inner[0].kind == "type":
        return lambda items, scene: plain(base(items, scene), *arguments)
    return lambda items, scene: plain(base(items, scene), *(one(items, scene) for one in arguments))


def _operator(node: Node) -> Path:
    sign, right_node = node.value, node.inner[1]
    left = compile_tree(node.inner[0])
    if sign == "is":
        return lambda items, scene: [is_of(one, right_node.value) for one in left(items, scene)[:1]]
    if sign == "as":
        return lambda items, scene: [one for one in left(items, scene) if is_of(one, right_node.value)]
    right = compile_tree(right_node)
    if sign in _LOGIC:
        return _logic(sign, left, right)
    join = _JOINS.get(sign)
    if join is None:
        raise ExpressionError(f"the operator {sign} is not known here", node.at)
    return lambda items, scene: join(left(items, scene), right(items, scene))


_LOGIC: Final = frozenset({"and", "or", "xor", "implies"})


def _logic(sign: str, left: Path, right: Path) -> Path:
    """Return the operator in three values: true, false, and empty for unknown (FHIRPath N1, 6.5)."""

    def both(items: Items, scene: Scene) -> Items:
        one = truth(left(items, scene))
        if sign == "and" and one is False:
            return [False]
        if (sign == "or" and one) or (sign == "implies" and one is False):
            return [True]
        other = truth(right(items, scene))
        if sign == "implies":
            return [True] if other else ([other] if one and other is not None else [])
        if sign == "and":
            return [False] if other is False else ([True] if one and other else [])
        if sign == "or":
            return [True] if other else ([False] if one is False and other is False else [])
        return [] if one is None or other is None else [one != other]

    return both


def _ordered(sign: str) -> Callable[[Items, Items], Items]:
    def ordered(left: Items, right: Items) -> Items:
        answer = compare(left[0], right[0], sign) if len(left) == 1 and len(right) == 1 else None
        return [] if answer is None else [answer]

    return ordered


def _equals(left: Items, right: Items) -> Items:
    return [equal(left, right)] if left and right else []


def _differs(left: Items, right: Items) -> Items:
    return [not equal(left, right)] if left and right else []


def _union(left: Items, right: Items) -> Items:
    found: Items = []
    for one in (*left, *right):
        if not any(same(one, other) for other in found):
            found.append(one)
    return found


def _among(left: Items, right: Items) -> Items:
    return [any(same(left[0], one) for one in right)] if left else []


def _plus(left: Items, right: Items) -> Items:
    return [left[0] + right[0]] if left and right and type(left[0]) is type(right[0]) else []


def _text_of_both(left: Items, right: Items) -> Items:
    return ["".join(str(side[0]) for side in (left, right) if side)]


_JOINS: Final[dict[str, Callable[[Items, Items], Items]]] = {
    "=": _equals,
    "!=": _differs,
    "|": _union,
    "in": _among,
    "contains": lambda left, right: _among(right, left),
    "+": _plus,
    "&": _text_of_both,
    **{sign: _ordered(sign) for sign in ("<", ">", "<=", ">=")},
}
