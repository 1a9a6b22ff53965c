"""The group of segments around an order and its results (HL7 v2.8.2 chapters 4 and 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from normalise.hl7v2.building import Body
from normalise.hl7v2.chart import Chart
from normalise.hl7v2.message import Segment
from normalise.hl7v2.results import Order
from normalise.hl7v2.scene import Group, Read, Scene


class Orders(Group):
    """ORC, OBR, TQ1, SPM and the OBX that follow them: requests, reports, specimens, results."""

    __slots__ = ("_orc", "_order", "_specimen")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._orc: Segment | None = None
        self._order: Order | None = None
        self._specimen: Body | None = None

    def close(self) -> None:
        """The last order is complete, and no order waits for its OBR."""
        self._finish()
        self._orc = None

    def _finish(self) -> None:
        if self._order is not None:
            self._order.close()
        self._order = self._specimen = self.scene.annotated = None

    def tq1(self, segment: Segment) -> None:
        """When and how urgently."""
        if self._order is not None:
            self._order.time(segment)

    def orc(self, segment: Segment) -> None:
        """An order begins."""
        self._finish()
        self._orc = segment
        self.scene.about = ()

    def obr(self, segment: Segment) -> None:
        """What is ordered."""
        self._finish()
        self._order = Order(self._orc, segment, self.scene.building)
        self._orc = None
        self.scene.about = self._order.bodies
        self.scene.annotated = self._order.bodies[1]

    def obx(self, segment: Segment) -> None:
        """A result of the order, or of the patient where none was begun."""
        scene = self.scene
        if self._order is None:
            chart = next(one for one in scene.groups if isinstance(one, Chart))
            chart.obx(segment)
            return
        scene.annotated = self._order.observe(segment, self._specimen)
        scene.about = (scene.annotated,) if scene.annotated else ()

    def spm(self, segment: Segment) -> None:
        """A specimen of the order."""
        if self._order is not None:
            self.scene.annotated = self._specimen = self._order.collect(segment)

    READS: ClassVar[Mapping[str, Read]] = {"ORC": orc, "OBR": obr, "TQ1": tq1, "OBX": obx, "SPM": spm}
