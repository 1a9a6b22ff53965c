"""What a number must be beside its form, so that a measurement is not taken for somebody's number."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

from sharing.deidentify.scrubbing_data import rules

Check = Callable[[str], bool]

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
#: First two digits of area codes, GB/T 2260: the provinces, and 71, 81 to 83 of Taiwan, Hong Kong and Macao.
_PROVINCES: Final = frozenset(
    str(one) for low, high in ((11, 15), (21, 23), (31, 37), (41, 46), (50, 54), (61, 65), (71, 71), (81, 83))
    for one in range(low, high + 1)
)  # fmt: skip
_EPONYM: Final = re.compile(
    r"(?:Parkinson|Alzheimer|Crohn|Hodgkin|Gleason|Graves|Cushing|Addison|Down|Marfan|Kawasaki|Raynaud|Behcet|Sjogren|"
    r"Bell|Babinski|Murphy|McBurney|Kernig|Brudzinski|Glasgow|Child|Doppler|Foley|Wilson|Paget|Barrett|Meniere)\b"
)
_SYLLABLES: Final = re.compile(
    "(?:(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|van|ai|ei|ao|ou|an|en|in|un|ia"
    "|ie|iu|ua|uo|ui|ue|ve|er|a|o|e|i|u|v)){1,2}"
)


def resident_id(value: str) -> bool:
    """Say whether area and date of a resident identity number can be right (GB 11643)."""
    digits = re.sub("[^0-9Xx]", "", value)
    born = digits[6:14] if len(digits) == 18 else "19" + digits[6:12]
    return digits[:2] in _PROVINCES and _is_date(born)


def checked(value: str) -> bool:
    """Say whether the check character of a resident identity number of 18 is right (ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, value[:17], strict=True))
    return "10X98765432"[total % 11] == value[17].upper()


def luhn(value: str) -> bool:
    """Say whether a card's number of 13 to 19 digits has the right check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(one) for one in value if one.isdecimal()]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * one, 10)) for one in digits[-2::-2])
    return 13 <= len(digits) <= 19 and total % 10 == 0


def iban(value: str) -> bool:
    """Say whether an IBAN has the right check digits (ISO 7064 MOD 97-10)."""
    plain = value.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def landline(value: str) -> bool:
    """Say whether a landline's number is whole: area code and number have ten to twelve digits, behind +86 two more."""
    digits = re.sub(r"(?:转|ext|x|-)[ .]?\d{1,5}$", "", value) if re.search("转|ext|x", value) else value
    return 10 <= sum(one.isdecimal() for one in digits) <= 16


def has_digit(value: str) -> bool:
    """Say whether a number has a digit at all; a word after a label is none."""
    return any(one.isdecimal() for one in value)


def no_eponym(value: str) -> bool:
    """Say whether an English name is none that diseases, signs and scales are called by."""
    return _EPONYM.match(value) is None


def pinyin(value: str) -> bool:
    """Say whether a name in Latin letters is made of syllables of pinyin (GB/T 16159), and of no English word."""
    parts = re.split(r"[ ,^-]+", value)
    words = _english() if len(parts) == 2 else frozenset()
    return all(_SYLLABLES.fullmatch(part.lower()) and part not in words for part in parts)


@lru_cache(maxsize=1)
def _english() -> frozenset[str]:
    return frozenset(rules("patterns")["not_pinyin"]["words"].split())


def _is_date(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


CHECKS: Final[dict[str, Check]] = {
    "resident_id": resident_id,
    "luhn": luhn,
    "iban": iban,
    "landline": landline,
    "has_digit": has_digit,
    "no_eponym": no_eponym,
    "pinyin": pinyin,
}
