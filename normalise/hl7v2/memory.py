"""Pure conversions remembered: codes, units, ranges and times repeat in every message, and are most of the work.

What is remembered is a copy in bytes, so that no two resources ever share a part that somebody might change. Only
coded fields and times are remembered, never names, identifiers or values.
"""

from __future__ import annotations

from collections.abc import Callable
from marshal import dumps, loads
from typing import Any, Final

from normalise.hl7v2.building import Building

#: Fields remembered for each row of a table; then it begins anew.
_LIMIT: Final = 4096
#: Longer fields are not remembered.
_LONGEST: Final = 400

__all__ = ["Remembered", "loads"]


class Remembered:
    """A conversion, run once for each field of a source's institution and zone as long as it has nothing to note.

    Attributes:
        known: By field and ``Building.scope``: a string as it is, anything else as bytes for ``loads``.
    """

    __slots__ = ("_convert", "_with_unit", "known")

    def __init__(self, convert: Callable[[str, Building, int], Any], *, with_unit: bool = False) -> None:
        self._convert = convert
        self._with_unit = with_unit
        self.known: dict[tuple[str, ...], bytes | str] = {}

    def __call__(self, raw: str, building: Building, field: int) -> Any:
        """Return what the conversion returns; with ``with_unit`` it may read the segment's field 6 as well."""
        key = (raw, building.scope, building.at.get(6)) if self._with_unit else (raw, building.scope)
        kept = self.known.get(key)
        if kept is not None:
            return loads(kept) if isinstance(kept, bytes) else kept  # noqa: S302 - bytes of our own
        asked = building.asked
        value = self._convert(raw, building, field)
        if value is not None and building.asked == asked and len(raw) <= _LONGEST:
            if len(self.known) >= _LIMIT:
                self.known.clear()
            self.known[key] = value if isinstance(value, str) else dumps(value)
        return value

    @property
    def simple(self) -> bool:
        """Whether field and scope alone are the key."""
        return not self._with_unit
