"""Who a patient is: the same id wherever the same person's identifiers come from.

By the resident identity number where one with a right checksum is there, because every institution knows it; else
by the first identifier and who assigned it. What one institution calls by two ids is joined later, by the vault's
links, from evidence that records bring.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from normalise.ids import id_of

#: System of resident identity numbers (GB 11643): the OID of the Ministry of Public Security's register.
RESIDENT: Final = "urn:oid:2.16.156.10011.1.3"
_RESIDENT: Final = re.compile(r"[1-9]\d{5}((?:18|19|20)\d{2})(\d{2})(\d{2})\d{3}[\dX]", re.ASCII)
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_resident_number(value: str) -> bool:
    """Whether a text is a resident identity number: 18 places, a real birth date, the right check character.

    Source: GB 11643-1999, section 4 and the check of ISO 7064 MOD 11-2.
    """
    match = _RESIDENT.fullmatch(value)
    if match is None:
        return False
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, value, strict=False))
    return "10X98765432"[total % 11] == value[17]


def naming(identifiers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the identifier that names the patient, or None where none has a value."""
    valued = [one for one in identifiers if one.get("value")]
    resident = (one for one in valued if one.get("system") == RESIDENT and is_resident_number(one["value"]))
    return next(resident, valued[0] if valued else None)


def patient_id(identifiers: Sequence[Mapping[str, Any]], institution: str) -> str | None:
    """Return the id of the patient with these FHIR identifiers, or None where they name nobody.

    Args:
        identifiers: As they stand in ``Patient.identifier``; the source's own order counts.
        institution: Scopes an identifier without a system.
    """
    one = naming(identifiers)
    return id_of("Patient", one.get("system", ""), one["value"], institution) if one else None
