"""A visit and what belongs to it: PV1, PV2, DG1, AL1, IAM, PR1, IN1, IN2.

Sources: HL7 v2-to-FHIR, PV1[Encounter], PV1[Coverage], PV1[Patient], PV2[Encounter], DG1[Condition], DG1[Encounter],
AL1[AllergyIntolerance], IAM[AllergyIntolerance], PR1[Procedure], IN1[Coverage].
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import concept, term_coding, wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identifiers import entity, identifier
from normalise.hl7v2.message import Segment
from normalise.hl7v2.people import human_name, name_text, one_line
from normalise.hl7v2.quantities import quantity
from normalise.hl7v2.references import practitioner, refer
from normalise.hl7v2.tables import VOCABULARIES, Mode
from normalise.hl7v2.times import later

_PV1: Final = mapper("PV1-Encounter")
_PV2: Final = mapper("PV2-Encounter")
_EPISODE: Final = mapper("PV1-EpisodeOfCare")
_EPISODE_DIAGNOSIS: Final = mapper("DG1-EpisodeOfCare")
_ACCOUNT: Final = mapper("PID-Encounter")
_FINANCIAL: Final = mapper("PV1-Coverage")
_CONDITION: Final = mapper("DG1-Condition")
_DIAGNOSIS: Final = mapper("DG1-Encounter")
_ALLERGIES: Final = {id_: mapper(f"{id_}-AllergyIntolerance") for id_ in ("AL1", "IAM")}
_PROCEDURE: Final = mapper("PR1-Procedure")
_COVERAGE: Final = mapper("IN1-Coverage")
_MORE_COVERAGE: Final = mapper("IN2-Coverage")
_MORE_INSURED: Final = mapper("IN2-RelatedPerson")
_EMPLOYER: Final = mapper("IN2-Organization")
_IMPORTANCE: Final = mapper("PV1-Patient")
_INSURED: Final = mapper("IN1-RelatedPerson")
_INSURER: Final = mapper("IN1-Organization")
_REACTION: Final = mapper("IAR-AllergyIntolerance")
_REPORTER: Final = mapper("IAM-RelatedPerson")
_ALTERNATE: Final = "http://hl7.org/fhir/StructureDefinition/alternate-codes"
#: IN1-17 and IAM-15 of the patient.
_SELF: Final = frozenset({"SEL", "01", "18", "self", "Self", "patient"})
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"


def subject(building: Building) -> Body:
    """Return the Reference to the patient being read about."""
    return {"reference": f"Patient/{building.patient}"}


def start_encounter(pv1: Segment, pid: Segment, status: str, building: Building, mode: Mode) -> Body:
    """The Encounter of a PV1 belongs to the message, and what follows happened in it.

    Args:
        pv1: The visit.
        pid: Its patient: PID-18 is the account.
        status: What the event says of the visit, or ``""``: then PV1-45 and PV1-2 decide.
        building: The message.
        mode: ``update`` when the message is news about the visit.
    """
    body: Body = {"resourceType": "Encounter", "id": _encounter_id(pv1, building), "subject": subject(building)}
    body["status"] = status or ("finished" if text(pv1.first(45)) else _class_status(pv1))
    _PV1.apply(pv1, body, building)
    if "class" not in body:
        building.note("required", 2, "Expected a patient class; written as unknown.")
        body["class"] = {"system": f"{_TERMINOLOGY}v3-NullFlavor", "code": "UNK", "display": "unknown"}
    building.encounter = body["id"]
    building.add(body, mode)
    _ACCOUNT.apply(pid, body, building)
    if building.account is not None:
        body["account"][0]["reference"] = f"Account/{building.account['id']}"
    _add_financial_classes(pv1, building, mode)
    _add_episode(pv1, body, building, mode)
    return body


def _add_episode(pv1: Segment, encounter: Body, building: Building, mode: Mode) -> None:
    """PV1-54: the visit is part of an episode of care."""
    body = _EPISODE.apply(pv1, {"resourceType": "EpisodeOfCare", "status": "active"}, building)
    if "identifier" not in body:
        return
    number = body["identifier"][0]
    body["id"] = building.id_of("EpisodeOfCare", number.get("system", ""), number["value"])
    encounter["episodeOfCare"] = [refer(building.add(body | {"patient": subject(building)}, mode))]


def _class_status(pv1: Segment) -> str:
    term = VOCABULARIES["EncounterStatus"].find(text(pv1.first(2)))
    return term.code if term else "unknown"


def _encounter_id(pv1: Segment, building: Building) -> str:
    """The visit number names an encounter; without one the admission does; else it stands for this message alone."""
    building.at = pv1
    number = identifier(pv1.get(19).partition("~")[0], building)
    if number:
        return building.id_of("Encounter", number.get("system", ""), number["value"])
    admitted = text(pv1.first(44))
    if admitted:
        return building.id_within("Encounter", building.patient, "admitted", admitted)
    building.note("required", 19, "No visit number and no admission time: the encounter stands for this message alone.")
    return building.id_within("Encounter", building.patient, "message", building.control_id)


def add_visit_details(pv2: Segment, encounter: Body, building: Building) -> None:
    """PV2's part of the Encounter stands in it."""
    _PV2.apply(pv2, encounter, building)


def _add_financial_classes(pv1: Segment, building: Building, mode: Mode) -> None:
    for one in filter(None, pv1.get(20).split("~")):
        alone = Segment("PV1", [*[""] * 20, one], pv1.label)
        body: Body = {"resourceType": "Coverage", "status": "active", "beneficiary": subject(building)}
        _FINANCIAL.apply(alone, body, building)
        if "type" in body:
            name = wording(body["type"])
            body["id"] = building.id_within(
                "Coverage", building.patient, "financial class", text(one.partition("^")[0])
            )
            building.add(body | {"payor": [{"display": name}]}, mode)


def add_diagnosis(
    dg1: Segment, encounter: Body | None, building: Building, mode: Mode, *, role: bool = True
) -> Body | None:
    """A Condition, or None; and its role in the Encounter, unless an order says no more than why it was given."""
    body: Body = {"resourceType": "Condition", "subject": subject(building)}
    _CONDITION.apply(dg1, body, building)
    own = entity(dg1.get(20).partition("~")[0], building)
    if own:
        body["id"] = building.id_of("Condition", own.get("system", ""), own["value"])
    elif "code" in body:
        visit = building.encounter or building.patient
        body["id"] = building.id_within("Condition", building.patient, visit, *code_key(body["code"]))
    else:
        building.note("required", 3, "Expected a diagnosis code or description; the segment is left out.")
        return None
    if text(dg1.first(21)) != "D":  # FHIR invariant con-5: no clinical status for what was entered in error
        body["clinicalStatus"] = {"coding": [{"system": f"{_TERMINOLOGY}condition-clinical", "code": "active"}]}
    category = "encounter-diagnosis" if encounter else "problem-list-item"
    body["category"] = [{"coding": [{"system": f"{_TERMINOLOGY}condition-category", "code": category}]}]
    if encounter:
        body["encounter"] = refer(encounter)
    stored = building.add(body, mode)
    if encounter is not None and role:
        part = {"condition": refer(stored), **_DIAGNOSIS.apply(dg1, {}, building)}
        if part not in encounter.setdefault("diagnosis", []):
            encounter["diagnosis"].append(part)
        _add_to_episode(dg1, stored, encounter, building)
    return stored


def _add_to_episode(dg1: Segment, condition: Body, encounter: Body, building: Building) -> None:
    """A diagnosis of the visit is one of the episode of care that it is part of."""
    for one in encounter.get("episodeOfCare", ()):
        episode = building.find(*one["reference"].split("/"))
        if episode is not None:
            part = {"condition": refer(condition), **_EPISODE_DIAGNOSIS.apply(dg1, {}, building)}
            add_to(episode, {"diagnosis": [part]})


def code_key(code: Body) -> tuple[str, str]:
    """Return system and code, or wording, of a CodeableConcept: what tells it from others."""
    first = code.get("coding", [{}])[0]
    return str(first.get("system", "")), str(first.get("code") or code.get("text", ""))


def add_allergy(segment: Segment, building: Building, mode: Mode) -> Body | None:
    """An AllergyIntolerance from AL1 or IAM, or None."""
    body: Body = {"resourceType": "AllergyIntolerance", "patient": subject(building)}
    _ALLERGIES[segment.id].apply(segment, body, building)
    if "code" not in body:
        building.note("required", 3, "Expected what the patient is allergic to; the segment is left out.")
        return None
    own = body.get("identifier", [{}])[0]
    key = (own.get("system", ""), own["value"]) if own else code_key(body["code"])
    body["id"] = building.id_within("AllergyIntolerance", building.patient, *key)
    _settle_reaction(body, concept(segment.first_whole(4), building))
    if segment.id == "IAM":
        _add_reporter(segment, body, building, mode)
    if segment.id == "IAM" and text(segment.first(6)) == "D":
        body.pop("clinicalStatus", None)
        code = {"system": f"{_TERMINOLOGY}allergyintolerance-verification", "code": "entered-in-error"}
        body["verificationStatus"] = {"coding": [code]}
    else:
        body.setdefault("clinicalStatus", {"coding": [term_coding("AllergyClinicalStatus", "C")]})
    return building.add(body, mode)


def add_reaction(iar: Segment, allergy: Body, building: Building) -> None:
    """A reaction of an IAR stands in its allergy, where it names what was seen."""
    reaction = _REACTION.apply(iar, {}, building)
    if "manifestation" in reaction:
        add_to(allergy, {"reaction": [reaction]})
    else:
        building.note("required", 1, "Expected a reaction; the segment is left out.")


def _add_reporter(iam: Segment, body: Body, building: Building, mode: Mode) -> None:
    """IAM-14, 15 and 27: who reported the allergy, and the clinician's own code for it."""
    if more := concept(iam.first_whole(27), building):
        codings = body["code"].setdefault("coding", [])
        codings += [one for one in more.get("coding", ()) if one not in codings]
    name = human_name(iam.first_whole(14), building)
    relationship = text(iam.first(15))
    if relationship in _SELF:
        body["recorder"] = subject(building)
    elif name and not relationship:
        body["recorder"] = practitioner(f"^{iam.first_whole(14)}", building)
    elif name:
        id_ = building.id_within("RelatedPerson", building.patient, one_line(name), relationship)
        person: Body = {"resourceType": "RelatedPerson", "id": id_, "patient": subject(building)}
        _REPORTER.apply(iam, person, building)
        body["recorder"] = refer(building.add(person, mode), one_line(name))


def _settle_reaction(body: Body, said: Body | None) -> None:
    """FHIR has no reaction without a manifestation: a severity alone says how critical the allergy is."""
    reaction = body.get("reaction", [{}])[0]
    if reaction and "manifestation" not in reaction:
        del body["reaction"]
        term = VOCABULARIES["AllergyCriticality"].find(reaction["severity"])
        if term:
            body["criticality"] = term.code
            if said:
                body["_criticality"] = {"extension": [{"url": _ALTERNATE, "valueCodeableConcept": said}]}


def add_procedure(pr1: Segment, encounter: Body | None, building: Building, mode: Mode) -> Body | None:
    """A Procedure, or None; PR1 does not say how far it is, so its status is unknown."""
    body: Body = {"resourceType": "Procedure", "status": "unknown", "subject": subject(building)}
    _PROCEDURE.apply(pr1, body, building)
    own = body.get("identifier", [{}])[0]
    if own:
        body["id"] = building.id_of("Procedure", own.get("system", ""), own["value"])
    elif "code" in body:
        visit = building.encounter or building.patient
        when = text(pr1.first(5))
        body["id"] = building.id_within("Procedure", building.patient, visit, when, *code_key(body["code"]))
    else:
        building.note("required", 3, "Expected a procedure code or description; the segment is left out.")
        return None
    if encounter:
        body["encounter"] = refer(encounter)
    _put_end(pr1, body)
    return building.add(body, mode)


def _put_end(pr1: Segment, body: Body) -> None:
    """PR1-7: the minutes that a procedure took, where its start is exact to the minute."""
    lasting = quantity(text(pr1.first(7)), {})
    start = body.get("performedDateTime", "")
    if not lasting or not 0 < lasting["value"] < 100_000 or "T" not in start:
        return
    if end := later(start, timedelta(minutes=lasting["value"])):
        del body["performedDateTime"]
        body["performedPeriod"] = {"start": start, "end": end}


def add_insurance(in1: Segment, building: Building, mode: Mode) -> Body | None:
    """A Coverage, its insurer, and whoever is insured when that is not the patient; or None."""
    body: Body = {"resourceType": "Coverage", "status": "active", "beneficiary": subject(building)}
    _COVERAGE.apply(in1, body, building)
    plan = tuple(text(in1.first(field)) for field in (2, 3, 4, 8, 36, 49))
    if not any(plan):
        building.note("required", 2, "Expected a plan, an insurer or a policy; the segment is left out.")
        return None
    body["id"] = building.id_within("Coverage", building.patient, *plan)
    group = text(in1.first(8))
    if group:
        kind = {"coding": [{"system": f"{_TERMINOLOGY}coverage-class", "code": "group"}]}
        named = {"name": name} if (name := text(in1.first(9))) else {}
        body.setdefault("class", []).append({"type": kind, "value": group, **named})
    insurer = _insurer(in1, building)
    unsaid = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    body["payor"] = [insurer or unsaid]
    holder = identifier(in1.first_whole(10), building)
    if holder and "policyHolder" in body:
        building.complete(body["policyHolder"], {"identifier": [holder]})
    subscriber = _subscriber(in1, building, mode)
    if subscriber:
        body["subscriber"] = subscriber
    return building.add(body, mode)


def add_insurance_details(in2: Segment, coverage: Body, building: Building) -> None:
    """IN2's part of the Coverage stands in it, in whoever is insured and in the employer who holds the policy."""
    add_to(coverage, _MORE_COVERAGE.apply(in2, {}, building))
    insured = building.find(*coverage.get("subscriber", {"reference": "/"})["reference"].split("/"))
    if insured is not None and insured["resourceType"] == "RelatedPerson":
        add_to(insured, _MORE_INSURED.apply(in2, {}, building))
    person = _EMPLOYER.apply(in2, {}, building)
    if person and "policyHolder" in coverage:
        building.complete(coverage["policyHolder"], {"contact": [person]})


def add_importance(pv1: Segment, patient: Body, building: Building) -> None:
    """PV1's part of the Patient stands in it."""
    add_to(patient, _IMPORTANCE.apply(pv1, {}, building))


def _insurer(in1: Segment, building: Building) -> Body | None:
    body = _INSURER.apply(in1, {"resourceType": "Organization"}, building)
    own = body.get("identifier", [{}])[0]
    name = body.get("name", "")
    if own:
        body["id"] = building.id_of("Organization", own.get("system", ""), own["value"])
    elif name:
        body["id"] = building.id_within("Organization", "name", name)
    else:
        return None
    return refer(building.add(body, "ensure", own=False), name)


def _subscriber(in1: Segment, building: Building, mode: Mode) -> Body | None:
    relationship = text(in1.first(17))
    if relationship in _SELF:
        return subject(building)
    name = name_text(in1.get(16).partition("~")[0], building)
    if not relationship or not name:
        return None
    id_ = building.id_within("RelatedPerson", building.patient, name, relationship)
    body: Body = {"resourceType": "RelatedPerson", "id": id_, "patient": subject(building)}
    _INSURED.apply(in1, body, building)
    known = building.find("RelatedPerson", id_)
    if known is not None:
        add_to(known, body)
    return refer(known or building.add(body, mode), name)
