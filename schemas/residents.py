"""Resident identity numbers (GB 11643): the one number of a person that every institution of the country shares."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

#: FHIR system of resident identity numbers: the OID of the Ministry of Public Security's register.
RESIDENT: Final = "urn:oid:2.16.156.10011.1.3"
_NUMBER: Final = re.compile(r"[1-9]\d{5}((?:18|19|20)\d{2})(\d{2})(\d{2})\d{3}[\dX]", re.ASCII)
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_resident_number(value: str) -> bool:
    """Whether a text is a resident identity number: 18 places, a real birth date, the right check character.

    Source: GB 11643-1999, section 4 and the check of ISO 7064 MOD 11-2.
    """
    if _NUMBER.fullmatch(value) is None or birth_date(value) is None:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, value, strict=False))
    return "10X98765432"[total % 11] == value[17]


def birth_date(number: str) -> str | None:
    """Return the birth date that a number of 18 places holds, as FHIR writes it, or None where it is none."""
    match = _NUMBER.fullmatch(number)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    except ValueError:
        return None


def gender(number: str) -> str:
    """Return the FHIR gender that a resident identity number holds in its 17th place: odd is male."""
    return "male" if int(number[16]) % 2 else "female"
