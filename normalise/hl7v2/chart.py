"""The group of segments around a patient and a visit, in every message (HL7 v2.8.2 chapters 3 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from normalise.hl7v2.building import Body, add_to
from normalise.hl7v2.concepts import names_something
from normalise.hl7v2.consents import add_consent
from normalise.hl7v2.escapes import text
from normalise.hl7v2.incidents import add_accident, add_death, add_disability
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import note_of, observe_patient
from normalise.hl7v2.patients import add_contact, add_details, add_guarantor, add_relative, start_patient
from normalise.hl7v2.provenance import add_last_update
from normalise.hl7v2.references import refer
from normalise.hl7v2.referrals import add_authorisation, add_referral
from normalise.hl7v2.roles import add_role, takes_roles
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.visits import (
    add_allergy,
    add_diagnosis,
    add_importance,
    add_insurance,
    add_insurance_details,
    add_procedure,
    add_reaction,
    add_visit_details,
    start_encounter,
)


class Chart(Group):
    """Patients, relatives, visits, diagnoses, allergies, procedures, insurance, and results without an order."""

    __slots__ = ("_allergy", "_coverage", "_occurrences")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._allergy: Body | None = None
        self._coverage: Body | None = None
        self._occurrences: dict[tuple[str, ...], int] = {}

    def pid(self, pid: Segment) -> None:
        """Another patient begins."""
        scene = self.scene
        scene.close()
        scene.pid, scene.encounter = pid, None
        scene.patient = start_patient(pid, scene.building, scene.mode)
        add_last_update(pid, scene.reading, scene.building)
        scene.about = (scene.patient,)

    def pd1(self, segment: Segment) -> None:
        """More about the patient."""
        add_details(segment, self.scene.patient, self.scene.building, self.scene.mode)

    def nk1(self, segment: Segment) -> None:
        """A relative."""
        add_relative(segment, self.scene.patient, self.scene.building, self.scene.mode)

    def pv1(self, segment: Segment) -> None:
        """A visit begins, unless the event is none of a visit."""
        scene = self.scene
        event = scene.reading.event
        named = event.visit != "named" or text(segment.first(19)) or text(segment.first(44))
        if event.visit != "ignored" and named:
            scene.encounter = start_encounter(segment, scene.pid, event.status, scene.building, scene.mode)
            add_importance(segment, scene.patient, scene.building)
            scene.about = (scene.encounter,)

    def pv2(self, segment: Segment) -> None:
        """More about the visit."""
        if self.scene.encounter is not None:
            add_visit_details(segment, self.scene.encounter, self.scene.building)

    def dg1(self, segment: Segment) -> None:
        """A diagnosis."""
        add_diagnosis(segment, self.scene.encounter, self.scene.building, "update")

    def allergy(self, segment: Segment) -> None:
        """An allergy."""
        self._allergy = add_allergy(segment, self.scene.building, self.scene.mode)

    def iar(self, segment: Segment) -> None:
        """A reaction of the allergy before it."""
        if self._allergy is not None:
            add_reaction(segment, self._allergy, self.scene.building)

    def pr1(self, segment: Segment) -> None:
        """A procedure; the roles that follow took part in it."""
        procedure = add_procedure(segment, self.scene.encounter, self.scene.building, self.scene.mode)
        self.scene.about = (procedure,) if procedure else ()

    def gt1(self, segment: Segment) -> None:
        """A guarantor."""
        add_guarantor(segment, self.scene.building, self.scene.mode)
        self.scene.about = ()

    def in1(self, segment: Segment) -> None:
        """An insurance."""
        building = self.scene.building
        self._coverage = add_insurance(segment, building, self.scene.mode)
        if self._coverage is not None and building.account is not None:
            add_to(building.account, {"coverage": [{"coverage": refer(self._coverage)}]})
        self.scene.about = ()

    def in2(self, segment: Segment) -> None:
        """More about the insurance."""
        if self._coverage is not None:
            add_insurance_details(segment, self._coverage, self.scene.building)

    def ctd(self, segment: Segment) -> None:
        """How somebody is reached about an order."""
        add_contact(segment, self.scene.patient, self.scene.building)

    def con(self, segment: Segment) -> None:
        """A consent."""
        add_consent(segment, self.scene.building, self.scene.mode)

    def acc(self, segment: Segment) -> None:
        """An accident."""
        add_accident(segment, self.scene.building, self.scene.mode)

    def db1(self, segment: Segment) -> None:
        """A disability."""
        add_disability(segment, self.scene.patient, self.scene.building, self.scene.mode)

    def pda(self, segment: Segment) -> None:
        """The death and the autopsy."""
        add_death(segment, self.scene.building, self.scene.mode)

    def aut(self, segment: Segment) -> None:
        """What an insurer agreed to."""
        add_authorisation(segment, self.scene.building)

    def rf1(self, segment: Segment) -> None:
        """A referral that goes with the insurance."""
        add_referral(segment, [], self.scene)

    def role(self, segment: Segment) -> None:
        """Somebody who takes part in what stands before."""
        if takes_roles(segment, self.scene.about):
            add_role(segment, self.scene.about, self.scene.building)
        else:
            self.scene.leave_out(segment)

    def obx(self, segment: Segment) -> None:
        """A result without an order is the patient's."""
        scene = self.scene
        scene.annotated = None
        if names_something(segment.get(3)):
            scene.annotated = observe_patient(segment, scene.building, self._occurrences)
        else:
            scene.building.at = segment
            scene.building.note("required", 3, "Expected what was observed; the segment is left out.")
        scene.about = (scene.annotated,) if scene.annotated else ()

    def nte(self, segment: Segment) -> None:
        """A note about what stands before."""
        scene = self.scene
        note = note_of(segment, scene.building)
        if note is None:
            return
        if scene.annotated is not None:
            scene.annotated.setdefault("note", []).append(note)
        else:
            scene.building.at = segment
            scene.building.note("structure", 3, "A note about a patient or a visit has no place in FHIR; left out.")

    READS: ClassVar[Mapping[str, Read]] = {
        "PID": pid,
        "PD1": pd1,
        "NK1": nk1,
        "PV1": pv1,
        "PV2": pv2,
        "DG1": dg1,
        "AL1": allergy,
        "IAM": allergy,
        "IAR": iar,
        "PR1": pr1,
        "GT1": gt1,
        "IN1": in1,
        "IN2": in2,
        "CON": con,
        "CTD": ctd,
        "ACC": acc,
        "DB1": db1,
        "PDA": pda,
        "AUT": aut,
        "RF1": rf1,
        "ROL": role,
        "PRT": role,
        "OBX": obx,
        "NTE": nte,
    }
