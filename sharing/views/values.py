"""Collections of FHIRPath in the shape that JSON has: None is empty, a list is several, anything else is one.

Then an element is looked up by ``dict.get`` alone, and no list is made for what stands once.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from sharing.views.faults import Fault
from sharing.views.temporal import compare

#: No expression of a definition makes more of a resource than this.
MOST_ITEMS: Final = 100_000
LONGEST_TEXT: Final = 1_000_000


class Tagged(dict[str, Any]):
    """An element found under a name that says its type (``valueQuantity``)."""

    __slots__ = ("type",)

    def __init__(self, body: dict[str, Any], type_: str) -> None:
        super().__init__(body)
        self.type = type_


class TaggedText(str):
    """A string found under a name that says its type (``valueDateTime``)."""

    __slots__ = ("type",)
    type: str


def tagged(value: Any, type_: str) -> Any:
    """Return a value with what the name it stood under says of its type."""
    if isinstance(value, dict):
        return Tagged(value, type_)
    if isinstance(value, str):
        text = TaggedText(value)
        text.type = type_
        return text
    return value


def items(value: Any) -> list[Any]:
    """Return a collection as a list."""
    if value is None:
        return []
    return value if type(value) is list else [value]


def collected(found: list[Any]) -> Any:
    """Return a list as a collection."""
    if len(found) > MOST_ITEMS:
        raise Fault(f"more than {MOST_ITEMS:,} items in one collection")
    return found if len(found) > 1 else found[0] if found else None


def one(value: Any, what: str) -> Any:
    """Return the only item, or None.

    Raises:
        Fault: There are several; the message says what wants one.
    """
    if type(value) is not list:
        return value
    if len(value) > 1:
        raise Fault(f"{what} takes one value and there are {len(value)}; choose with first() or where()")
    return value[0] if value else None


def truth(value: Any, what: str) -> bool | None:
    """Return what a collection says where a boolean is wanted; anything else that stands alone is true (N1, 4.5)."""
    found = one(value, what)
    return found if found is None or isinstance(found, bool) else True


def number(value: Any) -> bool:
    """Whether it is a number; true is none."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def exact(value: Any) -> Any:
    """Return a number so that 0.1 + 0.2 is 0.3: as the decimal that JSON wrote."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def same(left: Any, right: Any, temporal: bool = False) -> bool | None:
    """Whether two items are equal; None where that cannot be said, which only dates do."""
    if isinstance(left, str) and isinstance(right, str):
        if str.__eq__(left, right) or not temporal:
            return str.__eq__(left, right)
        order = compare(left, right)
        return None if order is None else order == 0
    if number(left) and number(right):
        return bool(exact(left) == exact(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def equal(left: Any, right: Any, temporal: bool = False) -> bool | None:
    """Whether two collections hold equal items in the same order; None where one is empty (N1, 6.1)."""
    if left is None or right is None:
        return None
    ours, theirs = items(left), items(right)
    if len(ours) != len(theirs):
        return False
    answers = [same(a, b, temporal) for a, b in zip(ours, theirs, strict=True)]
    return False if False in answers else None if None in answers else True


def shape(item: Any) -> Any:
    """Return what equal items have in common and can be looked up by."""
    if isinstance(item, dict):
        return repr(sorted((key, shape(value)) for key, value in item.items()))
    if isinstance(item, list):
        return repr([shape(value) for value in item])
    return (bool, item) if isinstance(item, bool) else exact(item) if number(item) else str(item)


def distinct(found: Iterable[Any]) -> list[Any]:
    """Return the items without those that stood before."""
    seen: dict[Any, Any] = {}
    for item in found:
        seen.setdefault(shape(item), item)
    return list(seen.values())


def shapes(found: Iterable[Any]) -> set[Any]:
    """Return what the items are recognised by."""
    return {shape(item) for item in found}
