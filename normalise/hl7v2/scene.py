"""What the groups of one message share while its segments are read: the patient, the visit, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.header import Reading
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import Mode

#: Reads one segment; a method of a group.
Read = Callable[[Any, Segment], None]


class Scene:
    """Where the reader of a message stands; each segment belongs to the last patient, visit and so on before it.

    Attributes:
        reading: The message.
        building: What it becomes.
        mode: Whether the message is news about its patients and visits (``kinds.csv``).
        pid: The last PID.
        patient: Its Patient.
        encounter: The Encounter of the last PV1, or None.
        annotated: The resource with ``note`` that an NTE here is about, or None.
        about: The resources that ROL and PRT here are about.
        groups: All groups of the message.
    """

    __slots__ = ("about", "annotated", "building", "encounter", "groups", "mode", "patient", "pid", "reading")

    def __init__(self, reading: Reading, building: Building, mode: Mode) -> None:
        self.reading = reading
        self.building = building
        self.mode = mode
        self.pid = reading.message.segments[0]
        self.patient: Body = {}
        self.encounter: Body | None = None
        self.annotated: Body | None = None
        self.about: tuple[Body, ...] = ()
        self.groups: list[Group] = []

    def close(self) -> None:
        """Every group has finished what it began: another patient or the end of the message follows."""
        for group in self.groups:
            group.close()
        self.annotated = None
        self.about = ()

    def leave_out(self, segment: Segment) -> None:
        """The segment is not mapped, and a note says so."""
        self.building.at = segment
        message = f"Segment {segment.id} is not mapped; its content stays in the landed message."
        self.building.note("structure", 0, message)


class Group:
    """Reads some kinds of segments of one message; a kind of message has one or more groups (``kinds.csv``).

    Attributes:
        READS: By segment id: the method that reads it. A group may read what an earlier one of the same kind of
            message reads too; then the later one alone does.
    """

    READS: ClassVar[Mapping[str, Read]] = {}
    __slots__ = ("scene",)

    def __init__(self, scene: Scene) -> None:
        self.scene: Final = scene

    def close(self) -> None:
        """What the segments so far began is complete: another patient or the end of the message follows."""

    def hand_on(self, segment: Segment) -> None:
        """The last group before this one that reads such segments has read it."""
        for group in reversed(self.scene.groups[: self.scene.groups.index(self)]):
            read = group.READS.get(segment.id)
            if read is not None:
                read(group, segment)
                return
