"""What is in a source's data: its parts by frequency, their forms, their codes, and which make a difference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dags.steps.onboarding.anatomy import Anatomy, anatomy
from dags.steps.onboarding.elements import of_all
from normalise import SetAside, convert
from schemas.records import RawRecord
from schemas.source import Source

#: A part with so few different values in many records holds codes; more of them are not remembered.
CODES: Final = 24
#: Records in which a part is taken away to see whether the mapping reads it.
_TRIALS: Final = 3
#: Times a mapping is asked for one coverage, at most.
_ASKED: Final = 5_000
_FORMS: Final[Sequence[tuple[str, re.Pattern[str]]]] = (
    ("date", re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d|\d{4}-\d\d-\d\d", re.ASCII)),
    ("integer", re.compile(r"[+-]?\d{1,9}", re.ASCII)),
    ("number", re.compile(r"[<>=~ ]{0,3}[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)),
    ("time", re.compile(r"\d{10,14}(?:\.\d+)?(?:[+-]\d{4})?|\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*", re.ASCII)),
    ("code", re.compile(r"[A-Za-z0-9][A-Za-z0-9._*/-]{0,15}(?:\^.*)?", re.ASCII)),
)


@dataclass(slots=True)
class Part:
    """One part of the records: a field, a column, an element.

    Attributes:
        path: The sender's name of it.
        media: Of which kind of record.
        records: Records in which it is filled.
        values: Times it is filled.
        longest: Characters of its longest value.
        forms: How often it looked like what.
        codes: Its values with their number, where they are few; may be a patient's, so for the terminal only.
        read: Whether the mapping reads it; None where that was not tried.
    """

    path: str
    media: str
    records: int = 0
    values: int = 0
    longest: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] | None = field(default_factory=Counter)
    read: bool | None = None

    @property
    def form(self) -> str:
        """What it mostly looks like."""
        return self.forms.most_common(1)[0][0] if self.forms else "text"

    def add(self, values: Iterable[str]) -> None:
        """Count the values of one more record."""
        self.records += 1
        for value in values:
            self.values += 1
            self.longest = max(self.longest, len(value))
            self.forms[form_of(value)] += 1
            if self.codes is not None:
                self.codes[value] += 1
                if len(self.codes) > CODES:
                    self.codes = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What a sample holds.

    Attributes:
        records: Records looked at.
        taken_apart: Those whose parts have names; of others (FIT) nothing more is known.
        parts: Every part, the most frequent first.
        kinds: Records by what they are (``ADT^A01``, a table, a document type).
    """

    records: int
    taken_apart: int
    parts: tuple[Part, ...]
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a source's data its mapping reads, found by taking parts away.

    Attributes:
        read: Different parts that change what the record becomes.
        tried: Different parts that were tried.
        values_read: Share of all filled values that stand in parts that are read, 0 to 1.
        unread: The parts that change nothing, the most frequent first.
    """

    read: int
    tried: int
    values_read: float
    unread: tuple[Part, ...]


def form_of(value: str) -> str:
    """Return what a value looks like: integer, number, date, time, code or text."""
    return next((name for name, pattern in _FORMS if pattern.fullmatch(value)), "text")


def profile(records: Sequence[RawRecord], charset: str = "auto") -> Profile:
    """Return what the records hold; nothing is converted."""
    parts: dict[tuple[str, str], Part] = {}
    kinds: Counter[str] = Counter()
    taken = 0
    for record in records:
        how = anatomy(record.media, charset)
        fields = how.fields(record.content) if how else {}
        taken += bool(fields)
        kinds[kind_of(record.media, fields)] += 1
        for path, values in fields.items():
            parts.setdefault((record.media, path), Part(path, record.media)).add(values)
    ordered = sorted(parts.values(), key=lambda one: (-one.records, one.media, one.path))
    return Profile(len(records), taken, tuple(ordered), dict(kinds.most_common()))


def kind_of(media: str, fields: Mapping[str, Sequence[str]]) -> str:
    """Return what a record is, in the sender's terms."""
    names = {"hl7v2": "MSH-9", "fhir": "resourceType", "row": "table", "dicom": "(0008,0060)"}
    values = fields.get(names.get(media, ""), ())
    return "^".join(values[0].split("^")[:2]) if values else media


def coverage(profiled: Profile, records: Sequence[RawRecord], source: Source) -> Coverage:
    """Return which parts the mapping reads: those without which a record becomes something else, or is refused.

    A part that repeats what another part says (OBR-3 beside ORC-3) makes no difference, and counts as not read. A part
    is tried in up to three records that hold it. Sets ``read`` of each part.
    """
    examples = _examples(records, source.charset)
    tried = [part for part in profiled.parts if (part.media, part.path) in examples]
    whole: dict[int, Any] = {}
    asked = 0
    for part in tried:
        if asked >= _ASKED:
            break
        part.read = False
        for at in examples[part.media, part.path]:
            how = anatomy(records[at].media, source.charset)
            assert how is not None
            if at not in whole:
                whole[at] = _became(records[at], how, None, source)
            asked += 1
            if _became(records[at], how, part.path, source) != whole[at]:
                part.read = True
                break
    known = [part for part in tried if part.read is not None]
    values = sum(part.values for part in known)
    read = [part for part in known if part.read]
    return Coverage(
        len(read),
        len(known),
        sum(part.values for part in read) / values if values else 0.0,
        tuple(part for part in known if not part.read),
    )


def _examples(records: Sequence[RawRecord], charset: str) -> dict[tuple[str, str], list[int]]:
    """Return for each part the positions of a few records that hold it."""
    found: dict[tuple[str, str], list[int]] = {}
    for at, record in enumerate(records):
        how = anatomy(record.media, charset)
        for path in how.fields(record.content) if how else ():
            places = found.setdefault((record.media, path), [])
            if len(places) < _TRIALS:
                places.append(at)
    return found


def _became(record: RawRecord, how: Anatomy, path: str | None, source: Source) -> Any:
    """Return what a record without a part becomes, comparably."""
    try:
        made = convert(record.media, how.without(record.content, path), source.context)
    except SetAside as error:
        return error.refusal.code, error.refusal.where
    return of_all(made.resources)


def lines(profiled: Profile) -> Iterator[tuple[str, ...]]:
    """Yield a row for each part: name, share filled, form, longest, what it holds."""
    for part in profiled.parts:
        held = f"{part.records / max(1, profiled.records):.0%}"
        codes = ", ".join(f"{value} {count}" for value, count in part.codes.most_common(4)) if part.codes else "many"
        read = {True: "read", False: "not read", None: ""}[part.read]
        yield part.path, held, part.form, str(part.longest), read, codes
