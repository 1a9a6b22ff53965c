r"""An HL7 v2 message split into segments and fields (HL7 v2.8.2 chapter 2, sections 2.5 to 2.7).

The parser brings every message to the usual delimiters ``|^~\&`` and removes the null value ``""`` (delete: the
element is absent in FHIR), so that nothing after it has to know about either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from normalise.errors import set_aside
from schemas.records import Refusal

_USUAL: Final = "|^~\\&"
_LETTERS: Final = dict(zip(_USUAL, "FSRET", strict=True))
_NULL: Final = re.compile(r'(?<=[|^~&])""(?=[|^~&\r]|$)')
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?:\||$)")
#: Segments of which a message (or each patient in it) has one: their place needs no number.
SINGLE: Final = frozenset({"MSH", "EVN", "PID", "PD1", "PV1", "PV2", "MRG"})


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment.

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

    def first(self, number: int, component: int = 1) -> str:
        """Return one component of a field's first repetition, as it came."""
        parts = self.get(number).partition("~")[0].split("^")
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
        if "\r" not in text:
            text = text.replace("\n", "\r")
        elif re.search(r"\n[A-Z][A-Z0-9]{2}" + re.escape(separators[0]), text):
            text = text.replace("\n", "\r")
    if separators != _USUAL:
        text = _usual(text, separators)
    if '""' in text:
        text = _NULL.sub("", text)
    lines, notes = _join([line for line in text.split("\r") if line.strip()])
    if len(lines) < 2:
        raise set_aside("truncated", "MSH", "Expected segments after MSH, the message has none. Send it whole.")
    return Message(_segments(lines), notes)


def _separators(text: str) -> str:
    separators = text[3:8]
    if not text.startswith("MSH") or len(text) < 9:
        raise set_aside("not_hl7", "MSH", "Expected MSH and its delimiters at the start of the message.")
    if text[7] == text[3]:  # before 2.2, and some senders since: no subcomponent separator
        separators = separators[:4] + ("&" if "&" not in separators[:4] else "")
    if len(separators) != 5 or len(set(separators)) != 5 or any(one.isalnum() or one.isspace() for one in separators):
        raise set_aside("not_hl7", "MSH-2", "Expected five different delimiters, none a letter, digit or blank.")
    return separators


def _usual(text: str, separators: str) -> str:
    """The same message at the usual delimiters: what was data and would now divide is escaped."""
    sequence = re.compile(re.escape(separators[3]) + r"([^\r\n" + re.escape(separators[3]) + r"]{1,2000}?)" + re.escape(separators[3]))
    table = {ord(mark): f"\\{letter}\\" for mark, letter in _LETTERS.items() if mark not in separators}
    table |= {ord(own): usual for own, usual in zip(separators, _USUAL, strict=True)}
    pieces = []
    position = 0
    for match in sequence.finditer(text, 8):
        if re.fullmatch(r"[FSRETHNP]|[XCMZ.].*", match[1]):
            pieces += [text[position : match.start()].translate(table), "\\" + match[1] + "\\"]
            position = match.end()
    pieces.append(text[position:].translate(table))
    whole = "".join(pieces)
    return "MSH" + _USUAL + whole[whole.index("|", 4) :]


def _join(lines: list[str]) -> tuple[list[str], tuple[Refusal, ...]]:
    """Lines that are no segment continue the field before them: a report's line ends were not escaped."""
    joined: list[str] = []
    notes: list[Refusal] = []
    for number, line in enumerate(lines, 1):
        if _SEGMENT.match(line):
            joined.append(line)
        elif line[0].isspace() and _SEGMENT.match(line.lstrip()):
            joined.append(line.lstrip())
        elif number == len(lines) and re.fullmatch(r"[A-Z][A-Z0-9]?", line):
            raise set_aside("truncated", f"line {number}", "The message breaks off inside a segment id. Send it whole.")
        elif number > 1 and "|" not in line[:4]:
            joined[-1] += "\n" + line
            if not notes:
                message = "A line is no segment; read as more text of the field before it. Escape line ends as \\.br\\."
                notes.append(Refusal("structure", f"line {number}", message))
        else:
            raise set_aside("structure", f"line {number}", "Expected three capitals and a field separator.")
    return joined, tuple(notes)


def _segments(lines: list[str]) -> tuple[Segment, ...]:
    seen: dict[str, int] = {}
    found = []
    for line in lines:
        fields = line.split("|")
        id_ = fields[0]
        if id_ == "MSH":
            if found:
                raise set_aside("structure", "MSH[2]", "Expected one message, found a second MSH. Split the file.")
            fields.insert(1, "|")
        seen[id_] = count = seen.get(id_, 0) + 1
        found.append(Segment(id_, fields, id_ if count == 1 and id_ in SINGLE else f"{id_}[{count}]"))
    return tuple(found)
