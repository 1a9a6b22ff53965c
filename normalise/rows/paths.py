"""Elements put into a resource by their path, ``name[0].text``; what stays empty is not there in the end."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

Path = tuple[str | int, ...]
_PART: Final = re.compile(r"([A-Za-z_][A-Za-z0-9]{0,63}(?:\[x\])?)(?:\[(\d{1,2})\])?", re.ASCII)


class _Array(dict[int, Any]):
    """An array under way, by index; gaps close."""


def parse(path: str) -> Path:
    """Return a path's names and indexes.

    Raises:
        ValueError: It is none.
    """
    parts: list[str | int] = []
    for piece in path.split("."):
        match = _PART.fullmatch(piece)
        if match is None:
            raise ValueError(f"path {path}: expected names and indexes such as name[0].text")
        parts.append(match[1])
        if match[2]:
            parts.append(int(match[2]))
    return tuple(parts)


def put(tree: dict[Any, Any], path: Path, value: Any) -> None:
    """The value stands at the path; objects are joined, and what stood there first stays."""
    for part, following in pairwise(path):
        tree = tree.setdefault(part, _Array() if isinstance(following, int) else {})
    held = tree.setdefault(path[-1], value)
    if held is not value and isinstance(held, dict) and isinstance(value, dict):
        for name, one in value.items():
            held.setdefault(name, one)


def exists(tree: dict[Any, Any], path: Path) -> bool:
    """Whether anything stands at the path."""
    node: Any = tree
    for part in path:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def finished(tree: Any) -> Any:
    """Return the resource as plain JSON: arrays as lists, in order of index."""
    if isinstance(tree, _Array):
        return [finished(tree[at]) for at in sorted(tree)]
    if isinstance(tree, dict):
        return {name: finished(one) for name, one in tree.items()}
    return tree
