"""Patients and those around them: PID, PD1, MRG, NK1 and GT1.

Sources: HL7 v2-to-FHIR, PID[Patient], PD1[Patient], NK1[Patient], NK1[RelatedPerson], PID[Account];
HL7 v2.8.2 chapters 3.6 (merge) and 6.5.5 (GT1, which HL7 v2-to-FHIR leaves open).
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identifiers import identifier
from normalise.hl7v2.message import Segment
from normalise.hl7v2.numbers import patient_number
from normalise.hl7v2.people import name_text
from normalise.hl7v2.references import named_organization, refer
from normalise.hl7v2.tables import Mode

_PID: Final = mapper("PID-Patient")
_PD1: Final = mapper("PD1-Patient")
_MRG: Final = mapper("MRG-Patient")
_ACCOUNT: Final = mapper("PID-Account")
_GUARANTOR: Final = mapper("GT1-Account")
_GUARANTEEING: Final = mapper("GT1-RelatedPerson")
_MOTHER: Final = mapper("PID-RelatedPerson")
_LIVING_WILL: Final = mapper("PD1-Observation")
_EMPLOYER: Final = mapper("GT1-Organization")
_EMPLOYED: Final = "urn:xinglin:fhir:StructureDefinition:employer"
_CONTACT: Final = mapper("NK1-Patient")
_REACHED: Final = mapper("CTD-Patient")
_ORGANIZATION: Final = mapper("NK1-Organization")
_RELATED: Final = mapper("NK1-RelatedPerson")
#: NK1-3 of those who are no persons: employer, federal agency, insurance company, state agency.
_NO_PERSON: Final = frozenset({"EMR", "E", "F", "I", "S"})
#: GT1-11 of a patient who pays.
_SELF: Final = frozenset({"SEL", "01", "18", "self", "Self", "patient"})


def learn_assigners(segments: tuple[Segment, ...], building: Building) -> None:
    """The message's namespaces that it gives universal ids for are known: MSH-4, and the HD of each CX in PID-3."""
    for segment in segments:
        if segment.id == "MSH":
            parts = segment.first(4), segment.first(4, 2)
            building.learn_assigner(text(parts[0]), text(parts[1]))
        elif segment.id == "PID":
            for one in segment.get(3).split("~"):
                cx = one.split("^", 4)
                hd = cx[3].split("&") if len(cx) > 3 else []
                if len(hd) > 1:
                    building.learn_assigner(text(hd[0]), text(hd[1]))


def patient_id(segment: Segment, building: Building) -> str:
    """Return the id of the patient that a PID or MRG names: the same in every message of the institution."""
    number = identifier(patient_number(segment), building) or {}
    return building.id_of("Patient", number.get("system", ""), number["value"])


def start_patient(pid: Segment, building: Building, mode: Mode) -> Body:
    """The Patient of a PID belongs to the message, and what follows is about that patient."""
    building.at = pid
    building.patient = patient_id(pid, building)
    building.encounter = None
    body: Body = {"resourceType": "Patient", "id": building.patient}
    _PID.apply(pid, body, building)
    stored = building.add(body, mode)
    _add_mother(pid, building, mode)
    _start_account(pid, building, mode)
    return stored


def _add_mother(pid: Segment, building: Building, mode: Mode) -> None:
    """PID-21: the mother of a newborn, by her own numbers."""
    body = _MOTHER.apply(pid, {"resourceType": "RelatedPerson"}, building)
    if "identifier" not in body:
        return
    body["id"] = building.id_within("RelatedPerson", building.patient, "mother")
    body["patient"] = {"reference": f"Patient/{building.patient}"}
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "MTH", "display": "mother"}
    building.add(body | {"relationship": [{"coding": [coding]}]}, mode)


def _start_account(pid: Segment, building: Building, mode: Mode) -> None:
    building.account = None
    raw = pid.first_whole(18)
    number = identifier(raw, building) if raw else None
    if number:
        body: Body = {"resourceType": "Account", "status": "active"}
        body["id"] = building.id_of("Account", number.get("system", ""), number["value"])
        body["subject"] = [{"reference": f"Patient/{building.patient}"}]
        building.account = building.add(_ACCOUNT.apply(pid, body, building), mode)


def add_guarantor(gt1: Segment, building: Building, mode: Mode) -> None:
    """Who pays is a RelatedPerson unless it is the patient or an organisation, and guarantees the account."""
    guarantor = _GUARANTOR.apply(gt1, {}, building)
    patient = {"reference": f"Patient/{building.patient}"}
    name = name_text(gt1.first_whole(3), building)
    if text(gt1.first(11)) in _SELF:
        guarantor["party"] = patient
        if (employer := _employer(gt1, building)) and (known := building.find("Patient", building.patient)):
            add_to(known, {"extension": [{"url": _EMPLOYED, "valueReference": employer}]})
    elif name:
        body: Body = {"resourceType": "RelatedPerson", "patient": patient}
        body["id"] = building.id_within("RelatedPerson", building.patient, "guarantor", name)
        _GUARANTEEING.apply(gt1, body, building)
        if employer := _employer(gt1, building):
            body["extension"] = [{"url": _EMPLOYED, "valueReference": employer}]
        stored = building.add(body, mode)
        guarantor["party"] = {"reference": f"RelatedPerson/{stored['id']}", "display": name}
    payers = [guarantor] if "party" in guarantor else []
    if organization := named_organization(gt1.first_whole(21), building):
        payers.append({**guarantor, "party": organization})
    if building.account is not None and payers:
        add_to(building.account, {"guarantor": payers})


def _employer(gt1: Segment, building: Building) -> Body | None:
    """Who employs the guarantor is an Organization, by its number or name."""
    body = _EMPLOYER.apply(gt1, {"resourceType": "Organization"}, building)
    number, name = body.get("identifier", [{}])[0], str(body.get("name", ""))
    if not number and not name:
        return None
    key = (number.get("system", ""), number["value"]) if number else ("name", name)
    body["id"] = building.id_of("Organization", *key) if number else building.id_within("Organization", *key)
    return refer(building.add(body, "ensure", own=False), name)


def add_details(pd1: Segment, patient: Body, building: Building, mode: Mode) -> None:
    """PD1's part of the Patient stands in it; whether there is a living will is an Observation."""
    _PD1.apply(pd1, patient, building)
    body: Body = {"resourceType": "Observation", "status": "final"}
    body["code"] = {"coding": [{"system": "http://loinc.org", "code": "75320-2", "display": "Advance directive"}]}
    _LIVING_WILL.apply(pd1, body, building)
    if "valueCodeableConcept" in body:
        body["id"] = building.id_within("Observation", building.patient, "living will")
        building.add(body | {"subject": {"reference": f"Patient/{building.patient}"}}, mode)


def merge(mrg: Segment, survivor: Body, building: Building) -> None:
    """The patient of an MRG is replaced by the survivor; each says so, each under its own id."""
    building.at = mrg
    building.patient = patient_id(mrg, building)
    if building.patient == survivor["id"]:
        building.note("structure", 1, "A patient is merged into itself; no link is made.")
        return
    survivor["active"] = True
    link = {"other": {"reference": f"Patient/{building.patient}"}, "type": "replaces"}
    survivor.setdefault("link", []).append(link)
    body: Body = {"resourceType": "Patient", "id": building.patient, "active": False}
    body["link"] = [{"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}]
    building.add(_MRG.apply(mrg, body, building))


def add_contact(ctd: Segment, patient: Body, building: Building) -> None:
    """A CTD tells how the patient, or somebody for him, is reached about an order (HL7 v2.8.2 chapter 11.8.4)."""
    contact = _REACHED.apply(ctd, {}, building)
    if contact.keys() & {"name", "telecom", "address"}:  # FHIR invariant pat-1
        add_to(patient, {"contact": [contact]})
    else:
        building.note("required", 2, "Expected whom to reach and how; the segment is left out.")


def add_relative(nk1: Segment, patient: Body, building: Building, mode: Mode) -> None:
    """The next of kin is a contact of the Patient and, when a person, a RelatedPerson."""
    contact = _CONTACT.apply(nk1, {}, building)
    if "organization" in contact and (person := _ORGANIZATION.apply(nk1, {}, building)):
        building.complete(contact["organization"], {"contact": [person]})
    if contact.keys() & {"name", "telecom", "address", "organization"}:  # FHIR invariant pat-1
        patient.setdefault("contact", []).append(contact)
    if text(nk1.first(3)) in _NO_PERSON:
        return
    body = _RELATED.apply(nk1, {}, building)
    name = name_text(nk1.get(2).partition("~")[0], building) or ""
    if not name and not body.get("identifier"):
        return
    patient_reference = {"reference": f"Patient/{building.patient}"}
    key = (body["identifier"][0]["value"],) if body.get("identifier") else (name, text(nk1.first(3)))
    id_ = building.id_within("RelatedPerson", building.patient, *key)
    building.add({"resourceType": "RelatedPerson", "id": id_, "patient": patient_reference, **body}, mode)
