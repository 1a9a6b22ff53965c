"""Paths into a FHIR resource, as suites write them, compiled to functions.

``a.b`` finds element b of element a, and every one of them where a or b repeats. ``a[system=urn:x]`` keeps
those whose ``system`` is that, ``value[x]`` finds whichever type of a choice is there. ``p | q`` finds q
where p finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

Finder = Callable[[Any], list[Any]]

_STEP: Final = re.compile(r"([a-zA-Z]+)(?:\[(?:(x)|([a-zA-Z]+)=([^\]]+))\])?(?:\.|$)")


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    choice: bool
    key: str
    value: str

    def follow(self, nodes: list[Any]) -> list[Any]:
        """Return what this step finds below ``nodes``, arrays opened."""
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, dict):
                for item in self._below(node):
                    if isinstance(item, list):
                        found += item
                    elif item is not None:
                        found.append(item)
        if self.key:
            return [one for one in found if isinstance(one, dict) and one.get(self.key) == self.value]
        return found

    def _below(self, node: dict[str, Any]) -> list[Any]:
        if not self.choice:
            return [node.get(self.name)]
        size = len(self.name)
        return [node[key] for key in node if key.startswith(self.name) and key[size : size + 1].isupper()]


@cache
def compile_path(path: str) -> Finder | None:
    """Return the function that lists what ``path`` finds in a resource, or None where it is no path."""
    ways = [_way(way.strip()) for way in path.split(" | ")]
    finders = [way for way in ways if way is not None]
    if len(finders) < len(ways):
        return None
    if len(finders) == 1:
        return finders[0]

    def find(body: Any) -> list[Any]:
        for way in finders:
            if nodes := way(body):
                return nodes
        return []

    return find


def _way(text: str) -> Finder | None:
    steps = _parse(text)
    if steps is None:
        return None
    if all(not step.choice and not step.key for step in steps):
        return _plain([step.name for step in steps])

    def find(body: Any) -> list[Any]:
        nodes = [body]
        for step in steps:
            nodes = step.follow(nodes)
        return nodes

    return find


def _plain(names: list[str]) -> Finder:
    """The common case, element names alone; straight down while nothing repeats."""
    steps = tuple(_Step(name, False, "", "") for name in names)

    def find(body: Any) -> list[Any]:
        node = body
        for at, name in enumerate(names, 1):
            node = node.get(name)
            if node is None:
                return []
            if isinstance(node, list):
                for step in steps[at:]:
                    node = step.follow(node)
                return node
            if not isinstance(node, dict):
                return [node] if at == len(names) else []
        return [node]

    return find


def _parse(text: str) -> tuple[_Step, ...] | None:
    steps, at = [], 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        steps.append(_Step(match[1], bool(match[2]), match[3] or "", match[4] or ""))
        at = match.end()
    return tuple(steps) if steps and not text.endswith(".") else None
