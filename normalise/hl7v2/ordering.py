"""Who orders, who acted on the order, and what it is charged to: ORC, BLG and CTI beside the order itself.

Sources: HL7 v2-to-FHIR, ORC[ServiceRequest] (ORC-21 to 24), ORC[Provenance]; HL7 v2.8.2, 4.5.1, 6.5.3 and 7.8.6.
"""

from __future__ import annotations

from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.participation import in_role
from normalise.hl7v2.people import address
from normalise.hl7v2.references import coded_organization, named_organization, refer
from normalise.hl7v2.visits import subject

_FACILITY: Final = mapper("ORC-Organization")
_ACTS: Final = mapper("ORC-Provenance")
_ACCOUNT: Final = mapper("BLG-Account")
_STUDY: Final = mapper("CTI-ResearchStudy")
_OPERATIONS: Final = {"NW": "CREATE", "SC": "UPDATE", "OC": "CANCEL", "CA": "CANCEL"}
_DATA_OPERATION: Final = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def settle_requester(orc: Segment, body: Body, building: Building) -> None:
    """Whoever orders does so for the facility of ORC-21, where there is one: a role, or the facility alone.

    ORC-24 is the address of the person.
    """
    if not (orc.get(21) or orc.get(24)):
        return
    before, building.at = building.at, orc
    who = body.get("requester")
    if who and orc.get(24) and (place := address(orc.first_whole(24), building)):
        building.complete(who, {"address": [place]})
    raw = orc.first_whole(21)
    facility = named_organization(raw, building) if raw else None
    if facility is not None:
        building.complete(facility, _FACILITY.apply(orc, {}, building))
        body["requester"] = in_role({"practitioner": who, "organization": facility}, building)
    building.at = before


def add_acts(orc: Segment, about: Body, recorded: str, building: Building) -> None:
    """Whoever entered, verified or acted on the order stands in a Provenance of it; the orderer alone needs none."""
    if not (orc.get(10) or orc.get(11) or orc.get(19)):
        return
    before = building.at
    found = _ACTS.apply(orc, {}, building)
    if "agent" not in found:
        building.at = before
        return
    if organization := coded_organization(orc.first_whole(17), building):
        for agent in found["agent"]:
            if agent["type"]["coding"][0]["code"] == "enterer":
                agent["onBehalfOf"] = organization
    unknown = {"_recorded": {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}}
    id_ = building.id_within("Provenance", about["resourceType"], about["id"], building.control_id, orc.label)
    body: Body = {"resourceType": "Provenance", "id": id_, "target": [refer(about)]}
    body |= {"recorded": recorded} if recorded else unknown
    operation = _OPERATIONS.get(text(orc.first(1)))
    if operation:
        body["activity"] = {"coding": [{"system": _DATA_OPERATION, "code": operation}]}
    building.add(body | found)
    building.at = before


def charged_account(blg: Segment, building: Building) -> Body | None:
    """Return the Reference to the Account that an order is charged to, or None where BLG names none."""
    body = _ACCOUNT.apply(blg, {"resourceType": "Account", "status": "active"}, building)
    if "identifier" not in body:
        building.note("required", 3, "Expected the number of an account, none came; the segment is left out.")
        return None
    number = body["identifier"][0]
    body["id"] = building.id_of("Account", number.get("system", ""), number["value"])
    body["subject"] = [subject(building)]
    return refer(building.add(body, "ensure"))


def study_of(cti: Segment, building: Building) -> Body | None:
    """Return the Reference to the ResearchStudy that an order is part of, or None where CTI names none."""
    body = _STUDY.apply(cti, {"resourceType": "ResearchStudy", "status": "active"}, building)
    if "identifier" not in body:
        building.note("required", 1, "Expected the number of a study, none came; the segment is left out.")
        return None
    number = body["identifier"][0]
    body["id"] = building.id_of("ResearchStudy", number.get("system", ""), number["value"])
    return refer(building.add(body, "ensure", own=False))


def support(body: Body, element: str, reference: Body) -> None:
    """The reference is among what the order goes by."""
    add_to(body, {element: [reference]})
