"""Patients, accounts and visits that replace others, move or are linked: MRG and the events of ``moves.csv``.

Sources: HL7 v2.8.2 chapter 3.6 (merge, move, change) and 3.3 (A24, A29, A37); HL7 v2-to-FHIR, MRG[Account]. What is
stored of a patient, account or visit that was replaced stays under its own id; the link says where it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.identifiers import identifier
from normalise.hl7v2.message import Segment
from normalise.hl7v2.numbers import patient_number
from normalise.hl7v2.patients import merge, patient_id
from normalise.hl7v2.references import refer
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.tables import rows
from normalise.hl7v2.visits import subject

_ACCOUNT: Final = mapper("MRG-Account")
_ENCOUNTER: Final = mapper("MRG-Encounter")
_REPLACED: Final = "urn:xinglin:fhir:StructureDefinition:replaced-by"
#: As ``vault/identity.py`` reads it.
UNLINKED: Final = "urn:xinglin:fhir:StructureDefinition:unlinked"
_UNKNOWN: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor",
    "code": "UNK",
    "display": "unknown",
}
#: What an event does to the patient, the account and the visit that MRG names.
MOVES: Final = MappingProxyType({row["event"]: row for row in rows("moves.csv")})


class Moves(Group):
    """MRG, with the PID before it and the PV1 after it; and the PID of events that link or delete persons."""

    __slots__ = ("_mrg", "_patients")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._mrg: Segment | None = None
        self._patients: list[Body] = []

    def pid(self, segment: Segment) -> None:
        """A patient: linked to the one before (A24), taken apart from it (A37), or deleted (A29)."""
        self.hand_on(segment)
        event, patient = self.scene.reading.event.code, self.scene.patient
        if event == "A29":
            patient["active"] = False
        elif event == "A24" and self._patients:
            _link(self._patients[-1], patient)
        elif event == "A37" and self._patients:
            _unlink(self._patients[-1], patient)
        self._patients.append(patient)

    def mrg(self, segment: Segment) -> None:
        """The patient, account or visit that was; a visit's heir is named by the PV1 that follows."""
        scene = self.scene
        self._end_visit()
        move = MOVES.get(scene.reading.event.code)
        if move is None:
            scene.leave_out(segment)
            return
        account = scene.building.account
        if move["account"]:
            _move_account(segment, account, moved=move["account"] == "moved", building=scene.building)
        if move["patient"]:
            merge(segment, scene.patient, scene.building)
        self._mrg = segment if move["visit"] else None

    def pv1(self, segment: Segment) -> None:
        """The visit that goes on."""
        self.hand_on(segment)
        self._end_visit()

    def close(self) -> None:
        """Another patient follows, or the message ends: a visit that nobody named an heir of stays as it is."""
        self._end_visit()

    def _end_visit(self) -> None:
        if self._mrg is not None:
            _replace_visit(self._mrg, self.scene.encounter, self.scene.building)
        self._mrg = None

    READS: ClassVar[Mapping[str, Read]] = {"PID": pid, "MRG": mrg, "PV1": pv1}


def _unlink(one: Body, other: Body) -> None:
    """Both records are of two persons, whatever was said before: the vault takes a merge back by this."""
    for body, beside in ((one, other), (other, one)):
        if body["id"] != beside["id"]:
            reference = {"reference": f"Patient/{beside['id']}"}
            add_to(body, {"extension": [{"url": UNLINKED, "valueReference": reference}]})


def _link(one: Body, other: Body) -> None:
    """Both records are of the same person; neither replaces the other."""
    for body, beside in ((one, other), (other, one)):
        link = {"other": {"reference": f"Patient/{beside['id']}"}, "type": "seealso"}
        if body["id"] != beside["id"]:
            add_to(body, {"link": [link]})


def _move_account(mrg: Segment, heir: Body | None, *, moved: bool, building: Building) -> None:
    """The account of MRG-3 is this patient's from now on, or is replaced by the one of PID-18."""
    building.at = mrg
    number = identifier(mrg.first_whole(3), building)
    if number is None:
        building.note("required", 3, "Expected the account that was; nothing is said of it.")
        return
    body: Body = {"resourceType": "Account", "id": building.id_of("Account", number.get("system", ""), number["value"])}
    if heir is not None and heir["id"] == body["id"]:
        return
    _ACCOUNT.apply(mrg, body, building)
    patient = building.patient
    if moved:
        body |= {"status": "active", "subject": [subject(building)]}
    elif heir is None:
        building.note("required", 3, "Expected the account that replaces it in PID-18; nothing is said of it.")
        return
    else:
        if patient_number(mrg):
            building.patient = patient_id(mrg, building)
        body |= {"status": "inactive", "subject": [subject(building)]}
        body["extension"] = [{"url": _REPLACED, "valueReference": refer(heir)}]
    building.add(body)
    building.patient = patient


def _replace_visit(mrg: Segment, heir: Body | None, building: Building) -> None:
    """The visit of MRG-5 goes on in the one of PV1-19, unless they are one and only the patient changed."""
    building.at = mrg
    number = identifier(mrg.first_whole(5), building)
    if number is None or heir is None:
        building.note("required", 5, "Expected the visit that was and a PV1 of the one that is; nothing is said of it.")
        return
    id_ = building.id_of("Encounter", number.get("system", ""), number["value"])
    if id_ == heir["id"]:
        return
    patient = building.patient
    if patient_number(mrg):
        building.patient = patient_id(mrg, building)
    body: Body = {"resourceType": "Encounter", "id": id_, "status": "entered-in-error", "subject": subject(building)}
    body["class"] = dict(heir.get("class", _UNKNOWN))
    body["extension"] = [{"url": _REPLACED, "valueReference": refer(heir)}]
    building.add(_ENCOUNTER.apply(mrg, body, building))
    building.patient = patient
