"""One medication ordered, encoded, dispensed or given: RXO, RXE, RXD or RXA with its ORC, routes, mixture and timing.

Sources: HL7 v2-to-FHIR, RXO[MedicationRequest], RXR[MedicationRequest], TQ1[MedicationRequest],
ORC[MedicationAdministration]. RXE, RXD and RXC are under construction there; they are mapped in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import observe
from normalise.hl7v2.ordering import settle_requester
from normalise.hl7v2.references import refer
from normalise.hl7v2.results import order_number, order_scope
from normalise.hl7v2.visits import subject
from normalise.ids import derive

#: What each detail segment becomes.
_TARGETS: Final = {
    "RXO": "MedicationRequest",
    "RXE": "MedicationRequest",
    "RXD": "MedicationDispense",
    "RXA": "MedicationAdministration",
}
_DETAILS: Final = {id_: mapper(f"{id_}-{type_}") for id_, type_ in _TARGETS.items()}
_COMMON: Final = {type_: mapper(f"ORC-{type_}") for type_ in _TARGETS.values()}
_ROUTES: Final = {type_: mapper(f"RXR-{type_}") for type_ in _TARGETS.values()}
_MEDICATIONS: Final = {id_: mapper(f"{id_}-Medication") for id_ in _TARGETS}
_COMPONENT: Final = mapper("RXC-Medication")
_TIMING: Final = mapper("TQ1-MedicationRequest")
_DEFAULTS: Final[Mapping[str, Body]] = {
    "RXO": {"status": "unknown", "intent": "original-order"},
    "RXE": {"status": "unknown", "intent": "filler-order"},
    "RXD": {"status": "completed"},
    "RXA": {"status": "completed"},
}
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class Treatment:
    """One RXO, RXE, RXD or RXA with its ORC: what is ordered, dispensed or given, and of which medication."""

    __slots__ = ("_alone", "_building", "_medication", "_occurrences", "_segment", "body")

    def __init__(self, orc: Segment | None, segment: Segment, building: Building, request: Body | None) -> None:
        """The resource belongs to the message; its medication is known when it is closed.

        Args:
            orc: The common part, or None.
            segment: The detail.
            building: The message.
            request: The request of the same order that came before, or None.
        """
        building.at = segment
        self._building = building
        self._segment = segment
        self._occurrences: dict[tuple[str, ...], int] = {}
        type_ = _TARGETS[segment.id]
        placer, filler = order_number(orc, None, 2, "PLAC", building), order_number(orc, None, 3, "FILL", building)
        self._medication = _MEDICATIONS[segment.id].apply(segment, {}, building)
        self._alone = ("message", building.control_id, segment.label)
        key = (*order_scope(placer or filler, self._alone, building), *_code_of(self._medication))
        extra = (segment.id, text(segment.first(1)), text(segment.first(3))) if type_ != "MedicationRequest" else ()
        id_ = derive(type_, *key, *((segment.id,) if segment.id == "RXE" else ()), *extra)
        self.body: Body = {"resourceType": type_, "id": id_, "subject": subject(building)}
        if identifiers := [one for one in (placer, filler) if one]:
            self.body["identifier"] = identifiers
        if orc is not None:
            _COMMON[type_].apply(orc, self.body, building)
        _DETAILS[segment.id].apply(segment, self.body, building)
        if orc is not None and type_ == "MedicationRequest":
            settle_requester(orc, self.body, building)
        self._settle(request)
        self.body = building.add(self.body)

    def _settle(self, request: Body | None) -> None:
        """What the tables cannot say: defaults, the visit, and the order that it goes back to."""
        body, type_ = self.body, self.body["resourceType"]
        for name, value in _DEFAULTS[self._segment.id].items():
            body.setdefault(name, value)
        if self._building.encounter:
            visit = {"reference": f"Encounter/{self._building.encounter}"}
            body["encounter" if type_ == "MedicationRequest" else "context"] = visit
        if type_ == "MedicationAdministration":
            if text(self._segment.first(21)) == "D":
                body["status"] = "entered-in-error"
            _give_when(body)
        if request is not None:
            if type_ == "MedicationRequest":
                body["basedOn"] = [refer(request)]
            elif type_ == "MedicationDispense":
                add_to(body, {"authorizingPrescription": [refer(request)]})
            else:
                body["request"] = refer(request)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The resource."""
        return (self.body,)

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The observation of an OBX is what the order goes by."""
        key = (*order_scope(None, self._alone, self._building), self.body["id"])
        about = wording(self._medication["code"]) if "code" in self._medication else ""
        stored = observe(obx, self._building, key, self._occurrences, specimen, about)
        if stored is not None and self.body["resourceType"] != "MedicationAdministration":
            add_to(self.body, {"supportingInformation": [refer(stored)]})
        elif stored is not None:
            stored["partOf"] = [refer(self.body)]
        return stored

    def time(self, tq1: Segment) -> None:
        """A TQ1 is when and how often; a second one is a dosage of its own."""
        found = _TIMING.apply(tq1, {}, self._building)
        if self.body["resourceType"] == "MedicationAdministration":
            return
        if self.body["resourceType"] == "MedicationRequest" and "priority" in found:
            self.body.setdefault("priority", found["priority"])
        if "dosageInstruction" not in found:
            return
        (dosage,) = found["dosageInstruction"]
        doses = self.body.setdefault("dosageInstruction", [{}])
        if any(dosage.items() <= known.items() for known in doses):
            return
        if "timing" in doses[0]:
            doses[0]["sequence"] = 1
            kept = {name: one for name, one in doses[0].items() if name in ("doseAndRate", "route", "site", "method")}
            doses.append({**kept, **dosage, "sequence": len(doses) + 1})
        else:
            _complete(doses[0], dosage)

    def explain(self, condition: Body) -> None:
        """The condition is why it was ordered or given."""
        if self.body["resourceType"] != "MedicationDispense":
            add_to(self.body, {"reasonReference": [refer(condition)]})

    def support(self, reference: Body) -> None:
        """What is referred to is among what it goes by."""
        add_to(self.body, {"supportingInformation": [reference]})

    def route(self, rxr: Segment) -> None:
        """How it enters the body: the first route; others are alternatives that FHIR has no place for."""
        found = _ROUTES[self.body["resourceType"]].apply(rxr, {}, self._building)
        name = "dosage" if self.body["resourceType"] == "MedicationAdministration" else "dosageInstruction"
        if name not in found:
            return
        if name == "dosage":
            _complete(self.body.setdefault(name, {}), found[name])
            return
        for dosage in self.body.setdefault(name, [{}]):
            if "route" in dosage and "route" in found[name][0]:
                self._building.note("structure", 0, "An alternative route has no place in FHIR; the first is kept.")
            _complete(dosage, found[name][0])

    def mix(self, rxc: Segment) -> None:
        """A component of what is mixed: a base or an additive, which alone is active."""
        found = _COMPONENT.apply(rxc, {}, self._building)
        if "itemCodeableConcept" in found:
            kind = text(rxc.first(1))
            if kind in ("A", "B"):
                found["isActive"] = kind == "A"
            self._medication.setdefault("ingredient", []).append(found)

    def close(self) -> None:
        """The medication is known: a code, or a resource of its own where its form, strength or lot is told."""
        if not self.body.keys().isdisjoint(("medicationCodeableConcept", "medicationReference")):
            return  # the message says the same thing twice
        self._building.at = self._segment
        medication = self._medication
        if not medication.keys() - {"code"}:
            unsaid = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
            if "code" not in medication:
                self._building.note("required", 0, "Expected which medication, none came; written as unknown.")
            self.body["medicationCodeableConcept"] = medication.get("code", unsaid)
            return
        _settle_strength(medication)
        body: Body = {"resourceType": "Medication", "id": derive("Medication", self.body["id"]), **medication}
        stored = self._building.add(body)
        name = wording(stored["code"]) if "code" in stored else ""
        self.body["medicationReference"] = refer(stored, name)


def _give_when(body: Body) -> None:
    """FHIR requires when it was given; HL7 requires RXA-3, and some send only that they gave it."""
    if "effectiveDateTime" not in body and "effectivePeriod" not in body:
        body["effectivePeriod"] = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    period = body.get("effectivePeriod", {})
    if "start" in period and period["start"] == period.get("end"):
        body["effectiveDateTime"] = body.pop("effectivePeriod")["start"]


def _settle_strength(medication: Body) -> None:
    """A strength is a ratio (invariant rat-1): of one, where the sender does not say of how much.

    A strength without an ingredient is of the medication itself.
    """
    for ingredient in medication.get("ingredient", ()):
        strength = ingredient.get("strength")
        if strength is not None and "numerator" not in strength:
            del ingredient["strength"]
        elif strength is not None:
            strength.setdefault("denominator", {"value": 1})
        if "itemCodeableConcept" not in ingredient:
            ingredient["itemCodeableConcept"] = medication.get("code", {"text": "unknown"})


def _complete(body: Body, found: Body) -> None:
    """What the body does not say yet it says now, part by part; lists and texts grow."""
    for name, value in found.items():
        if name in body and isinstance(value, dict):
            _complete(body[name], value)
        elif name == "additionalInstruction" and name in body:
            body[name] += value
        elif name == "text" and body.get(name, value) != value:
            body[name] += f"\n{value}"
        else:
            body.setdefault(name, value)


def _code_of(medication: Body) -> tuple[str, ...]:
    code = medication.get("code", {})
    return (str(code["coding"][0]["code"]) if "coding" in code else str(code.get("text", "")),)
