"""The group of segments of a laboratory that reports by specimen: OUL^R22 to R24 (HL7 v2.8.2 chapter 7.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.documents import start_document
from normalise.hl7v2.message import Segment
from normalise.hl7v2.orders import Results
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import Order, specimen_of
from normalise.hl7v2.scene import Read, Scene

_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class Specimens(Results):
    """Specimens first, then the orders carried out on each (HL7 v2.8.2, OUL^R22 to R24); an ORC may follow its OBR."""

    __slots__ = ("_taken",)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._taken: Segment | None = None

    def spm(self, segment: Segment) -> None:
        """A specimen of the order before it, else of those that follow."""
        building = self.scene.building
        if self._order is not None and self._specimen is None:
            super().spm(segment)
            return
        self.close()
        self._taken = None
        scope = (f"institution:{building.institution}", building.patient, "message", building.control_id)
        self.scene.annotated = self._specimen = specimen_of(segment, building, scope)

    def obr(self, segment: Segment) -> None:
        """What was done with the specimen before it."""
        specimen = self._specimen
        after = self._after(segment) if self._waiting is None else None
        if after is not None:
            self._common, self._waiting, self._taken = after, [], after
        super().obr(segment)
        if specimen is not None and isinstance(self._order, Order):
            self._order.use(specimen)
            self._specimen = specimen

    def orc(self, segment: Segment) -> None:
        """An order begins, unless the OBR before it is already the order."""
        if segment is not self._taken:
            specimen = self._specimen
            super().orc(segment)
            self._specimen = specimen

    def obx(self, segment: Segment) -> None:
        """A result of the order; right after an SPM, one about the specimen."""
        if self._order is None and self._specimen is not None:
            scene = self.scene
            self._chart().obx(segment)
            if scene.annotated is not None:
                scene.annotated["specimen"] = {"reference": f"Specimen/{self._specimen['id']}"}
            return
        super().obx(segment)

    def txa(self, segment: Segment) -> None:
        """A document about the order, such as an image that is kept elsewhere."""
        document = start_document(segment, self.scene)
        attachment = document["content"][0]["attachment"]
        if not attachment:
            attachment["extension"] = [{"url": _ABSENT, "valueCode": "unknown"}]
        if self._order is not None:
            self._order.support(refer(document))

    def _after(self, obr: Segment) -> Segment | None:
        """The ORC that follows an OBR, with nothing but participants between them."""
        segments = self.scene.reading.message.segments
        at = next(at for at, one in enumerate(segments) if one is obr)
        after = next((one for one in segments[at + 1 :] if one.id not in ("PRT", "ROL")), None)
        return after if after is not None and after.id == "ORC" else None

    READS: ClassVar[Mapping[str, Read]] = {**Results.READS, "SPM": spm, "OBR": obr, "ORC": orc, "OBX": obx, "TXA": txa}
