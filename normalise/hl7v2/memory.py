"""Pure conversions remembered: codes, units, ranges and times repeat in every message, and are most of the work.

What is remembered is copied each time, so that no two resources ever share a part that somebody might change. Only
coded fields, times, staff and places are remembered, never patients, their identifiers or values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from normalise.hl7v2.building import Building

#: Makes a new copy of what is remembered.
Copy = Callable[[], Any]

#: Combinations of fields remembered for each row or table; then it begins anew.
LIMIT: Final = 4096
#: Longer fields are not remembered.
LONGEST: Final = 400


def copier(value: Any) -> Copy:
    """Return what makes copies of a JSON value: twice as fast as unpacking it from bytes, for texts are shared."""
    if isinstance(value, dict):
        inner = [(name, copier(one)) for name, one in value.items() if isinstance(one, dict | list)]
        return _dict_copier(value.copy(), inner) if inner else value.copy().copy
    if isinstance(value, list | tuple):
        makers = [copier(one) for one in value]
        if len(makers) == 1:
            (only,) = makers
            return lambda: [only()]
        return lambda: [make() for make in makers]
    return lambda: value


def _dict_copier(value: dict[str, Any], inner: list[tuple[str, Copy]]) -> Copy:
    def copy() -> dict[str, Any]:
        new = value.copy()
        for name, make in inner:
            new[name] = make()
        return new

    return copy


class Remembered:
    """A conversion, run once for each field of a source's institution and zone as long as it has nothing to note.

    Attributes:
        known: By field and ``Building.scope``: what copies its value.
        with_unit: Whether it reads the segment's field 6 as well.
        fleeting: Whether its fields, times, seldom come again in another message.
    """

    __slots__ = ("_convert", "fleeting", "known", "with_unit")

    def __init__(
        self, convert: Callable[[str, Building, int], Any], *, with_unit: bool = False, fleeting: bool = False
    ) -> None:
        self._convert = convert
        self.with_unit = with_unit
        self.fleeting = fleeting
        self.known: dict[tuple[str, ...], Copy] = {}

    def __call__(self, raw: str, building: Building, field: int) -> Any:
        """Return what the conversion returns, run or remembered."""
        key = (raw, building.scope, building.at.get(6)) if self.with_unit else (raw, building.scope)
        kept = self.known.get(key)
        if kept is not None:
            return kept()
        asked = building.asked
        value = self._convert(raw, building, field)
        if value is not None and building.asked == asked and len(raw) <= LONGEST:
            if len(self.known) >= LIMIT:
                self.known.clear()
            self.known[key] = copier(value)
        return value
