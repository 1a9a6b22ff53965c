"""Charges and accounts: FT1 of DFT^P03, DFT^P11 and BAR as ChargeItem, MRG-3 and the events of BAR as Account.

HL7 v2-to-FHIR has no map of FT1; the fields are HL7 v2.8.2 chapter 6.5.1, the elements FHIR R4 ChargeItem. Amounts keep
the digits that came: nothing is added up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.references import refer
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.tables import VOCABULARIES
from normalise.hl7v2.visits import add_diagnosis, add_procedure, subject

_CHARGE: Final = mapper("FT1-ChargeItem")
_PROCEDURE: Final = mapper("FT1-Procedure")
_DISPENSE: Final = mapper("FT1-MedicationDispense")
_DEVICE: Final = mapper("FT1-Device")


class Charges(Group):
    """FT1, with the diagnoses and procedures that follow: what is charged to the account of the patient."""

    __slots__ = ("_charge",)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._charge: Body | None = None

    def ft1(self, segment: Segment) -> None:
        """A charge; the orders before it are complete."""
        scene = self.scene
        scene.close()
        self._charge = add_charge(segment, text(scene.reading.message.segments[0].first(3)), scene.building)
        scene.about = (self._charge,) if self._charge else ()
        scene.annotated = self._charge

    def dg1(self, segment: Segment) -> None:
        """A diagnosis of the visit, and what the charge is for."""
        condition = add_diagnosis(segment, self.scene.encounter, self.scene.building, "update")
        self._explain("supportingInformation", condition)

    def pr1(self, segment: Segment) -> None:
        """A procedure of the visit, and what is charged; the roles that follow took part in it."""
        procedure = add_procedure(segment, self.scene.encounter, self.scene.building, self.scene.mode)
        self.scene.about = (procedure,) if procedure else ()
        self._explain("service", procedure)

    def close(self) -> None:
        """Another charge or the end of the message follows."""
        self._charge = None

    def _explain(self, element: str, body: Body | None) -> None:
        if self._charge is not None and body is not None:
            add_to(self._charge, {element: [refer(body)]})

    READS: ClassVar[Mapping[str, Read]] = {"FT1": ft1, "DG1": dg1, "PR1": pr1}


class Accounts(Group):
    """PID of BAR: the event is about the account of PID-18."""

    __slots__ = ()

    def pid(self, segment: Segment) -> None:
        """A patient and his account; a purged or ended account is inactive."""
        self.hand_on(segment)
        term = VOCABULARIES["AccountEvent"].find(self.scene.reading.event.code)
        account = self.scene.building.account
        if account is not None and term is not None:
            account["status"] = term.code

    READS: ClassVar[Mapping[str, Read]] = {"PID": pid}


def add_charge(ft1: Segment, application: str, building: Building) -> Body | None:
    """The ChargeItem of an FT1, and what it was charged for; None where nothing says what that was.

    Its id is that of the transaction (FT1-2), which means something to the sending application only; a credit may
    repeat the number of the charge that it takes back, so the type counts too.
    """
    body = _CHARGE.apply(ft1, {"resourceType": "ChargeItem"}, building)
    done = _procedure(ft1, building)
    if "code" not in body and done is not None:
        body["code"] = done["code"]
    if "code" not in body:
        building.note("required", 7, "Expected what is charged; the segment is left out.")
        return None
    number, kind = text(ft1.first(2)), text(ft1.first(6))
    alone = (number, kind) if number else ("message", building.control_id, ft1.label)
    body["id"] = building.id_within("ChargeItem", application, *alone)
    body.setdefault("status", "unknown")
    body["subject"] = subject(building)
    if building.encounter:
        body["context"] = {"reference": f"Encounter/{building.encounter}"}
    if building.account is not None:
        body["account"] = [refer(building.account)]
    served = [refer(one) for one in (done, _dispense(ft1, body["id"], building)) if one]
    if served:
        body["service"] = served
    if (device := _device(ft1, building)) is not None:
        body["productReference"] = refer(device)
    return building.add(body)


def _procedure(ft1: Segment, building: Building) -> Body | None:
    """FT1-25: a procedure of the visit that nobody says more about."""
    body = _PROCEDURE.apply(ft1, {"resourceType": "Procedure", "status": "unknown"}, building)
    if "code" not in body:
        return None
    code = body["code"].get("coding", [{}])[0].get("code") or body["code"]["text"]
    visit = building.encounter or building.patient
    body["id"] = building.id_within("Procedure", building.patient, visit, "charged", text(ft1.first(4)), code)
    body["subject"] = subject(building)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body, "ensure")


def _dispense(ft1: Segment, charge: str, building: Building) -> Body | None:
    """FT1-29, 42 and 43: a drug that was handed out, where more than its code is known."""
    if not (text(ft1.first(42)) or text(ft1.first(43))):
        return None
    body: Body = {"resourceType": "MedicationDispense", "status": "unknown", "subject": subject(building)}
    _DISPENSE.apply(ft1, body, building)
    if "medicationCodeableConcept" not in body:
        return None
    body["id"] = building.id_within("MedicationDispense", "charge", charge)
    if building.encounter:
        body["context"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body)


def _device(ft1: Segment, building: Building) -> Body | None:
    """FT1-34: an item of the stock, as one of this patient."""
    body = _DEVICE.apply(ft1, {"resourceType": "Device", "patient": subject(building)}, building)
    if "identifier" not in body:
        return None
    number = body["identifier"][0]
    body["id"] = building.id_within("Device", building.patient, number.get("system", ""), number["value"])
    return building.add(body, "ensure")
