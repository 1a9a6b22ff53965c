"""The groups of segments around diets and supplies: ODS, RQD and RQ1 (HL7 v2.8.2 chapter 4).

HL7 v2-to-FHIR has no maps of these segments; the elements are those of FHIR R4 NutritionOrder and SupplyRequest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import observe
from normalise.hl7v2.pharmacy import Pharmacy
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import order_number, order_scope
from normalise.hl7v2.scene import Read
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_TARGETS: Final = {"ODS": "NutritionOrder", "RQD": "SupplyRequest", "RQ1": "SupplyRequest"}
_COMMON: Final = {type_: mapper(f"ORC-{type_}") for type_ in _TARGETS.values()}
_DETAILS: Final = {id_: mapper(f"{id_}-{type_}") for id_, type_ in _TARGETS.items()}
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class Requisition:
    """A diet or supply with its ORC; details of the same kind that follow are parts of it."""

    __slots__ = ("_building", "_key", "_occurrences", "body")

    def __init__(self, orc: Segment | None, segment: Segment, building: Building, recorded: str) -> None:
        building.at = segment
        self._building = building
        self._occurrences: dict[tuple[str, ...], int] = {}
        type_ = _TARGETS[segment.id]
        placer, filler = order_number(orc, None, 2, "PLAC", building), order_number(orc, None, 3, "FILL", building)
        alone = ("message", building.control_id, segment.label)
        self._key = (type_, *order_scope(placer or filler, alone, building))
        self.body: Body = {"resourceType": type_, "id": derive(*self._key)}
        if identifiers := [one for one in (placer, filler) if one]:
            self.body["identifier"] = identifiers
        if orc is not None:
            _COMMON[type_].apply(orc, self.body, building)
        self.body.setdefault("status", "unknown")
        if type_ == "NutritionOrder":
            self._settle_diet(recorded)
        self.detail(segment)
        self.body = building.add(self.body)

    def _settle_diet(self, recorded: str) -> None:
        self.body |= {"intent": "order", "patient": subject(self._building)}
        if self._building.encounter:
            self.body["encounter"] = {"reference": f"Encounter/{self._building.encounter}"}
        if "dateTime" not in self.body:
            unknown = {"_dateTime": {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}}
            self.body |= {"dateTime": recorded} if recorded else unknown

    def detail(self, segment: Segment) -> None:
        """What is ordered stands in it."""
        found = _DETAILS[segment.id].apply(segment, {}, self._building)
        diet = found.pop("oralDiet", None)
        if diet:
            add_to(self.body.setdefault("oralDiet", {}), diet)
        add_to(self.body, found)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The resource."""
        return (self.body,)

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The observation of an OBX is the patient's; neither resource has a place for it."""
        return observe(obx, self._building, self._key, self._occurrences, specimen)

    def time(self, tq1: Segment) -> None:
        """A diet's schedule and a supply's date stand in their own segments."""

    def explain(self, condition: Body) -> None:
        """The condition is why a supply was ordered; a diet has no reason in FHIR."""
        if self.body["resourceType"] == "SupplyRequest":
            add_to(self.body, {"reasonReference": [refer(condition)]})

    def support(self, reference: Body) -> None:
        """Neither resource has a place for it."""

    def close(self) -> None:
        """FHIR requires item and quantity of a supply: what did not come is unknown."""
        if self.body["resourceType"] == "SupplyRequest":
            unknown = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
            self.body.setdefault("itemCodeableConcept", dict(unknown))
            self.body.setdefault("quantity", dict(unknown))


class Requisitions(Pharmacy):
    """Orders of every kind: services, medications, diets and supplies."""

    __slots__ = ()

    def requisition(self, segment: Segment) -> None:
        """A diet or a supply; a further detail of the same order is a part of it."""
        order = self._order
        target = _TARGETS[segment.id]
        if self._waiting is None and isinstance(order, Requisition) and order.body["resourceType"] == target:
            order.detail(segment)
            return
        scene = self.scene
        self._start(Requisition(self._group, segment, scene.building, scene.reading.recorded))

    READS: ClassVar[Mapping[str, Read]] = {
        **Pharmacy.READS,
        "ODS": requisition,
        "RQD": requisition,
        "RQ1": requisition,
    }
