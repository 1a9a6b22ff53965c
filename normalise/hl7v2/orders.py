"""The groups of segments around an order and its results (HL7 v2.8.2 chapters 4 and 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

from normalise.hl7v2.billing import add_charge
from normalise.hl7v2.building import Body, add_to
from normalise.hl7v2.chart import Chart
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.ordering import add_acts, charged_account, study_of
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import Order
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.timing import timings
from normalise.hl7v2.visits import add_diagnosis

_SAC: Final = mapper("SAC-Specimen")
#: What may be ordered and has no note in FHIR R4.
_WITHOUT_NOTES: Final = frozenset({"SupplyRequest"})


class Ordered(Protocol):
    """What an ORC began: a service, a medication, a vaccination."""

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The resources that roles are about; notes are about the last."""

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The observation of an OBX belongs to it; None where the segment says nothing."""

    def time(self, tq1: Segment) -> None:
        """When and how often stands in it."""

    def explain(self, condition: Body) -> None:
        """The condition is why it was ordered."""

    def support(self, reference: Body) -> None:
        """What is referred to is among what it goes by."""

    def close(self) -> None:
        """Nothing more follows."""


class Orders(Group):
    """ORC, OBR, TQ1, SPM, SAC and the OBX, DG1, NTE, FT1, BLG and CTI that follow them.

    Attributes:
        REPORTED: Whether every OBR has a report, as in messages of results; an order has one where it says so itself;
            None where none has one, for a document is the report.
    """

    REPORTED: ClassVar[bool | None] = False
    __slots__ = ("_charges", "_common", "_order", "_specimen", "_waiting")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._common: Segment | None = None
        self._waiting: list[Segment] | None = None
        self._order: Ordered | None = None
        self._specimen: Body | None = None
        self._charges: list[Body] = []

    def close(self) -> None:
        """The last order is complete; one that is nothing but its ORC is a request all the same."""
        if self._waiting is not None:
            self._start(Order(self._common, None, self.scene.building, reported=self.REPORTED))
        self._finish()
        self._common = self._waiting = None

    def _finish(self) -> None:
        if self._order is not None:
            self._order.close()
        self._order = self._specimen = self.scene.annotated = None
        self._charges = []
        self.scene.about = ()

    def orc(self, segment: Segment) -> None:
        """An order begins; what follows waits for its detail."""
        self.close()
        self._common, self._waiting = segment, []

    def obr(self, segment: Segment) -> None:
        """What is ordered."""
        common = self._common if self._waiting is not None else None
        timed = _timings(common, 7) or _timings(segment, 27)
        self._start(Order(common, segment, self.scene.building, reported=self.REPORTED), timed)

    def _start(self, order: Ordered, timed: list[Segment] | None = None) -> None:
        """The order is the one that what follows is about, and what waited for it."""
        waiting, self._waiting = self._waiting or [], None
        self._finish()
        self._order = order
        self._trace(order)
        self.scene.about = order.bodies
        body = order.bodies[-1]
        self.scene.annotated = body if body["resourceType"] not in _WITHOUT_NOTES else None
        if timed and not any(one.id == "TQ1" for one in waiting):
            waiting = [*timed, *waiting]
        for segment in waiting:
            self.READS[segment.id](self, segment)

    def _trace(self, order: Ordered) -> None:
        """Who acted on the order is known, once for each ORC."""
        if self._common is not None:
            add_acts(self._common, order.bodies[-1], self.scene.reading.recorded, self.scene.building)
            self._common = None

    def later(self, segment: Segment) -> bool:
        """Whether the segment waits for the detail of its order."""
        if self._waiting is None:
            return False
        self._waiting.append(segment)
        return True

    def tq1(self, segment: Segment) -> None:
        """When and how urgently."""
        if not self.later(segment) and self._order is not None:
            self._order.time(segment)

    def role(self, segment: Segment) -> None:
        """Somebody who takes part."""
        if not self.later(segment):
            self._chart().role(segment)

    def nte(self, segment: Segment) -> None:
        """A note about what stands before."""
        if not self.later(segment):
            self._chart().nte(segment)

    def obx(self, segment: Segment) -> None:
        """A result of the order, or of the patient where none was begun."""
        scene = self.scene
        if self._waiting is not None:
            self._start(Order(self._common, None, scene.building, reported=self.REPORTED))
        if self._order is None:
            self._chart().obx(segment)
            return
        scene.annotated = self._order.observe(segment, self._specimen)
        scene.about = (scene.annotated,) if scene.annotated else ()

    def dg1(self, segment: Segment) -> None:
        """Why it was ordered; before any order a diagnosis of the visit."""
        if self.later(segment):
            return
        if self._order is None:
            self._chart().dg1(segment)
            return
        condition = add_diagnosis(segment, self.scene.encounter, self.scene.building, "update", role=False)
        if condition is not None:
            self._order.explain(condition)

    def spm(self, segment: Segment) -> None:
        """A specimen of the order."""
        if not self.later(segment) and isinstance(self._order, Order):
            self.scene.annotated = self._specimen = self._order.collect(segment)

    def sac(self, segment: Segment) -> None:
        """The container of the specimen before it."""
        if self._specimen is None:
            self.scene.leave_out(segment)
        else:
            found = _SAC.apply(segment, {}, self.scene.building)
            container = found.pop("container", [{}])[0]
            add_to(self._specimen, found)
            if container:
                add_to(self._specimen.setdefault("container", [{}])[0], container)

    def ft1(self, segment: Segment) -> None:
        """What the order costs."""
        building = self.scene.building
        charge = add_charge(segment, text(self.scene.reading.message.segments[0].first(3)), building)
        if charge is not None:
            self._charges.append(charge)
            if self._order is not None:
                add_to(charge, {"supportingInformation": [refer(self._order.bodies[-1])]})
        self.scene.annotated = charge

    def blg(self, segment: Segment) -> None:
        """Which account is charged."""
        account = charged_account(segment, self.scene.building)
        if account is not None:
            for charge in self._charges:
                add_to(charge, {"account": [account]})
            if self._order is not None:
                self._order.support(account)

    def cti(self, segment: Segment) -> None:
        """Which study the order is part of."""
        study = study_of(segment, self.scene.building)
        if study is not None and self._order is not None:
            self._order.support(study)

    def _chart(self) -> Chart:
        return next(one for one in self.scene.groups if isinstance(one, Chart))

    READS: ClassVar[Mapping[str, Read]] = {
        "ORC": orc,
        "OBR": obr,
        "TQ1": tq1,
        "PRT": role,
        "ROL": role,
        "NTE": nte,
        "OBX": obx,
        "DG1": dg1,
        "SPM": spm,
        "SAC": sac,
        "FT1": ft1,
        "BLG": blg,
        "CTI": cti,
    }


def _timings(segment: Segment | None, field: int) -> list[Segment]:
    """What ORC-7 and OBR-27 said until TQ1 came."""
    return timings(segment, field) if segment and segment.get(field) else []


class Requests(Orders):
    """Orders that a document is about."""

    REPORTED: ClassVar[bool | None] = None
    __slots__ = ()


class Results(Orders):
    """Orders of which every one is reported."""

    REPORTED: ClassVar[bool] = True
    __slots__ = ()
