"""Addresses, hospitals and employers in Chinese text, by the words that end their parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from sharing.deidentify.scrubbing_data import HAN, alternatives, rules
from sharing.deidentify.scrubbing_spans import Span

_COUNT: Final = r"[0-9A-Za-z一二三四五六七八九十百零〇甲乙丙丁东西南北中后前附\-－—~#之]{1,8}"
#: Characters before the ending of a house's name that can belong to it.
_REACH: Final = 24
_MARKS: Final = "，,。；;、？?！!\n\r\t（(）)[]【】“”\"'《》<>：: "
#: A next label on the same line: 住址：某路1号 邮编：…
_NEXT_LABEL: Final = re.compile(f"[ ]{{2,}}.*|[ ][{HAN}]{{2,6}}$")


class _Rules(NamedTuple):
    address: re.Pattern[str]
    street: re.Pattern[str]
    labelled: re.Pattern[str]
    unnamed: re.Pattern[str]
    cuts: re.Pattern[str]
    kept: re.Pattern[str]
    hospital: re.Pattern[str]
    behind_hospital: re.Pattern[str]
    hospital_generic: re.Pattern[str]
    short: re.Pattern[str]
    organisation: re.Pattern[str]
    organisation_generic: re.Pattern[str]
    employer: re.Pattern[str]
    provinces: re.Pattern[str]


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    data = rules("places")
    units, hospitals, organisations = data["units"], data["hospitals"], data["organisations"]
    area, road = alternatives(units["area"]), alternatives(units["road"])
    number, numbered = alternatives(units["number"]), alternatives(units["road"] + " " + units["numbered"])
    province = alternatives(data["provinces"]["names"])
    # Parts of an address: lazily up to a unit, then possessively, so that nothing is tried twice.
    parts = rf"(?:[{HAN}]{{1,8}}?(?:{area}|{road}))"
    tail = rf"(?:[ ]?(?:第|附)?{_COUNT}[ ]?(?:{number}|段|组)|[{HAN}]{{1,8}}?(?:{road})|[{HAN}]{{1,4}}[组屯队])"
    return _Rules(
        address=re.compile(rf"(?:(?:{province})(?:省|市)?{parts}{{1,6}}+|{parts}{{2,6}}+){tail}{{0,8}}+[0-9-]{{0,6}}"),
        street=re.compile(
            rf"[{HAN}]{{2,10}}?(?:{numbered})(?:[ ]?{_COUNT}[ ]?段)?(?:[ ]?{_COUNT}[ ]?(?:{number}))++[0-9-]{{0,6}}"
        ),
        labelled=re.compile(
            rf"(?:{alternatives(data['labels']['names'])})[ ]{{0,2}}(?:[:=为是在于]|[ ])[ ]{{0,2}}"
            r"(?P<v>[^，,。；;、:\n\r\t()（）]{2,60})"
        ),
        unnamed=re.compile(f"(?:{alternatives(data['unnamed']['words'])})"),
        cuts=re.compile(f"(?:{alternatives(data['cuts']['words'])})"),
        kept=re.compile(f"(?:{alternatives(data['cuts']['kept'])})"),
        hospital=re.compile(f"(?:{alternatives(hospitals['suffixes'])})"),
        behind_hospital=re.compile(
            rf"(?:[(（][{HAN}]{{1,8}}(?:院区|分院|院)[)）])?(?:{alternatives(hospitals['branches'])})?(?:{hospitals['departments']['pattern']})?"
        ),
        hospital_generic=re.compile(f"(?:{alternatives(hospitals['generic']['words'])}){{1,4}}"),
        short=re.compile(
            f"(?<=[{''.join(hospitals['short']['before'].split())}])(?:{alternatives(hospitals['short']['names'])})"
            f"(?={alternatives(hospitals['short']['behind'])})"
        ),
        organisation=re.compile(f"(?:{alternatives(organisations['suffixes'])})"),
        organisation_generic=re.compile(f"(?:{alternatives(organisations['generic'])}){{1,4}}"),
        employer=re.compile(
            rf"(?:{alternatives(data['employer']['labels'])})[ ]{{0,2}}[:=为是]?[ ]{{0,2}}"
            r"(?P<v>[^，,。；;、\n\r\t]{2,40})"
        ),
        provinces=re.compile(f"(?:{province})"),
    )


def find_places(text: str) -> Iterator[Span]:
    """Yield addresses, hospitals and employers in half-width text."""
    at = _rules()
    yield from _value(text, at.labelled, "LOCATION", "address-after-label")
    yield from _value(text, at.employer, "ORG", "employer-after-label")
    yield from _addresses(text)
    yield from _houses(text)
    for found in at.short.finditer(text):
        yield Span(*found.span(), "HOSPITAL", "hospital-short")


def _value(text: str, pattern: re.Pattern[str], kind: str, rule: str) -> Iterator[Span]:
    for found in pattern.finditer(text):
        value = _NEXT_LABEL.sub("", found["v"]).rstrip()
        if value not in ("不详", "未知", "同上", "无", "-", "/"):
            yield Span(found.start("v"), found.start("v") + len(value), kind, rule)


def _addresses(text: str) -> Iterator[Span]:
    at = _rules()
    for pattern, rule in ((at.address, "address"), (at.street, "street")):
        for found in pattern.finditer(text):
            start = _begin(text, found.start(), found.end())
            if found.end() - start >= 4 and at.unnamed.search(text, start, found.end()) is None:
                yield Span(start, found.end(), "LOCATION", rule)


def _begin(text: str, start: int, end: int) -> int:
    """Where a place's name begins within what was matched: at a province, or after the last word that is no part."""
    province = _rules().provinces.search(text, start, end)
    if province:
        return province.start()
    kept = [one.span() for one in _rules().kept.finditer(text, start, end)]
    # Only what stands before the last three characters can be cut: a name and its unit have as many.
    for cut in _rules().cuts.finditer(text, start, max(start, end - 3)):
        if not any(low <= cut.start() and cut.end() <= high for low, high in kept):
            start = max(start, cut.end())
    return start


def _houses(text: str) -> Iterator[Span]:
    at = _rules()
    low = 0
    for found in at.hospital.finditer(text):
        span = _house(text, low, found, at.hospital_generic)
        low = found.end()
        if span is not None:
            behind = at.behind_hospital.match(text, found.end())
            yield Span(span, behind.end() if behind else found.end(), "HOSPITAL", "hospital")
    low = 0
    for found in at.organisation.finditer(text):
        span = _house(text, low, found, at.organisation_generic)
        low = found.end()
        if span is not None and at.hospital.match(text, found.end()) is None:
            yield Span(span, found.end(), "ORG", "organisation")


def _house(text: str, low: int, found: re.Match[str], generic: re.Pattern[str]) -> int | None:
    """Where the name of a house begins that ends in this word; None where it has none of its own."""
    start = found.start()
    while start > max(low, found.start() - _REACH) and re.match(f"[{HAN}A-Za-z0-9]", text[start - 1]):
        start -= 1
    start = _begin_house(text, start, found.start())
    name = text[start : found.start()]
    return None if not name or generic.fullmatch(name) or name.isascii() else start


def _begin_house(text: str, start: int, end: int) -> int:
    province = _rules().provinces.search(text, start, end)
    if province:
        return province.start()
    kept = [one.span() for one in _rules().kept.finditer(text, start, end)]
    for cut in _rules().cuts.finditer(text, start, end):
        if not any(low <= cut.start() and cut.end() <= high for low, high in kept):
            start = max(start, cut.end())
    return start
