"""Rows of a hospital's tables as FHIR R4 resources, by a mapping that the hospital writes (``rows:`` of its YAML).

Pure functions: no I/O, no clock, the same row and mapping give the same resources. ``docs/mapping.md`` says how to
write one; ``schemas/mapping.schema.json`` is what it is checked by.
"""

from __future__ import annotations

from normalise.rows.compiling import MAPPING, mapping_of
from normalise.rows.making import make
from normalise.rows.record import read
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one row becomes.

    Args:
        content: One row as canonical JSON: ``{"key": {…}, "row": {…}, "table": "…"}`` and, where it was deleted,
            ``"deleted": true``.
        context: The source, with its mapping.

    Raises:
        SetAside: The row is refused; the only exception that any bytes can cause.
    """
    return make(read(content), mapping_of(context), context)
