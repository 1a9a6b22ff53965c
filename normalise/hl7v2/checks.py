"""What a kind of message cannot be without, beyond its PID: the reasons to refuse one that ``kinds.csv`` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from normalise.errors import SetAside, set_aside
from normalise.hl7v2.concepts import names_something
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Message, Segment
from normalise.hl7v2.numbers import patient_number
from normalise.hl7v2.tables import KINDS, Event

#: The field without which a segment of a result says nothing.
_NEEDED: Final = {"OBR": 4, "OBX": 3, "SPM": 0}
#: Segments that are about a patient.
_ORDERED: Final = frozenset({"ORC", "OBR", "RXO", "RXE", "RXD", "RXA", "SPM", "OBX"})
#: Types of OBX-2 that are words or a document: their order says what they are about. A number without a name is none.
_NARRATIVE: Final = frozenset({"TX", "FT", "ST", "ED", "RP", ""})


def check_segments(message: Message, event: Event) -> None:
    """Every segment is there without which the event says nothing.

    Raises:
        SetAside: Codes ``required`` or ``structure``.
    """
    kind = KINDS[event.kind]
    pids = message.all("PID")
    if not pids:
        raise missing("PID")
    for pid in pids:
        if not patient_number(pid):
            raise missing(f"{pid.label}-3")
    if kind.patients == "one" and len(pids) > 1:
        raise set_aside("structure", pids[1].label, "Expected one PID in this event, more came.")
    if event.visit == "required" and message.one("PV1") is None:
        raise missing("PV1")
    if kind.check:
        CHECKS[kind.check](message)
    if kind.needs and not any(segment.id in kind.needs for segment in message.segments):
        raise missing(" or ".join(sorted(kind.needs)))


def missing(where: str) -> SetAside:
    """Return the error for a segment or field that must be there."""
    return set_aside("required", where, f"Expected {where} to be there and valued, it is not. Send it.")


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
                raise missing(f"{segment.label}-1")
            waiting = None
    if waiting is not None:
        raise missing("MRG")


def _check_results(message: Message) -> None:
    if message.one("OBR") is None:
        raise missing("OBR")
    known = False
    for segment in message.segments:
        needed = _NEEDED.get(segment.id)
        if needed is None:
            known = known or segment.id == "PID"
        elif not known:
            raise set_aside("structure", segment.label, "Expected PID before the results, they came first.")
        elif needed and not ((raw := segment.get(needed)) and (raw[0].isalnum() or names_something(raw))):
            if segment.id == "OBX" and text(segment.first(2)).upper() in _NARRATIVE:
                continue
            raise missing(f"{segment.label}-{needed}")


def _check_orders(message: Message) -> None:
    """What is ordered, dispensed or given is about a patient whose PID came before."""
    for segment in message.segments:
        if segment.id == "PID":
            return
        if segment.id in _ORDERED:
            raise set_aside("structure", segment.label, "Expected PID before the orders, they came first.")


CHECKS: Final[Mapping[str, Callable[[Message], None]]] = {
    "merge": _check_merge,
    "results": _check_results,
    "orders": _check_orders,
}
