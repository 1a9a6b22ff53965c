"""What a message says about itself, and every reason for which one is refused.

``read`` is all that decides between a Normalised and a SetAside: the listener that acknowledges a message and the
conversion that comes after it ask the same function, so they never disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from normalise.errors import set_aside
from normalise.hl7v2.charsets import decode
from normalise.hl7v2.concepts import names_something
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Message, Segment, parse
from normalise.hl7v2.tables import EVENTS, PATIENT_NUMBERS, Event
from normalise.hl7v2.times import Moment, moment
from schemas.records import Refusal, SourceContext

_VERSION: Final = re.compile(r"2\.[1-9](?:\.\d)?", re.ASCII)
#: The field without which a segment of a result says nothing.
_NEEDED: Final = {"OBR": 4, "OBX": 3, "SPM": 0}
_RANKS: Final = {type_: rank for rank, type_ in enumerate(PATIENT_NUMBERS)}


@dataclass(frozen=True, slots=True)
class Reading:
    """A message that can be converted.

    Attributes:
        message: Its segments.
        event: What it is news about.
        control_id: MSH-10.
        recorded: When it was sent, exact to the minute at least: MSH-7, else EVN-2.
        notes: What decoding and parsing had to note.
    """

    message: Message
    event: Event
    control_id: str
    recorded: str
    notes: tuple[Refusal, ...]


def read(content: bytes, context: SourceContext) -> Reading:
    """Return the message in these bytes, with everything in place that conversion needs.

    Raises:
        SetAside: Codes ``charset``, ``not_hl7``, ``truncated``, ``structure``, ``version``, ``unknown_event``,
            ``control_id``, ``required`` or ``bad_value``, with the sender's coordinates.
    """
    decoded, note = decode(content, context.charset)
    message = parse(decoded)
    msh = message.segments[0]
    _check_version(msh)
    event = _event(msh, message)
    control_id = text(msh.first(10))
    if not control_id:
        raise set_aside("control_id", "MSH-10", "Expected a message control id, none came. Send one, new each time.")
    recorded = _recorded(msh, message, context.time_zone)
    _check_segments(message, event)
    notes = (*((note,) if note else ()), *message.notes)
    return Reading(message, event, control_id, recorded, notes)


def patient_number(segment: Segment) -> str:
    """Return the identifier by which a PID or MRG names its patient, a CX as it came; ``""`` when it names none.

    The record number before all others, then as ``patient_numbers.csv`` orders the types; PID-3 before PID-2 and
    PID-4 (MRG-1 before MRG-4 and MRG-2), where senders put it until 2.2.
    """
    for field in (3, 2, 4) if segment.id == "PID" else (1, 4, 2):
        raw = segment.get(field)
        valued = [one for one in raw.split("~") if text(one.partition("^")[0])] if raw else []
        if valued:
            return min(valued, key=_rank) if len(valued) > 1 else valued[0]
    return ""


def _rank(cx: str) -> int:
    parts = cx.split("^", 5)
    return _RANKS.get(text(parts[4]) if len(parts) > 4 else "", len(_RANKS))


def _check_version(msh: Segment) -> None:
    version = text(msh.first(12))
    if not _VERSION.fullmatch(version):
        came = "nothing" if not version else "something else"
        raise set_aside("version", "MSH-12", f"Expected an HL7 version from 2.1 to 2.9, {came} came. Correct MSH-12.")


def _event(msh: Segment, message: Message) -> Event:
    type_, code = text(msh.first(9)), text(msh.first(9, 2))
    if not code:  # until 2.2 the event stood in EVN-1 only, and ORU had but one
        evn = message.one("EVN")
        code = "R01" if type_ == "ORU" else text(evn.first(1)) if evn else ""
    event = EVENTS.get((type_, code))
    if event is None:
        came = "no type" if not type_ else "another type or event"
        raise set_aside("unknown_event", "MSH-9", f"Expected a message of schemas/hl7v2/events.csv, {came} came.")
    return event


def _recorded(msh: Segment, message: Message, zone: str) -> str:
    evn = message.one("EVN")
    sent = [text(msh.first(7)), text(evn.first(2)) if evn else ""]
    moments: list[Moment | None] = [moment(one, zone) for one in sent if one]
    for found in moments:
        if found and found.instant:
            return found.instant
    if moments:
        raise set_aside("bad_value", "MSH-7", "Expected YYYYMMDDHHMM[SS][+ZZZZ], a time less exact or none came.")
    raise set_aside("required", "MSH-7", "Expected the time of the message in MSH-7 or EVN-2, neither is valued.")


def _check_segments(message: Message, event: Event) -> None:
    pids = message.all("PID")
    if not pids:
        raise _missing("PID")
    for pid in pids:
        if not patient_number(pid):
            raise _missing(f"{pid.label}-3")
    if event.kind == "merge":
        _check_merge(message)
    elif event.kind == "result":
        _check_results(message)
    elif len(pids) > 1:
        raise set_aside("structure", pids[1].label, "Expected one PID in this event, more came.")
    elif event.visit == "required" and message.one("PV1") is None:
        raise _missing("PV1")


def _check_merge(message: Message) -> None:
    """Each PID is followed by the MRG of the patient that it replaces (HL7 v2.8.2 chapter 3, ADT_A39)."""
    waiting: Segment | None = None
    for segment in message.segments:
        if segment.id == "PID":
            if waiting is not None:
                raise set_aside("required", "MRG", f"Expected MRG after {waiting.label}, another PID came.")
            waiting = segment
        elif segment.id == "MRG":
            if waiting is None:
                raise set_aside("structure", segment.label, "Expected a PID before each MRG.")
            if not patient_number(segment):
                raise _missing(f"{segment.label}-1")
            waiting = None
    if waiting is not None:
        raise _missing("MRG")


def _check_results(message: Message) -> None:
    if message.one("OBR") is None:
        raise _missing("OBR")
    known = False
    for segment in message.segments:
        needed = _NEEDED.get(segment.id)
        if needed is None:
            known = known or segment.id == "PID"
        elif not known:
            raise set_aside("structure", segment.label, "Expected PID before the results, they came first.")
        elif needed and not ((raw := segment.get(needed)) and (raw[0].isalnum() or names_something(raw))):
            raise _missing(f"{segment.label}-{needed}")


def _missing(where: str) -> Exception:
    return set_aside("required", where, f"Expected {where} to be there and valued, it is not. Send it.")
