"""The group of segments around a medication: RXO, RXE, RXD, RXA, RXR and RXC (HL7 v2.8.2 chapter 4A)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from normalise.hl7v2.building import Body
from normalise.hl7v2.message import Segment
from normalise.hl7v2.orders import Ordered, Orders
from normalise.hl7v2.scene import Read, Scene
from normalise.hl7v2.timing import timings
from normalise.hl7v2.treatments import Treatment


class Pharmacy(Orders):
    """Orders of which some are medications: what was ordered, encoded, dispensed and given."""

    __slots__ = ("_group", "_request")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._group: Segment | None = None
        self._request: Body | None = None

    def orc(self, segment: Segment) -> None:
        """Another order begins."""
        super().orc(segment)
        self._group, self._request = segment, None

    def detail(self, segment: Segment) -> None:
        """A medication ordered (RXO), encoded (RXE), dispensed (RXD) or given (RXA)."""
        treatment = Treatment(self._group, segment, self.scene.building, self._request)
        timed = timings(self._group, 7) if self._group else []
        self._start(treatment, timed or (timings(segment, 1) if segment.id == "RXE" else []))
        if segment.id in ("RXO", "RXE"):
            self._request = treatment.body

    def rxr(self, segment: Segment) -> None:
        """Its route."""
        self._of_treatment(segment, Treatment.route)

    def rxc(self, segment: Segment) -> None:
        """A component of it."""
        self._of_treatment(segment, Treatment.mix)

    def _of_treatment(self, segment: Segment, read: Read) -> None:
        order: Ordered | None = self._order
        if isinstance(order, Treatment):
            read(order, segment)
        else:
            self.scene.leave_out(segment)

    READS: ClassVar[Mapping[str, Read]] = {
        **Orders.READS,
        "ORC": orc,
        "RXO": detail,
        "RXE": detail,
        "RXD": detail,
        "RXA": detail,
        "RXR": rxr,
        "RXC": rxc,
    }
