"""Paths of the tables of vendor replies: which items a reply holds, and what stands where in one.

``a.b`` goes down, ``0`` is the first of a list, ``a[type=9]`` the one of a list that has that value; ``^a`` starts at
the reply's root, ``..a`` at what the item lies in, ``@key`` is the name an item stands under. ``p|q`` takes q where p
finds nothing. In ``items``, ``a[]`` means each of a list and ``a{}`` each value of an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

_STEP: Final = re.compile(r"([^\[\].]+)(?:\[(\w+)=(\w+)\])?")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a reply.

    Attributes:
        value: The item.
        around: What it lies in, the nearest last.
        root: The reply.
        key: The name it stands under, where it is one of an object's values.
        where: Its JSON path.
    """

    value: dict[str, Any]
    around: tuple[dict[str, Any], ...]
    root: Any
    key: str
    where: str

    def find(self, path: str) -> Any:
        """Return what the path finds, or None."""
        for one in path.split("|"):
            found = self._one(one)
            if found is not None:
                return found
        return None

    def holds(self, conditions: str) -> bool:
        """Whether all of ``path=value`` (equal), ``path!value`` (not) and ``path~value`` (within) are so."""
        return all(self._holds(one) for one in conditions.split())

    def _holds(self, condition: str) -> bool:
        path, sign, wanted = re.split("([=~!])", condition, maxsplit=1)
        found = self.find(path)
        text = str(found).lower() if isinstance(found, bool) else str(found)
        return wanted in text if sign == "~" else (text == wanted) is (sign == "=")

    def _one(self, path: str) -> Any:
        if path == "@key":
            return self.key
        if path.startswith("^"):
            return get(self.root, path[1:])
        if path.startswith(".."):
            return get(self.around[-1], path[2:]) if self.around else None
        return get(self.value, path)


@cache
def _steps(path: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((match[1], match[2] or "", match[3] or "") for match in _STEP.finditer(path))


def get(value: Any, path: str) -> Any:
    """Return what stands at the path, or None."""
    for name, key, wanted in _steps(path):
        if isinstance(value, list) and name.isdigit():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
        if key and value is not None:
            inside = value if isinstance(value, list) else []
            value = next((one for one in inside if isinstance(one, dict) and str(one.get(key)) == wanted), None)
    return value


def items(reply: Any, path: str) -> Iterator[Item]:
    """Yield the items of a reply in its order."""
    yield from _items(reply, [part for part in re.split(r"(\[\]|\{\})\.?", path) if part], (), reply, "", "$")


def _items(
    value: Any, parts: list[str], around: tuple[dict[str, Any], ...], root: Any, key: str, where: str
) -> Iterator[Item]:
    if not parts:
        if isinstance(value, dict):
            yield Item(value, around, root, key, where)
        return
    part, rest = parts[0], parts[1:]
    if part == "[]":
        for number, one in enumerate(value if isinstance(value, list) else ()):
            yield from _items(one, rest, around, root, "", f"{where}[{number}]")
    elif part == "{}":
        for number, (name, one) in enumerate((value if isinstance(value, dict) else {}).items()):
            # A name that a person gave does not stand in coordinates; a number (a time) does.
            yield from _items(one, rest, around, root, name, f"{where}.{name if name.isdigit() else number}")
    else:
        inside = (*around, value) if isinstance(value, dict) else around
        yield from _items(get(value, part), rest, inside, root, key, f"{where}.{part}")
