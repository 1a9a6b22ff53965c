"""Where a row of a table looks in a document, and when it applies. The grammar stands in ``docs/mapping.md``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from normalise.cda.tables import oid
from normalise.cda.tree import Node

#: Finds elements below a statement; the second argument is the statement around it, for ``..``.
Find = Callable[[Node, Node | None], list[Node]]
Test = Callable[[Node], bool]
Guard = Callable[[Node, Node | None], bool]

_STEP: Final = re.compile(r"(\*|(?:sdtc:)?[A-Za-z]+)(?:\[([^\]]+)\])?(?:\{([^}]+)\})?")
_CONDITION: Final = re.compile(r"(\S*?)(?:@([A-Za-z:]+))? (valued|empty|is|is-not)((?: \S+)*)")


def find(path: str) -> Find:
    """Return what finds the elements of a path; alternatives after ``|`` are asked where the ones before find none.

    Raises:
        ValueError: The path is not of the grammar, or names a template that there is none of.
    """
    ways = [_single(one.strip()) for one in path.split("|")]
    if len(ways) == 1:
        return ways[0]

    def first(node: Node, outer: Node | None) -> list[Node]:
        for way in ways:
            if found := way(node, outer):
                return found
        return []

    return first


def _single(path: str) -> Find:
    upwards = path == ".." or path.startswith("../")
    path = path[3:] if upwards else path
    steps = [_step(one) for one in path.split("/")] if path and path != "." else []

    def down(node: Node, outer: Node | None) -> list[Node]:
        here = outer if upwards else node
        found = [here] if here is not None else []
        for name, test in steps:
            found = [
                one
                for parent in found
                for one in (parent.elements() if name == "*" else parent.all(name))
                if test is None or test(one)
            ]
        return found

    return down


def _step(step: str) -> tuple[str, Test | None]:
    match = _STEP.fullmatch(step)
    if match is None:
        raise ValueError(f"step {step!r} of a path cannot be read")
    name, condition, template = match.groups()
    tests = [_attribute(condition)] if condition else []
    tests += [_conforms(frozenset(oid(one.strip()) for one in template.split(",")))] if template else []
    if not tests:
        return name, None
    return name, tests[0] if len(tests) == 1 else lambda node: all(test(node) for test in tests)


def _attribute(condition: str) -> Test:
    key, equals, value = condition.partition("=")
    if not equals:
        return lambda node: node.attributes.get("typeCode") == condition
    if key != "code":
        return lambda node: node.attributes.get(key) == value
    return lambda node: code_of(node) == value


def _conforms(oids: frozenset[str]) -> Test:
    def test(node: Node) -> bool:
        return any(one.attributes.get("root") in oids for one in node.all("templateId"))

    return test


def code_of(node: Node) -> str:
    """Return the code of a statement's code element, ``""`` where it has none."""
    code = node.first("code")
    return code.get("code") if code is not None else ""


def guard(condition: str) -> Guard | None:
    """Return what decides whether a row applies; None for always.

    ``.@negationInd is true``, ``effectiveTime/high valued``, ``code@code is-not 404684003``, joined by `` and ``.
    Valued is an element that is there and not null (of no value): it has no nullFlavor.

    Raises:
        ValueError: The condition is not of the grammar.
    """
    if not condition:
        return None
    parts = [_guard(one) for one in condition.split(" and ")]
    return parts[0] if len(parts) == 1 else lambda node, outer: all(part(node, outer) for part in parts)


def _guard(condition: str) -> Guard:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise ValueError(f"condition {condition!r} cannot be read")
    path, attribute, verb, words = match.groups()
    values = frozenset(words.split())
    look = find(path)
    if verb in ("valued", "empty") and not values and not attribute:
        wanted = verb == "valued"
        return lambda node, outer: any(not one.get("nullFlavor") for one in look(node, outer)) is wanted
    if verb in ("valued", "empty") or not values or not attribute:
        raise ValueError(f"condition {condition!r} cannot be read")
    positive = verb == "is"
    return lambda node, outer: any(one.get(attribute) in values for one in look(node, outer)) is positive
