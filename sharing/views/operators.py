"""The operators of FHIRPath over collections in the shape that JSON has.

Source: FHIRPath N1 (2.0.0), chapter 6.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any, Final

from schemas.fhirpath import Node
from sharing.views.compiled import UNSAID, Code, Env, Run
from sharing.views.faults import Fault
from sharing.views.model import NUMBERS, PRIMITIVE, TEMPORAL, ancestry
from sharing.views.temporal import compare, read, read_time
from sharing.views.values import (
    LONGEST_TEXT,
    Tagged,
    TaggedText,
    collected,
    distinct,
    equal,
    exact,
    items,
    number,
    one,
    shape,
    shapes,
    truth,
)

#: Digits of a whole number at most; a decimal has 28.
MOST_DIGITS: Final = 40


def is_of(item: Any, type_: str, known: str = "") -> bool:
    """Whether an item is of a type: by what the view knows, by its own word, or by what JSON makes of it."""
    if isinstance(item, Tagged | TaggedText):
        known = item.type
    elif isinstance(item, dict) and isinstance(item.get("resourceType"), str):
        known = item["resourceType"]
    if known:
        return type_ in ancestry(known)
    if isinstance(item, dict):
        return type_ not in PRIMITIVE and "Resource" not in ancestry(type_)
    if isinstance(item, bool):
        return type_ == "boolean"
    if number(item):
        return type_ == "decimal" or (isinstance(item, int) and type_ in NUMBERS)
    return isinstance(item, str) and (
        _reads_as(item, type_) if type_ in TEMPORAL else type_ in PRIMITIVE - NUMBERS - {"boolean"}
    )


def _reads_as(text: str, type_: str) -> bool:
    return (read_time(text) if type_ == "time" else read(text)) is not None


def cast(base: Code, type_: str) -> Code:
    """Return the items of that type; a primitive of exactly that one, since a code is asked for as a code."""
    run, known = base.run, base.type
    if known in PRIMITIVE and type_ in PRIMITIVE:
        return base if known == type_ else base.of(lambda _node, _env: None, type_)

    def of_type(node: Any, env: Env) -> Any:
        found = run(node, env)
        if type(found) is list:
            return collected([item for item in found if is_of(item, type_, known)])
        return found if found is not None and is_of(found, type_, known) else None

    return base.of(of_type, type_, base.many)


def _clash(node: Node, left: Code, right: Code) -> None:
    """No comparison of two things that can never be compared is let through.

    Raises:
        Fault: The types differ, as far as they are known.
    """
    if left.family and right.family and left.family != right.family:
        raise Fault(f"{node.value} compares {_named(left)} with {_named(right)}", node.at)


def _named(code: Code) -> str:
    return {"text": "a text", "number": "a number", "element": "an element"}.get(code.family, f"a {code.type}")


def _equals(_node: Node, left: Code, right: Code) -> Code:
    temporal = (left.temporal and right.open) or (right.temporal and left.open)
    if left.temporal and right.temporal and (left.type == "time") != (right.type == "time"):
        first, second = left.run, right.run  # a day is no time of day, whatever they say
        return left.of(
            lambda node, env: None if first(node, env) is None or second(node, env) is None else False,
            "boolean",
            False,
            right,
        )
    if type(right.value) is str and not temporal:
        return left.of(_is_text(left, right.value), "boolean", False, right)
    ours, theirs = left.run, right.run
    return left.of(lambda node, env: equal(ours(node, env), theirs(node, env), temporal), "boolean", False, right)


def _is_text(left: Code, text: str) -> Run:
    run, name = left.run, left.child

    def child_is_text(node: Any, env: Env) -> Any:
        if type(node) is dict:
            found = node.get(name)
            if type(found) is str:
                return found == text
        return is_text(node, env)

    def is_text(node: Any, env: Env) -> Any:
        found = run(node, env)
        return found == text if type(found) is str else equal(found, text)

    return child_is_text if name else is_text


def _differs(node: Node, left: Code, right: Code) -> Code:
    same = _equals(node, left, right).run

    def differs(node: Any, env: Env) -> Any:
        answer = same(node, env)
        return None if answer is None else not answer

    return left.of(differs, "boolean", False, right)


def _alike(_node: Node, left: Code, right: Code) -> Code:
    """Return ``~``: without regard to order and case, and true of two empty collections (N1, 6.1.2)."""

    def folded(value: Any) -> list[Any]:
        texts = (" ".join(item.lower().split()) if isinstance(item, str) else shape(item) for item in items(value))
        return sorted(texts, key=repr)

    def alike(node: Any, env: Env) -> Any:
        ours, theirs = left.run(node, env), right.run(node, env)
        return ours is theirs if ours is None or theirs is None else folded(ours) == folded(theirs)

    return left.of(alike, "boolean", False, right)


def _unlike(node: Node, left: Code, right: Code) -> Code:
    alike = _alike(node, left, right).run
    return left.of(lambda node, env: not alike(node, env), "boolean", False, right)


_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _ordered(node: Node, left: Code, right: Code) -> Code:
    _clash(node, left, right)
    if "element" in (left.family, right.family) and "Quantity" not in (left.type, right.type):
        raise Fault(f"{node.value} does not order {_named(left)}", node.at)
    sign, order = node.value, _ORDERS[node.value]
    temporal = left.temporal or right.temporal
    ours, theirs = left.run, right.run

    def ordered(node: Any, env: Env) -> Any:
        first, second = ours(node, env), theirs(node, env)
        if first is None or second is None:
            return None
        if type(first) is list or type(second) is list:
            first, second = one(first, sign), one(second, sign)
        return _in_order(first, second, order, temporal, sign)

    return left.of(ordered, "boolean", False, right)


def _in_order(first: Any, second: Any, order: Callable[[Any, Any], bool], temporal: bool, sign: str) -> bool | None:
    if isinstance(first, dict) and isinstance(second, dict):  # two quantities of one unit
        if any(first.get(key) != second.get(key) for key in ("system", "code")):
            return None
        first, second = first.get("value"), second.get("value")
    if first is None or second is None:
        return None
    if number(first) and number(second):
        return order(exact(first), exact(second))
    if isinstance(first, str) and isinstance(second, str):
        if temporal or (_is_moment(first) and _is_moment(second)):
            where = compare(first, second)
            return None if where is None else order(where, 0)
        return order(first, second)
    raise Fault(f"{sign} compares two numbers, texts or dates, not values of different kinds")


def _is_moment(text: str) -> bool:
    return text[:4].isdigit() and text[4:5] in ("", "-") and read(text) is not None


def _truths(code: Code, sign: str) -> Run:
    run = code.run
    if code.type == "boolean" and not code.many:
        return run
    return lambda node, env: truth(run(node, env), sign)


def _logic(node: Node, left: Code, right: Code) -> Code:
    """Return an operator in three values: true, false, and empty for unknown (N1, 6.5)."""
    build = {"and": _and, "or": _or, "xor": _xor, "implies": _implies}[node.value]
    return left.of(build(_truths(left, node.value), _truths(right, node.value)), "boolean", False, right)


def _and(left: Run, right: Run) -> Run:
    def both(node: Any, env: Env) -> Any:
        first = left(node, env)
        if first is False:
            return False
        second = right(node, env)
        return False if second is False else first and second

    return both


def _or(left: Run, right: Run) -> Run:
    def either(node: Any, env: Env) -> Any:
        first = left(node, env)
        if first:
            return True
        second = right(node, env)
        return True if second else None if first is None else second

    return either


def _xor(left: Run, right: Run) -> Run:
    def one_of_them(node: Any, env: Env) -> Any:
        first, second = left(node, env), right(node, env)
        return None if first is None or second is None else first is not second

    return one_of_them


def _implies(left: Run, right: Run) -> Run:
    def implies(node: Any, env: Env) -> Any:
        first = left(node, env)
        if first is False:
            return True
        second = right(node, env)
        return True if second else None if first is None else second

    return implies


def _within(node: Node, left: Code, right: Code) -> Code:
    if node.value == "contains":
        left, right = right, left
    ours, theirs, sign = left.run, right.run, node.value
    if right.value is not UNSAID:
        return left.of(_among(ours, items(right.value), sign), "boolean", False, right)

    def within(node: Any, env: Env) -> Any:
        item = one(ours(node, env), sign)
        if item is None:
            return None
        return shape(item) in shapes(items(theirs(node, env)))

    return left.of(within, "boolean", False, right)


def _among(run: Run, held: list[Any], sign: str) -> Run:
    """Return whether an item is one of some that are known before."""
    known, texts = shapes(held), frozenset(item for item in held if type(item) is str)

    def among(node: Any, env: Env) -> Any:
        item = run(node, env)
        if type(item) is str:
            return item in texts
        item = one(item, sign)
        return None if item is None else shape(item) in known

    return among


def union(left: Code, right: Code) -> Code:
    """Return the items of both, each once."""
    ours, theirs = left.run, right.run
    type_ = left.type if left.type == right.type else ""
    if left.value is not UNSAID and right.value is not UNSAID:
        held = collected(distinct([*items(left.value), *items(right.value)]))
        return Code(lambda _node, _env: held, type_, True, value=held)

    def both(node: Any, env: Env) -> Any:
        return collected(distinct([*items(ours(node, env)), *items(theirs(node, env))]))

    return left.of(both, type_, True, right)


def _text(_node: Node, left: Code, right: Code) -> Code:
    """Return ``&``: two texts as one, of which an empty one adds nothing (N1, 6.6.7)."""
    ours, theirs = left.run, right.run

    def joined(node: Any, env: Env) -> Any:
        parts = (one(ours(node, env), "&"), one(theirs(node, env), "&"))
        if not all(part is None or isinstance(part, str) for part in parts):
            raise Fault("& joins texts; write toString() behind what is none")
        return bounded("".join(part for part in parts if part is not None))

    return left.of(joined, "string", False, right)


def bounded(text: str) -> str:
    """Return a text that a view may hold.

    Raises:
        Fault: It is longer than that.
    """
    if len(text) > LONGEST_TEXT:
        raise Fault(f"a text of more than {LONGEST_TEXT:,} characters")
    return text


def _sum(left: Any, right: Any) -> Any:
    return bounded(left + right) if isinstance(left, str) else left + right


def _whole(left: Any, right: Any) -> Any:
    return int(Decimal(left) / Decimal(right)) if right else None


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": _sum,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: Decimal(left) / Decimal(right) if right else None,
    "div": _whole,
    "mod": lambda left, right: left - right * _whole(left, right) if right else None,
}


def _calculated(node: Node, left: Code, right: Code) -> Code:
    sign, apply = node.value, _ARITHMETIC[node.value]
    texts = sign == "+" and "number" not in (left.family, right.family)
    for code in (left, right):
        if code.family in ("boolean", "element") or (code.family == "text" and not texts) or code.temporal:
            raise Fault(f"{sign} takes numbers{' or texts' if sign == '+' else ''}, not {_named(code)}", node.at)
    ours, theirs = left.run, right.run

    def calculated(node: Any, env: Env) -> Any:
        first, second = one(ours(node, env), sign), one(theirs(node, env), sign)
        if first is None or second is None:
            return None
        if not (number(first) and number(second)) and not (
            texts and isinstance(first, str) and isinstance(second, str)
        ):
            raise Fault(f"{sign} takes two numbers{' or two texts' if sign == '+' else ''}")
        return calculate(apply, exact(first), exact(second))

    type_ = "string" if "text" in (left.family, right.family) else "integer" if sign == "div" else ""
    if left.family == right.family == "number" and sign != "div":
        whole = sign != "/" and left.type != "decimal" and right.type != "decimal"
        type_ = "integer" if whole else "decimal"
    return left.of(calculated, type_, False, right)


def calculate(apply: Callable[..., Any], *values: Any) -> Any:
    """Return a number, or None where mathematics or 28 digits know none.

    Raises:
        Fault: It has more digits than any value of FHIR.
    """
    try:
        found = apply(*values)
    except (ArithmeticError, DecimalException, ValueError):
        return None
    if isinstance(found, int) and abs(found) >= 10**MOST_DIGITS:
        raise Fault(f"a number of more than {MOST_DIGITS} digits")
    if isinstance(found, Decimal) and not (found.is_finite() and abs(found.adjusted()) < 300):
        return None
    return found


def signed(node: Node, code: Code) -> Code:
    """Return unary plus or minus."""
    if code.family not in ("", "number"):
        raise Fault(f"{node.value} takes a number, not {_named(code)}", node.at)
    minus, run = node.value == "-", code.run

    def negated(value: Any) -> Any:
        found = one(value, node.value)
        if found is not None and not number(found):
            raise Fault(f"{node.value} takes a number")
        return -found if minus and found is not None else found

    value = UNSAID if code.value is UNSAID else negated(code.value)
    return Code(lambda one, env: negated(run(one, env)), code.type, False, code.uses, value)


OPERATORS: Final[dict[str, Callable[[Node, Code, Code], Code]]] = {
    "=": _equals,
    "!=": _differs,
    "~": _alike,
    "!~": _unlike,
    "|": lambda _node, left, right: union(left, right),
    "&": _text,
    "in": _within,
    "contains": _within,
    **dict.fromkeys(_ORDERS, _ordered),
    **dict.fromkeys(("and", "or", "xor", "implies"), _logic),
    **dict.fromkeys(_ARITHMETIC, _calculated),
}
