"""Pure conversions remembered: codes, units and ranges repeat in every message, and are most of the work.

What is remembered is a copy in bytes, so that no two resources ever share a part that somebody might change. Only
coded fields are remembered, never names, identifiers or values.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any, Final

from normalise.hl7v2.building import Building

#: Fields remembered for each row of a table; then it begins anew.
_LIMIT: Final = 4096
#: Longer fields are not remembered.
_LONGEST: Final = 400


def remember(
    convert: Callable[[str, Building, int], Any], *, with_unit: bool = False
) -> Callable[[str, Building, int], Any]:
    """Return ``convert``, run once for each field of an institution as long as it has nothing to note.

    Args:
        convert: Depends on the field and the institution alone (and on OBX-6 when ``with_unit``).
        with_unit: Whether the segment's field 6 is read as well.
    """
    known: dict[tuple[str, ...], bytes | str] = {}

    def recall(raw: str, building: Building, field: int) -> Any:
        key: tuple[str, ...]
        key = (raw, building.institution, building.at.get(6)) if with_unit else (raw, building.institution)
        kept = known.get(key)
        if kept is not None:
            return kept if kept.__class__ is str else marshal.loads(kept)  # type: ignore[arg-type]  # noqa: S302 - own bytes
        asked = building.asked
        value = convert(raw, building, field)
        if value is not None and building.asked == asked and len(raw) <= _LONGEST:
            if len(known) >= _LIMIT:
                known.clear()
            known[key] = value if isinstance(value, str) else marshal.dumps(value)
        return value

    return recall
