"""People's names in Chinese text, by what stands around them.

A name is a family name and one or two characters of given names. It counts where a label stands before it (患者, 主任,
之子), a title behind it (主任, 签字, 先生), or punctuation on both sides; and then everywhere else in the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from sharing.deidentify.scrubbing_data import HAN, alternatives, rules, words
from sharing.deidentify.scrubbing_spans import Span, occurrences

_LONGEST: Final = 4
_HAN: Final = re.compile(f"[{HAN}]")
_ANY: Final = re.compile(f"[{HAN}]{{2,4}}(?![{HAN}])")
_LATIN: Final = re.compile(r"[A-Z][A-Za-z'’-]{1,24}(?:[ ,^]{1,2}[A-Z][A-Za-z'’-]{0,24}){0,3}")
_RUN: Final = re.compile(f"(?<![{HAN}·•])[{HAN}]{{2,4}}(?![{HAN}·•])")
#: Names of Uyghurs, Kazakhs, Tibetans and others, and transliterated foreign ones, are written with a middle dot.
_DOTTED: Final = re.compile(f"[{HAN}]{{1,10}}(?:[·•・．‧][{HAN}]{{1,10}}){{1,4}}")
_FIRST_PART: Final = re.compile(f"[{HAN}]+")
_EPONYM_TAIL: Final = re.compile(
    "氏|综合征|综合症|病|征|症|试验|反应|现象|评分|分级|分期|手术|术|呼吸|瘤|定律|指数|公式"
)
#: What no transliterated name has in it.
_FUNCTION: Final = re.compile("[之的因于今在及与和等为是有女男性签主医护教先同年岁住电]|本人|家属|患者")
_BEHIND_EPONYM: Final = re.compile(
    "氏|综合征|综合症|病|征|症|试验|反应|细胞|小体|现象|评分|分级|分期|分型|手术|术|法|线|角|三|疝|囊|瘤|热|定律|量表|标准|方案|呼吸|杆菌|菌|指数|公式"
)


class _Rules(NamedTuple):
    common: frozenset[str]
    single: frozenset[str]
    compound: frozenset[str]
    given: frozenset[str]
    distinctive: frozenset[str]
    strict: re.Pattern[str]
    weak: re.Pattern[str]
    behind: re.Pattern[str]
    polite: re.Pattern[str]
    loose: re.Pattern[str]
    facts: re.Pattern[str]
    before: frozenset[str]
    follow: frozenset[str]
    not_names: frozenset[str]
    not_prefixes: tuple[str, ...]
    roles: frozenset[str]
    anonymised: re.Pattern[str]


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    data = rules("names")
    surnames, labels, titles = data["surnames"], data["labels"], data["titles"]
    common, rare = _characters(surnames["common"]), _characters(surnames["rare"])
    return _Rules(
        common=common,
        single=common | rare,
        compound=frozenset(surnames["compound"].split()),
        given=_characters(data["given"]["characters"]),
        distinctive=_characters(data["given"]["distinctive"]),
        strict=re.compile(rf"(?:{alternatives(labels['strict'])})(?:[ ]{{0,3}}[:=][ ]{{0,3}}|[ ]{{1,3}})"),
        weak=re.compile(rf"(?:{alternatives(labels['weak'] + ' ' + labels['strict'])})[ ]{{0,2}}[:\"“(（]?[ ]{{0,2}}"),
        behind=re.compile(f"[ ]?(?:{alternatives(titles['behind'])})"),
        polite=re.compile(f"(?:{alternatives(titles['polite'])})"),
        loose=re.compile(f"(?:{alternatives(titles['loose'])})"),
        facts=re.compile(
            rf"[ ]{{0,2}}[,，(（、 ][ ]{{0,2}}(?:\d{{1,3}}[ ]?)?(?:{alternatives(data['facts']['starts'])})"
        ),
        before=_characters(data["before"]["ends"]),
        follow=_characters(data["follow"]["starts"]),
        not_names=frozenset(data["not_names"]["words"].split()),
        not_prefixes=tuple(data["not_names"]["prefixes"]["words"].split()),
        roles=frozenset((labels["strict"] + " " + labels["weak"] + " " + titles["behind"]).split()),
        anonymised=re.compile(data["anonymised"]["pattern"]),
    )


def _characters(listed: str) -> frozenset[str]:
    return frozenset("".join(listed.split()))


def find_names(text: str) -> Iterator[Span]:
    """Yield names in half-width text, each wherever it stands once it was found."""
    found = [*_dotted(text), *_labelled(text), *_titled(text), *_bare(text)]
    yield from found
    names = {text[one.start : one.end] for one in found}
    for start, end in occurrences(text, {one for one in names if len(one) > 2 or _rare(one)}):
        yield Span(start, end, "NAME", "name-again")


def _rare(name: str) -> bool:
    """Whether a name of two characters is no piece of common words: its given name's character is in no word list."""
    return len(name) == 2 and name not in words() and name[1] not in _frequent()


@lru_cache(maxsize=1)
def _frequent() -> frozenset[str]:
    return frozenset("".join(words()))


def _labelled(text: str) -> Iterator[Span]:
    at = _rules()
    for label in at.strict.finditer(text):
        end = _strict_end(text, label.end())
        if end:
            yield Span(label.end(), end, "NAME", "name-after-label")
    for label in at.weak.finditer(text):
        end = _name_end(text, label.end()) or (_family_end(text, label.end()) if ":" in label[0] else 0)
        if end:
            yield Span(label.end(), end, "NAME", "name-after-role")


def _family_end(text: str, start: int) -> int:
    """Where a family name ends that stands alone between a colon and a mark; 0 where none does."""
    alone = text[start : start + 1] in _rules().common and not _HAN.match(text, start + 1)
    return start + 1 if alone else 0


def _strict_end(text: str, start: int) -> int:
    """Where a name ends that a label announced: by its own form, or else at the next mark."""
    end = _name_end(text, start)
    if end:
        return end
    run = _ANY.match(text, start)
    if run and not _is_none(run[0]) and run[0] not in _rules().roles:
        return run.end()
    latin = _LATIN.match(text, start)
    return latin.end() if latin else 0


def _name_end(text: str, start: int) -> int:
    """Where a name ends that begins here, longest first; 0 where none does."""
    family = _family(text, start)
    if not family:
        return 0
    for length in (2, 1):
        end = start + family + length
        if end > len(text) or not all(_is_given(one) for one in text[start + family : end]):
            continue
        if not _is_none(text[start:end]) and _may_follow(text, end):
            return end
    return 0


def _family(text: str, start: int) -> int:
    """How long the family name is that begins here."""
    for size in (4, 2):
        if text[start : start + size] in _rules().compound:
            return size
    return 1 if text[start : start + 1] in _rules().single else 0


def _is_given(character: str) -> bool:
    """Whether a character is one of given names; one that no common set of characters has is in names only."""
    if character in _rules().given:
        return True
    try:
        return len(character.encode("gb2312")) == 0
    except UnicodeEncodeError:
        return _HAN.match(character) is not None


def _is_none(name: str) -> bool:
    """Whether something built like a name is a word, an answer, or a name that somebody hid before."""
    at = _rules()
    if at.anonymised.search(name) or name in at.not_names or name in words():
        return True
    return name.startswith(at.not_prefixes)


def _may_follow(text: str, end: int) -> bool:
    """Whether a name may end before this character."""
    if end >= len(text) or not _HAN.match(text[end]):
        return _BEHIND_EPONYM.match(text, end) is None
    return (text[end] in _rules().follow and _BEHIND_EPONYM.match(text, end) is None) or _behind(text, end)


def _behind(text: str, end: int) -> bool:
    return _rules().behind.match(text, end) is not None


def _titled(text: str) -> Iterator[Span]:
    """Names before a title; a family name alone where the title is one of address: 张主任."""
    at = _rules()
    for title in at.behind.finditer(text):
        end = title.start()
        start = _name_start(text, end)
        if start is not None:
            yield Span(start, end, "NAME", "name-before-title")
        elif at.polite.match(text, end) and _addressed(text, end):
            yield Span(end - 1, end, "NAME", "family-name-before-title")


def _name_start(text: str, end: int) -> int | None:
    """Where a whole name begins that ends here, longest first."""
    for length in (4, 3, 2):
        start = end - length
        if start < 0:
            continue
        family = _family(text, start)
        given = text[start + family : end]
        if not family or not 1 <= len(given) <= 2 or (length == _LONGEST and family == 1):
            continue
        sure = (
            len(given) == 2 and (family > 1 or text[start] in _rules().common) and not _rules().loose.match(text, end)
        )
        if all(map(_is_given, given)) and not _is_none(text[start:end]) and (sure or _may_begin(text, start)):
            return start
    return None


def _may_begin(text: str, start: int) -> bool:
    """Whether a name may begin behind this character."""
    before = text[start - 1 : start] if start else ""
    return not before or not _HAN.match(before) or before in _rules().before


def _addressed(text: str, end: int) -> bool:
    family = text[end - 1 : end] if end else ""
    return family in _rules().common and _may_begin(text, end - 1)


def _bare(text: str) -> Iterator[Span]:
    """Two to four characters between marks that are a name by all of their form."""
    for run in _RUN.finditer(text):
        family = _family(text, run.start())
        given = run[0][family:]
        if not family or not 1 <= len(given) <= 2 or _is_none(run[0]):
            continue
        if all(map(_is_given, given)) and (_told(text, run.end()) or _sounds(run[0], family, given)):
            yield Span(*run.span(), "NAME", "name-between-marks")


def _told(text: str, end: int) -> bool:
    """Whether the text goes on with what is told of a person: a sex, an age, a number."""
    return _rules().facts.match(text, end) is not None


def _sounds(name: str, family: int, given: str) -> bool:
    """Whether a name needs no more than itself: a rare family name wants a given name that only people have."""
    if family > 1 or name[0] in _rules().common:
        return True
    return len(given) == 2 and any(one in _rules().distinctive for one in given)


def _dotted(text: str) -> Iterator[Span]:
    """Names written with a middle dot, unless a disease or a sign is called by them."""
    at = _rules()
    for found in _DOTTED.finditer(text):
        dot = found.start() + len(_FIRST_PART.match(found[0])[0])  # type: ignore[index]  # the pattern begins so
        start = max((one.end() for one in at.weak.finditer(text, found.start(), dot) if one.end() < dot), default=None)
        last = max(text.rfind(mark, dot, found.end()) for mark in "·•・．‧") + 1
        if _EPONYM_TAIL.search(text, last, found.end() + 1):
            continue
        stop = _FUNCTION.search(text, last + 1, found.end())
        yield Span(
            found.start() if start is None else start, stop.start() if stop else found.end(), "NAME", "name-with-dot"
        )
