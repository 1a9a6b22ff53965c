"""Who a patient is: the same id wherever the same number of the same assigner comes.

A patient is known by the number that the source's own records share (its record number, with who assigned it), so
that a bill or a result that carries only this number finds its patient. The resident identity number names a patient
only where no other number is there. Which patients are one person is not decided here, record by record, but by the
vault from all their evidence (``vault/persons.py``, docs/decisions/0021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from normalise.ids import id_of
from schemas.residents import RESIDENT


def naming(identifiers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the identifier that names the patient, or None where none has a value."""
    valued = [one for one in identifiers if one.get("value")]
    own = (one for one in valued if one.get("system") != RESIDENT)
    return next(own, valued[0] if valued else None)


def patient_id(identifiers: Sequence[Mapping[str, Any]], institution: str) -> str | None:
    """Return the id of the patient with these FHIR identifiers, or None where they name nobody.

    Args:
        identifiers: As they stand in ``Patient.identifier``; the source's own order counts.
        institution: Scopes an identifier without a system.
    """
    one = naming(identifiers)
    return id_of("Patient", one.get("system", ""), one["value"], institution) if one else None
