"""Messages put together: each segment is read by the group that its kind of message has for it."""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Building
from normalise.hl7v2.grammar import grammar
from normalise.hl7v2.header import Reading
from normalise.hl7v2.scene import Scene
from normalise.hl7v2.tables import KINDS

#: Segments that say nothing clinical: the transport, the software, the event (read apart), and batch frames.
_SILENT: Final = frozenset({"MSH", "EVN", "SFT", "UAC", "MSA", "ARV", "DSC", "BTS", "FTS"})


def assemble(reading: Reading, building: Building) -> None:
    """Every segment that is mapped has become resources; each other kind has one note."""
    kind = reading.event.kind
    rules = grammar(kind)
    scene = Scene(reading, building, KINDS[kind].mode)
    scene.groups = groups = [make(scene) for make in rules.groups]
    reads = rules.reads
    for segment in reading.message.segments:
        found = reads.get(segment.id)
        if found is not None:
            at, read = found
            read(groups[at], segment)
        elif segment.id not in _SILENT:
            scene.leave_out(segment)
    scene.close()
    scene.groups = []  # scene and groups know each other: without this, each message waits for the garbage collector
