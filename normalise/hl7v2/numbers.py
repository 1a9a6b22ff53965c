"""The number by which a PID or MRG names its patient."""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import PATIENT_NUMBERS

_RANKS: Final = {type_: rank for rank, type_ in enumerate(PATIENT_NUMBERS)}


def patient_number(segment: Segment) -> str:
    """Return the identifier by which a PID or MRG names its patient, a CX as it came; ``""`` when it names none.

    The record number before all others, then as ``patient_numbers.csv`` orders the types; PID-3 before PID-2 and
    PID-4 (MRG-1 before MRG-4 and MRG-2), where senders put it until 2.2.
    """
    for field in (3, 2, 4) if segment.id == "PID" else (1, 4, 2):
        raw = segment.get(field)
        valued = [one for one in raw.split("~") if text(one.partition("^")[0])] if raw else []
        if valued:
            return min(valued, key=_rank) if len(valued) > 1 else valued[0]
    return ""


def _rank(cx: str) -> int:
    parts = cx.split("^", 5)
    return _RANKS.get(text(parts[4]) if len(parts) > 4 else "", len(_RANKS))
