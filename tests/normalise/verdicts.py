"""What becomes of a message, and that asking beforehand says the same."""

from __future__ import annotations

from normalise.errors import SetAside
from normalise.hl7v2 import convert, inspect
from schemas.records import Normalised, Refusal, SourceContext


def verdict(content: bytes, context: SourceContext) -> Normalised | Refusal:
    """What convert makes of a message; inspect gives the same refusal or none, but asks for MSH-10 as well."""
    told = inspect(content, context)
    found: Normalised | Refusal
    try:
        found = convert(content, context)
    except SetAside as error:
        found = error.refusal
    if told is not None and told.code == "control_id":
        assert isinstance(found, Refusal) or "control_id" in {note.code for note in found.notes}
    else:
        assert told == (found if isinstance(found, Refusal) else None)
    return found
