"""HL7 v2 messages as FHIR R4 resources. Pure functions: no I/O, no clock, the same input gives the same output.

``docs/mapping.md`` says how to change what a field becomes; the tables are in ``schemas/hl7v2``.
"""

from __future__ import annotations

from normalise.errors import SetAside
from normalise.hl7v2.assembly import assemble
from normalise.hl7v2.building import Building
from normalise.hl7v2.escapes import text
from normalise.hl7v2.header import Reading, read
from normalise.hl7v2.patients import learn_assigners
from normalise.hl7v2.provenance import add_provenance
from normalise.hl7v2.tables import MAPPING
from schemas.records import Normalised, Refusal, SourceContext

__all__ = ["MAPPING", "convert", "inspect"]


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one HL7 v2 message becomes.

    Args:
        content: One message, with or without its MLLP frame; batches are split before.
        context: The source.

    Raises:
        SetAside: The message is refused; the only exception that any bytes can cause.
    """
    reading = read(content, context)
    building = Building(context, reading.message.segments[0], reading.control_id)
    building.notes.extend(reading.notes)
    learn_assigners(reading.message.segments, building)
    assemble(reading, building)
    add_provenance(reading, building)
    return Normalised(building.resources, tuple(building.notes), MAPPING, _facts(reading))


def inspect(content: bytes, context: SourceContext) -> Refusal | None:
    """Return why these bytes would be refused, or None; fast enough to ask before an acknowledgement.

    What ``convert`` refuses, and a message without MSH-10: its sender could not know which one is answered.
    """
    try:
        read(content, context, answered=True)
    except SetAside as refused:
        return refused.refusal
    return None


def _facts(reading: Reading) -> dict[str, str]:
    """What quality rules read beside the resources; ``MSH-7`` is the message's time as a FHIR instant, or empty."""
    msh = reading.message.segments[0]
    return {
        "MSH-3.1": text(msh.first(3)),
        "MSH-4.1": text(msh.first(4)),
        "MSH-7": reading.recorded,
        "MSH-9.1": reading.event.message,
        "MSH-9.2": reading.event.code,
        "MSH-10": text(msh.first(10)),
        "MSH-11": text(msh.first(11)),
        "MSH-12": text(msh.first(12)),
    }
