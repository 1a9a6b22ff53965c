"""The groups of segments around blood: BPO, BPX and BTX of OMB, BPS and BTS (HL7 v2.8.2 chapter 4.14).

HL7 v2-to-FHIR has no maps of these segments; the elements are those of FHIR R4 ServiceRequest,
BiologicallyDerivedProduct, SupplyDelivery and Procedure. R4 lets neither of the last two refer to such a product, so an
extension does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import observe
from normalise.hl7v2.ordering import settle_requester
from normalise.hl7v2.orders import Orders
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import order_number, order_scope
from normalise.hl7v2.scene import Read
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_ORC: Final = mapper("ORC-ServiceRequest")
_BPO: Final = mapper("BPO-ServiceRequest")
_TQ1: Final = mapper("TQ1-ServiceRequest")
_PRODUCTS: Final = {id_: mapper(f"{id_}-BiologicallyDerivedProduct") for id_ in ("BPX", "BTX")}
_DELIVERY: Final = mapper("BPX-SupplyDelivery")
_TRANSFUSION: Final = mapper("BTX-Procedure")
_PRODUCT: Final = "urn:xinglin:fhir:StructureDefinition:product"
_TRANSFUSED: Final = {
    "coding": [{"system": "http://snomed.info/sct", "code": "116859006", "display": "Transfusion of blood product"}]
}
#: Table 0511: what was said before was wrong.
_WITHDRAWN: Final = frozenset({"D", "W"})


class BloodOrder:
    """One BPO with its ORC, the products that were made ready for it, and what became of them."""

    __slots__ = ("_building", "_key", "_occurrences", "body", "done")

    def __init__(self, orc: Segment | None, bpo: Segment, building: Building) -> None:
        building.at = bpo
        self._building = building
        self._occurrences: dict[tuple[str, ...], int] = {}
        placer, filler = order_number(orc, None, 2, "PLAC", building), order_number(orc, None, 3, "FILL", building)
        alone = ("message", building.control_id, bpo.label)
        self._key = (*order_scope(placer or filler, alone, building), text(bpo.first(2)) or text(bpo.first(2, 2)))
        self.body: Body = {"resourceType": "ServiceRequest", "id": derive("ServiceRequest", *self._key)}
        self.body |= {"subject": subject(building), "intent": "order"}
        if identifiers := [one for one in (placer, filler) if one]:
            self.body["identifier"] = identifiers
        if orc is not None:
            _ORC.apply(orc, self.body, building)
        _BPO.apply(bpo, self.body, building)
        self.body.setdefault("status", "unknown")
        if orc is not None:
            settle_requester(orc, self.body, building)
        self.body = building.add(self._within(self.body))
        self.done: Body = self.body

    def _within(self, body: Body) -> Body:
        if self._building.encounter:
            body["encounter"] = {"reference": f"Encounter/{self._building.encounter}"}
        return body

    def _product(self, segment: Segment) -> Body | None:
        """The unit of blood of a BPX or BTX: its number and component name it, within the order where it has none."""
        body = _PRODUCTS[segment.id].apply(segment, {}, self._building)
        if not body.keys() - {"quantity"}:
            field = 5 if segment.id == "BPX" else 2
            self._building.note("required", field, "Expected which product, none came; the segment is left out.")
            return None
        numbers = [f"{one.get('system', '')}|{one['value']}" for one in body.get("identifier", ())]
        code = body.get("productCode", {})
        said = code["coding"][0]["code"] if "coding" in code else code.get("text", "")
        within = numbers[:1] or [
            *self._key,
            segment.label,
            self._building.control_id,
        ]  # the donation, where both are told
        id_ = self._building.id_within("BiologicallyDerivedProduct", *within, said)
        known = self._building.find("BiologicallyDerivedProduct", id_)
        if known is not None:
            add_to(known, body)
            return known
        fixed = {"productCategory": "fluid", "request": [refer(self.body)]}
        return self._building.add({"resourceType": "BiologicallyDerivedProduct", "id": id_, **body, **fixed})

    def supply(self, bpx: Segment) -> None:
        """A product is made ready, handed out or taken back."""
        product = self._product(bpx)
        if product is None:
            return
        found = _DELIVERY.apply(bpx, {}, self._building)
        self._settle(found, product, text(bpx.first(3)))
        self.done = self._keep("SupplyDelivery", product, found | {"patient": subject(self._building)})

    def give(self, btx: Segment) -> None:
        """A product was transfused, or was not."""
        product = self._product(btx)
        if product is None:
            return
        found = _TRANSFUSION.apply(btx, {}, self._building)
        if "statusReason" in found and found.get("status") in (None, "completed"):
            found["status"] = "stopped"
        self._settle(found, product, text(btx.first(12)))
        found |= {"code": _TRANSFUSED, "subject": subject(self._building), "basedOn": [refer(self.body)]}
        if "performedPeriod" in found:
            found.pop("performedDateTime", None)
        self.done = self._keep("Procedure", product, self._within(found))

    def _settle(self, found: Body, product: Body, news: str) -> None:
        """What the tables cannot say: the product, and a status that FHIR requires of a Procedure."""
        found.setdefault("extension", []).append({"url": _PRODUCT, "valueReference": refer(product)})
        if "identifier" in product:
            found["identifier"] = [dict(one) for one in product["identifier"]]
        if news in _WITHDRAWN:
            found["status"] = "entered-in-error"
        found.setdefault("status", "unknown")

    def _keep(self, type_: str, product: Body, found: Body) -> Body:
        if type_ == "SupplyDelivery" and found["status"] == "unknown":
            del found["status"]
        return self._building.add({"resourceType": type_, "id": derive(type_, *self._key, product["id"]), **found})

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The request."""
        return (self.body,)

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The observation of an OBX was sent along with the order."""
        stored = observe(obx, self._building, (*self._key, "sent along"), self._occurrences, specimen)
        if stored is not None:
            add_to(self.body, {"supportingInfo": [refer(stored)]})
        return stored

    def time(self, tq1: Segment) -> None:
        """When and how urgently."""
        found = _TQ1.apply(tq1, {}, self._building)
        if "occurrenceTiming" in found:
            self.body.pop("occurrenceDateTime", None)
        add_to(self.body, found)

    def explain(self, condition: Body) -> None:
        """The condition is why it was ordered."""
        add_to(self.body, {"reasonReference": [refer(condition)]})

    def support(self, reference: Body) -> None:
        """What is referred to is among what it goes by."""
        add_to(self.body, {"supportingInfo": [reference]})

    def close(self) -> None:
        """Nothing more follows."""


class Blood(Orders):
    """Orders of blood, the products handed out for each, and the transfusions."""

    __slots__ = ()

    def bpo(self, segment: Segment) -> None:
        """What is ordered."""
        common = self._common if self._waiting is not None else None
        self._start(BloodOrder(common, segment, self.scene.building))

    def bpx(self, segment: Segment) -> None:
        """A product of the order."""
        self._of_order(segment, BloodOrder.supply)

    def btx(self, segment: Segment) -> None:
        """What became of a product."""
        self._of_order(segment, BloodOrder.give)

    def _of_order(self, segment: Segment, read: Read) -> None:
        order = self._order
        if not isinstance(order, BloodOrder):
            self.scene.leave_out(segment)
            return
        self.scene.building.at = segment
        read(order, segment)
        # A SupplyDelivery has no note in FHIR; that of a product is the order's.
        self.scene.annotated = order.done if order.done["resourceType"] == "Procedure" else order.body

    READS: ClassVar[Mapping[str, Read]] = {**Orders.READS, "BPO": bpo, "BPX": bpx, "BTX": btx}
