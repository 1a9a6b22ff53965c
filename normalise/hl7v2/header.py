"""What a message says about itself, and every reason for which one is refused.

``read`` is all that decides between a Normalised and a SetAside: the listener that acknowledges a message and the
conversion that comes after it ask the same function, so they never disagree. The listener asks one thing more: an
acknowledgement names MSH-10, while a file's message without one is known by its bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from normalise.errors import set_aside
from normalise.hl7v2.charsets import decode
from normalise.hl7v2.checks import check_segments
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Message, Segment, parse
from normalise.hl7v2.tables import EVENTS, Event
from normalise.hl7v2.times import moment
from schemas.records import Refusal, SourceContext

_VERSION: Final = re.compile(r"2\.[1-9](?:\.\d)?", re.ASCII)
#: A version of a sender's own, 2.3.z: its messages are read as those of any other 2.x.
_OWN_VERSION: Final = re.compile(r"2\.[1-9]\.[A-Za-z0-9]{1,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reading:
    """A message that can be converted.

    Attributes:
        message: Its segments.
        event: What it is news about.
        control_id: MSH-10, else a digest of the message.
        recorded: When it was sent, exact to the minute at least: MSH-7, else EVN-2, else ``""``.
        notes: What decoding and parsing had to note.
    """

    message: Message
    event: Event
    control_id: str
    recorded: str
    notes: tuple[Refusal, ...]


def read(content: bytes, context: SourceContext, *, answered: bool = False) -> Reading:
    """Return the message in these bytes, with everything in place that conversion needs.

    Args:
        content: One message.
        context: The source.
        answered: Whether the sender waits for an acknowledgement, which needs MSH-10.

    Raises:
        SetAside: Codes ``charset``, ``not_hl7``, ``truncated``, ``structure``, ``version``, ``unknown_event``,
            ``control_id``, ``required`` or ``bad_value``, with the sender's coordinates.
    """
    decoded, note = decode(content, context.charset)
    message = parse(decoded)
    msh = message.segments[0]
    notes = [*((note,) if note else ()), *message.notes]
    _check_version(msh, notes)
    event = _event(msh, message)
    control_id = text(msh.first(10))
    if not control_id:
        if answered:
            raise set_aside(
                "control_id", "MSH-10", "Expected a message control id, none came. Send a new one each time."
            )
        control_id = f"sha256-{hashlib.sha256(decoded.encode()).hexdigest()[:32]}"
        notes.append(Refusal("control_id", "MSH-10", "No message control id; the message is known by its bytes."))
    recorded = _recorded(msh, message, context.time_zone, notes)
    check_segments(message, event)
    return Reading(message, event, control_id, recorded, tuple(notes))


def _check_version(msh: Segment, notes: list[Refusal]) -> None:
    version = text(msh.first(12))
    if _OWN_VERSION.fullmatch(version) and not _VERSION.fullmatch(version):
        notes.append(Refusal("version", "MSH-12", "HL7 published no such version; read as any other 2.x."))
    elif not _VERSION.fullmatch(version):
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


def _recorded(msh: Segment, message: Message, zone: str, notes: list[Refusal]) -> str:
    """MSH-7, optional until 2.3.1 and exact to the day where the sender likes, else EVN-2, else unknown."""
    sent = text(msh.first(7))
    found = moment(sent, zone) if sent else None
    if found and found.instant:
        return found.instant
    evn = message.one("EVN")
    other = moment(text(evn.first(2)), zone) if evn else None
    if other and other.instant:
        return other.instant
    came = "one less exact" if sent else "none"
    notes.append(
        Refusal(
            "bad_value" if sent else "required",
            "MSH-7",
            f"Expected the time of the message to the minute in MSH-7 or EVN-2, {came} came; written as unknown.",
        )
    )
    return ""
