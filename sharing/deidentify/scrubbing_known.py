"""What a caller knows of the very patient, wherever it stands: spaced, full-width, in another case, divided."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final

from sharing.deidentify.scrubbing_data import HAN, NARROW
from sharing.deidentify.scrubbing_spans import Span, occurrences

#: What may stand between the characters of one value: spaces, hyphens, DICOM's ``^`` and ``=``, middle dots, nothing
#: that can be seen (zero-width characters, soft hyphens, byte order marks), marks of emphasis.
_BETWEEN: Final = re.compile(r"[\s^=·•・．,_*'’\"|/\\\-‐-―\u00ad\u200b-\u200f\u2060\ufeff]+")
_SHORTEST_HAN: Final = 2
_SHORTEST: Final = 3
_SHORTEST_NUMBER: Final = 4
#: From so many digits on a number is looked for spaced as well; two measurements beside each other have fewer.
_SPACED_NUMBER: Final = 7
_HAN: Final = re.compile(f"[{HAN}]")


def find_known(text: str, known: Collection[str]) -> Iterator[Span]:
    """Yield where one of the known values stands in half-width text."""
    wanted = _wanted(frozenset(known))
    if not wanted:
        return
    dense, places = _dense(text)
    for low, high in occurrences(dense, wanted):
        start, end = places[low], places[high - 1] + 1
        spaced = end - start > high - low
        short = spaced and high - low < _SPACED_NUMBER and dense[low:high].isdecimal()
        if not short and _alone(text, start, end):
            yield Span(start, end, "KNOWN", "known")


@lru_cache(maxsize=2)  # the texts of one person come one after the other
def _wanted(known: frozenset[str]) -> frozenset[str]:
    return frozenset(form for value in known for form in _forms(value))


def _forms(value: str) -> Iterator[str]:
    """The value as ``_dense`` leaves it, and a name of several parts the other way round."""
    narrow = value.translate(NARROW)
    for one in (narrow, *narrow.split("="), *narrow.split("\\")):
        parts = [part for part in _BETWEEN.split(one.casefold()) if part]
        for form in ("".join(parts), "".join(reversed(parts))):
            least = _SHORTEST_HAN if _HAN.search(form) else _SHORTEST_NUMBER if form.isdecimal() else _SHORTEST
            if len(form) >= least:
                yield form


def _dense(text: str) -> tuple[str, list[int]]:
    """The text folded and without what may stand between, and where each of its characters stood."""
    characters: list[str] = []
    places: list[int] = []
    at = 0
    for gap in _BETWEEN.finditer(text):
        _append(text, at, gap.start(), characters, places)
        at = gap.end()
    _append(text, at, len(text), characters, places)
    return "".join(characters), places


def _append(text: str, start: int, end: int, characters: list[str], places: list[int]) -> None:
    piece = text[start:end]
    folded = piece.casefold()
    if len(folded) == len(piece):
        characters.append(folded)
        places.extend(range(start, end))
        return
    for at, one in enumerate(piece, start):  # ß and its like become two
        characters.append(one.casefold())
        places.extend([at] * len(one.casefold()))


def _alone(text: str, start: int, end: int) -> bool:
    """Whether a value of Latin letters or digits is not a piece of a longer one."""
    before = text[start - 1 : start] if start else ""
    return not (_joined(before, text[start]) or _joined(text[end - 1], text[end : end + 1]))


def _joined(left: str, right: str) -> bool:
    if not (left and right and left.isascii() and right.isascii()):
        return False
    return (left.isdecimal() and right.isdecimal()) or (left.isalpha() and right.isalpha())
