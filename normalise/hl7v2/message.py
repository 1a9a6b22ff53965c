r"""An HL7 v2 message split into segments and fields (HL7 v2.8.2 chapter 2, sections 2.5 to 2.7).

The parser brings every message to the usual delimiters ``|^~\&`` and removes the null value ``""`` (delete: the
element is absent in FHIR), so that nothing after it has to know about either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from normalise.errors import set_aside
from schemas.records import Refusal

_USUAL: Final = "|^~\\&"
_LETTERS: Final = dict(zip(_USUAL, "FSRET", strict=True))
_NULL: Final = re.compile(r'(?<=[|^~&])""(?=[|^~&\r]|$)')
_ID: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?:\||$)")
#: Segments of which a message (or each patient in it) has one: their place needs no number.
SINGLE: Final = frozenset({"MSH", "EVN", "PID", "PD1", "PV1", "PV2", "MRG"})


@dataclass(slots=True)
class Segment:
    """One segment; not frozen, for a frozen dataclass takes three times as long to make.

    Attributes:
        id: Its three letters.
        fields: ``fields[n]`` is field n as it came, at the usual delimiters; ``fields[0]`` is the id.
        label: Where it stands in the message: ``PID``, ``OBX[3]``.
    """

    id: str
    fields: list[str]
    label: str

    def get(self, number: int) -> str:
        """Return a field as it came, ``""`` when the segment ends before it."""
        return self.fields[number] if number < len(self.fields) else ""

    def first_whole(self, number: int) -> str:
        """Return a field's first repetition, as it came."""
        return self.get(number).partition("~")[0]

    def first(self, number: int, component: int = 1) -> str:
        """Return one component of a field's first repetition, as it came."""
        raw = self.fields[number] if number < len(self.fields) else ""
        if not raw:
            return ""
        if "~" in raw:
            raw = raw.partition("~")[0]
        parts = raw.split("^", component)
        return parts[component - 1] if component <= len(parts) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its segments in order, MSH first, and what parsing had to note."""

    segments: tuple[Segment, ...]
    notes: tuple[Refusal, ...]

    def all(self, id_: str) -> list[Segment]:
        """Return the segments of one kind, in order."""
        return [one for one in self.segments if one.id == id_]

    def one(self, id_: str) -> Segment | None:
        """Return the first segment of one kind."""
        return next((one for one in self.segments if one.id == id_), None)


def parse(text: str) -> Message:
    """Return the message that a decoded text is.

    Raises:
        SetAside: ``not_hl7`` (no MSH or no usable delimiters), ``truncated`` (nothing after MSH, or the last line
            breaks off inside a segment id), ``structure`` (a second MSH, or lines that are no segments).
    """
    separators = _separators(text)
    # A lone LF inside a message that ends segments with CR is text of a field, not the end of a segment.
    if "\n" in text:
        text = text.replace("\r\n", "\r")
        if "\r" not in text or re.search(r"\n[A-Z][A-Z0-9]{2}" + re.escape(separators[0]), text):
            text = text.replace("\n", "\r")
    if separators != _USUAL:
        text = _usual(text, separators)
    if '""' in text:
        text = _NULL.sub("", text)
    segments, notes = _segments(text.split("\r"))
    if len(segments) < 2:
        raise set_aside("truncated", "MSH", "Expected segments after MSH, the message has none. Send it whole.")
    return Message(segments, notes)


def _separators(text: str) -> str:
    separators = text[3:8]
    if separators == _USUAL and text.startswith("MSH|^~\\&|"):
        return separators
    if not text.startswith("MSH") or len(text) < 9:
        raise set_aside("not_hl7", "MSH", "Expected MSH and its delimiters at the start of the message.")
    if text[7] == text[3]:  # before 2.2, and some senders since: no subcomponent separator
        separators = separators[:4] + ("&" if "&" not in separators[:4] else "")
    if len(separators) != 5 or len(set(separators)) != 5 or any(one.isalnum() or one.isspace() for one in separators):
        raise set_aside("not_hl7", "MSH-2", "Expected five different delimiters, none a letter, digit or blank.")
    return separators


def _usual(text: str, own: str) -> str:
    """The same message at the usual delimiters: what was data and would now divide is escaped."""
    as_data = {mark: f"\\{letter}\\" for mark, letter in _LETTERS.items()}
    table = {ord(mark): escaped for mark, escaped in as_data.items() if mark not in own}
    table |= {ord(mark): usual for mark, usual in zip(own, _USUAL, strict=True)}
    meant = {letter: as_data.get(mark, mark) for mark, letter in zip(own, _LETTERS.values(), strict=True)}
    quote = re.escape(own[3])
    pieces = []
    position = 0
    for match in re.finditer(f"{quote}([FSRETHNP]|[XCMZ.][^\r\n{quote}]{{0,2000}}){quote}", text):
        if match.start() >= 8:
            pieces += [text[position : match.start()].translate(table), meant.get(match[1], f"\\{match[1]}\\")]
            position = match.end()
    whole = "".join(pieces) + text[position:].translate(table)
    end = whole.find("|", 4)
    if end < 0:
        raise set_aside("truncated", "MSH-2", "The message ends before MSH-3. Send it whole.")
    return "MSH" + _USUAL + whole[end:]


def _segments(lines: list[str]) -> tuple[tuple[Segment, ...], tuple[Refusal, ...]]:
    seen: dict[str, int] = {}
    found: list[Segment] = []
    notes: tuple[Refusal, ...] = ()
    for line in lines:
        id_ = line[:3]
        if line[3:4] != "|" or (id_ not in seen and not _ID.fullmatch(id_)):
            line = line.lstrip()
            id_ = line[:3]
            if not line:
                continue
            if not _SEGMENT.match(line):
                notes = notes or (_continue(found, lines, line),)
                continue
        count = seen[id_] = seen.get(id_, 0) + 1
        found.append(Segment(id_, line.split("|"), _label(id_, count)))
    if seen.get("MSH", 0) > 1:
        raise set_aside("structure", "MSH[2]", "Expected one message, found a second MSH. Split the file.")
    if found:
        found[0].fields.insert(1, "|")
    return tuple(found), notes


@lru_cache(maxsize=1024)
def _label(id_: str, count: int) -> str:
    return id_ if count == 1 and id_ in SINGLE else f"{id_}[{count}]"


def _continue(found: list[Segment], lines: list[str], line: str) -> Refusal:
    """A line that is no segment continues the field before it: a report's line ends were not escaped."""
    where = f"line {len(found) + 1}"
    if line == next(one for one in reversed(lines) if one and not one.isspace()) and re.fullmatch(
        r"[A-Z][A-Z0-9]?", line
    ):
        raise set_aside("truncated", where, "The message breaks off inside a segment id. Send it whole.")
    if "|" in line[:4] or len(found[-1].fields) < 2:
        raise set_aside("structure", where, "Expected three capitals and a field separator.")
    found[-1].fields[-1] += "\n" + line
    message = "A line is no segment; read as more text of the field before it. Escape line ends as \\.br\\."
    return Refusal("structure", where, message)
