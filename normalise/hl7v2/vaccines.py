"""The group of segments around a vaccination: ORC, RXA, RXR and OBX of VXU (HL7 v2.8.2 chapter 4A.7).

Sources: HL7 v2-to-FHIR, ORC[Immunization], RXA[Immunization], RXR[Immunization], OBX[Observation].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import concept, wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import observe
from normalise.hl7v2.orders import Orders
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import order_number
from normalise.hl7v2.scene import Read
from normalise.hl7v2.visits import subject

_ORC: Final = mapper("ORC-Immunization")
_RXA: Final = mapper("RXA-Immunization")
_RXR: Final = mapper("RXR-Immunization")
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
#: CVX of a record that only carries observations: no vaccine was given.
_NOTHING: Final = "998"
#: Coding systems of RXA-9 that say where a report comes from; 00 is the record of whoever gave it (CDC guide).
_ORIGIN: Final = "NIP001"


class Vaccination:
    """One RXA with its ORC."""

    __slots__ = ("_building", "_occurrences", "_what", "body")

    def __init__(self, orc: Segment | None, rxa: Segment, building: Building) -> None:
        building.at = rxa
        self._building = building
        self._occurrences: dict[tuple[str, ...], int] = {}
        placer, filler = order_number(orc, None, 2, "PLAC", building), order_number(orc, None, 3, "FILL", building)
        body: Body = {"resourceType": "Immunization", "patient": subject(building)}
        if identifiers := [one for one in (placer, filler) if one]:
            body["identifier"] = identifiers
        if orc is not None:
            _ORC.apply(orc, body, building)
        _RXA.apply(rxa, body, building)
        if "vaccineCode" not in body:
            building.note("required", 5, "Expected which vaccine, none came; written as unknown.")
            body["vaccineCode"] = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
        # A filler number is its sender's; some send 9999 for whatever has none, so patient, vaccine and day are named.
        number = filler or placer or {}
        self._what = wording(body["vaccineCode"]) if "extension" not in body["vaccineCode"] else ""
        code = body["vaccineCode"].get("coding", [{}])[0].get("code") or self._what
        day = text(rxa.first(3))[:8]
        known = (number.get("system", ""), number.get("value", ""), code)
        body["id"] = building.id_within("Immunization", building.patient, *known, "" if number else day)
        self._settle(rxa, body)
        self.body = building.add(body)

    def _settle(self, rxa: Segment, body: Body) -> None:
        """What the table cannot say: status, time, visit, and the notes of RXA-9."""
        if text(rxa.first(21)) == "D":
            body["status"] = "entered-in-error"
        elif "statusReason" in body or text(rxa.first(5)) == _NOTHING:
            body["status"] = "not-done"
        body.setdefault("status", "completed")
        if "occurrenceDateTime" not in body:
            body["occurrenceString"] = "unknown"
        if self._building.encounter:
            body["encounter"] = {"reference": f"Encounter/{self._building.encounter}"}
        for raw in filter(None, rxa.get(9).split("~")):
            self._remark(raw, body)

    def _remark(self, raw: str, body: Body) -> None:
        said = concept(raw, self._building)
        if said is None:
            return
        if _ORIGIN in raw.split("^"):
            body["primarySource"] = text(raw.partition("^")[0]) == "00"
            if not body["primarySource"]:
                body["reportOrigin"] = said
        else:
            body.setdefault("note", []).append({"text": wording(said)})

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The immunisation."""
        return (self.body,)

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The observation of an OBX is part of the vaccination; who pays and for whom stands in it as well."""
        scope = ("Immunization", self.body["id"])
        stored = observe(obx, self._building, scope, self._occurrences, specimen, self._what)
        if stored is None:
            return None
        stored["partOf"] = [refer(self.body)]
        value = stored.get("valueCodeableConcept")
        element = _ELEMENTS.get(text(obx.first(3)))
        if value and element == "programEligibility":
            add_to(self.body, {element: [value]})
        elif value and element:
            self.body.setdefault(element, value)
        return stored

    def time(self, tq1: Segment) -> None:
        """A vaccination that was given has its time in RXA-3."""

    def explain(self, condition: Body) -> None:
        """The condition is why it was given."""
        add_to(self.body, {"reasonReference": [refer(condition)]})

    def support(self, reference: Body) -> None:
        """A vaccination has no place for it."""

    def route(self, rxr: Segment) -> None:
        """How and where it was given."""
        add_to(self.body, _RXR.apply(rxr, {}, self._building))

    def close(self) -> None:
        """Nothing waits."""


#: LOINC codes of OBX-3 that are elements of an Immunization too (CDC guide for immunization messaging).
_ELEMENTS: Final = {"64994-7": "programEligibility", "30963-3": "fundingSource"}


class Vaccines(Orders):
    """Vaccinations; an order that was none of one is a request."""

    __slots__ = ()

    def close(self) -> None:
        """The last vaccination is complete; an ORC without RXA says nothing of one."""
        self._waiting = None
        super().close()

    def rxa(self, segment: Segment) -> None:
        """A vaccination."""
        common = self._common if self._waiting is not None else None
        self._start(Vaccination(common, segment, self.scene.building))

    def rxr(self, segment: Segment) -> None:
        """Its route and site."""
        if isinstance(self._order, Vaccination):
            self._order.route(segment)
        else:
            self.scene.leave_out(segment)

    READS: ClassVar[Mapping[str, Read]] = {**Orders.READS, "RXA": rxa, "RXR": rxr}
