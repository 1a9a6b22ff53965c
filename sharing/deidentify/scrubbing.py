"""Free text without what names or finds a person: names, numbers, addresses, houses, dates. A text in, a text out.

Rules are data with reasons in ``schemas/deidentify/text``; this package has no language model and needs none. It finds
what has a form (numbers, addresses), what stands beside words that only stand beside names, what a caller knows of the
very patient, and every repetition of a name it found once. Time is linear in the text: every pattern is bounded.
Sources: 45 CFR 164.514(b)(2)(i), GB/T 37964-2019 annexes A and B, GB 11643, GA 36.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from sharing.deidentify.scrubbing_data import NARROW
from sharing.deidentify.scrubbing_dates import find_dates
from sharing.deidentify.scrubbing_known import find_known
from sharing.deidentify.scrubbing_names import find_names
from sharing.deidentify.scrubbing_patterns import find_patterns
from sharing.deidentify.scrubbing_places import find_places
from sharing.deidentify.scrubbing_spans import Span, settle
from sharing.errors import Malformed

#: Characters of one text; nobody writes more, and a scrubbed book is not a record.
LONGEST: Final = 4_000_000
#: What stands for each kind of thing, in the words of a reader.
TOKENS: Final = {
    "NAME": "[姓名]", "ID": "[号码]", "PHONE": "[电话]", "EMAIL": "[邮箱]", "URL": "[网址]", "IP": "[地址]",
    "LOCATION": "[地址]", "HOSPITAL": "[医院]", "ORG": "[单位]", "VEHICLE": "[车牌]", "AGE_OVER_89": "≥90",
    "DATE": "[日期]", "BED": "[床号]", "KNOWN": "[隐去]",
}  # fmt: skip

#: What becomes of a date: hidden, cut to its year, left, or moved as the person's other dates are.
Dates = Literal["hide", "year", "keep"] | Callable[[date], date]


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A text after scrubbing.

    Attributes:
        text: With a token where something was hidden.
        spans: Where it stood in the text that came: places and rules, no values.
    """

    text: str
    spans: tuple[Span, ...]


def scrub(
    text: str,
    known: Collection[str] = (),
    *,
    dates: Dates = "hide",
    also: Collection[str] = (),
) -> Scrubbed:
    """Return the text with a token in the place of everything that names or finds a person.

    Args:
        text: Chinese, English or mixed.
        known: Names and numbers of this very patient, and of people around; hidden wherever they stand, spaced,
            full-width, in another case or divided as DICOM divides names.
        dates: What becomes of dates. A function moves those that have year, month and day; others are hidden.
        also: Ids of rules that are applied only where they are asked for, such as ``bed``.

    Raises:
        Malformed: The text is no ``str``, or longer than ``LONGEST``.
    """
    if not isinstance(text, str):
        raise Malformed(f"expected a text to scrub, got {type(text).__name__}")
    if len(text) > LONGEST:
        raise Malformed(f"expected a text of at most {LONGEST} characters, got {len(text)}; divide it")
    plain = text.translate(NARROW)
    found = [*find_known(plain, known), *find_patterns(plain, also), *find_places(plain), *find_names(plain)]
    found += _dated(plain, dates)
    return _replaced(text, settle(found))


def _dated(plain: str, dates: Dates) -> Iterable[Span]:
    return () if dates == "keep" else find_dates(plain, dates)


def _replaced(text: str, spans: tuple[Span, ...]) -> Scrubbed:
    pieces, at = [], 0
    for span in spans:
        pieces += [text[at : span.start], TOKENS[span.kind] if span.token is None else span.token]
        at = span.end
    return Scrubbed("".join((*pieces, text[at:])), spans)
