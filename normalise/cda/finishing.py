"""What no table can say of a resource: what an absence means, what excludes what, what FHIR requires besides.

Sources: C-CDA R2.1 templates; HL7's C-CDA on FHIR mapping; invariants of FHIR R4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from normalise.cda.denials import absent, allergy, condition, negated
from normalise.cda.paths import code_of, find
from normalise.cda.reading import Body, Reading
from normalise.cda.tables import DATA_ELEMENTS, VOCABULARIES
from normalise.cda.tree import Node
from normalise.cda.values import date_time, term_coding

_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_MATERIAL: Final = find("consumable/manufacturedProduct/manufacturedMaterial/code")
#: Elements of a choice of types that tables fill.
_CHOICES: Final = ("abatement", "born", "deceased", "effective", "medication", "multipleBirth", "occurrence", "onset",
                   "performed", "timing", "value")  # fmt: skip
#: Without these a resource says nothing and is not made.
_NEEDS: Final = {
    "CareTeam": "participant",
    "Condition": "code",
    "DeviceUseStatement": "device",
    "Goal": "description",
    "MedicationDispense": "medicationCodeableConcept",
    "Observation": "code",
    "Procedure": "code",
    "ServiceRequest": "code",
}


def finish(body: Body, node: Node, reading: Reading) -> Body | None:
    """Return the resource with what its type requires, or None where the statement says nothing worth keeping."""
    rule = _RULES.get(body["resourceType"])
    made = rule(body, node, reading) if rule is not None else body
    needed = _NEEDS.get(body["resourceType"])
    if made is None or (needed is not None and needed not in made):
        reading.note("required", "A statement that does not say what it is about stands in the narrative alone.")
        return None
    _choose(made)
    return made


def _choose(body: Body) -> None:
    """Of a choice of types, the first that a table filled stays: FHIR allows one."""
    seen: dict[str, str] = {}
    for name in list(body):
        bare = name.lstrip("_")
        choice = _choice(bare)
        if choice and seen.setdefault(choice, bare) != bare:
            del body[name]


@cache
def _choice(name: str) -> str:
    return next((one for one in _CHOICES if name.startswith(one) and name[len(one) :][:1].isupper()), "")


def _observation(body: Body, node: Node, reading: Reading) -> Body:
    element = DATA_ELEMENTS.get(code_of(node))
    if element is not None and "code" in body:
        if element.term is not None:
            body["code"].setdefault("coding", []).insert(0, term_coding(element.term))
        body["code"].setdefault("text", element.name)
        if element.unit and (found := body.get("valueQuantity")) is not None and "unit" not in found:
            found |= {"unit": element.unit, "system": "http://unitsofmeasure.org", "code": element.unit}
    category = (element.category if element is not None else "") or reading.section.category
    if category:
        body.setdefault("category", [{"coding": [{"system": _CATEGORIES, "code": category}]}])
    # A data element of WS/T 500 has no status; what a document of the record says of it is final.
    body.setdefault("status", "final" if element is not None else "unknown")
    ranges = [one for one in body.pop("referenceRange", ()) if one.keys() & {"low", "high", "text"}]  # invariant obs-3
    if ranges:
        body["referenceRange"] = ranges
    says = "extension" in body or any(name.startswith("value") for name in body)
    if negated(node) and not says:
        body["valueBoolean"] = False
    elif negated(node):
        reading.note("imprecise", "A negated observation with a value keeps its value and says so in words.")
        body.setdefault("note", []).append({"text": "negationInd: true — this was not observed"})
    elif not says and not body.get("hasMember") and not body.get("component"):
        body["dataAbsentReason"] = absent(node.first("value"))
    return body


def _report(body: Body, _node: Node, reading: Reading) -> Body | None:
    if "code" not in body and "result" not in body:
        return None
    null = term_coding(VOCABULARIES["EncounterClass"]["", "UNK"])
    body.setdefault("code", {"coding": [null], "text": reading.section.title or "Results"})
    return body


def _medication(body: Body, node: Node, _reading: Reading) -> Body:
    material = next(iter(_MATERIAL(node, None)), None)
    body.setdefault("medicationCodeableConcept", absent(material))
    for doses in (body.get("dosage"), body.get("dosageInstruction")):
        for dose in doses if isinstance(doses, list) else ():
            _dose_unit(dose, node)
    return body


def _dose_unit(dose: Body, node: Node) -> None:
    """A dose without a unit is counted in what is administered: puffs, tablets (administrationUnitCode)."""
    administered = node.first("administrationUnitCode")
    said = administered.get("displayName") if administered is not None else ""
    for one in dose.get("doseAndRate", ()):
        quantity = one.get("doseQuantity", {})
        if said and "unit" not in quantity and quantity:
            quantity["unit"] = said
        if "doseQuantity" in one and "doseRange" in one:
            del one["doseQuantity"]


def _administered(body: Body, node: Node, reading: Reading) -> Body:
    made = _medication(body, node, reading)
    if not any(one.startswith("effective") for one in made):
        made["_effectiveDateTime"] = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    dosage = made.get("dosage", {})
    if dosage and not dosage.keys() & {"dose", "rateQuantity", "text"}:  # invariant mad-1
        made["dosage"]["text"] = "not stated"
    return made


def _immunization(body: Body, node: Node, _reading: Reading) -> Body:
    body.setdefault("vaccineCode", absent(next(iter(_MATERIAL(node, None)), None)))
    if not any(one.startswith("occurrence") for one in body):
        body["occurrenceString"] = "unknown"
    return body


def _family(body: Body, _node: Node, _reading: Reading) -> Body:
    body.setdefault("relationship", absent(None))
    return body


def _goal(body: Body, _node: Node, _reading: Reading) -> Body:
    for one in body.get("target", ()):
        if "measure" not in one and "description" in body and any(name.startswith("detail") for name in one):
            one["measure"] = body["description"]  # invariant gol-1
    return body


def _coverage(body: Body, _node: Node, reading: Reading) -> Body:
    if "payor" not in body:
        reading.note("required", "A policy that does not say who pays it came; the payer is said to be unknown.")
        body["payor"] = [{"display": "unknown"}]
    return body


def _document(body: Body, node: Node, _reading: Reading) -> Body | None:
    contents = [one for one in body.get("content", ()) if one.get("attachment")]
    author = node.first("author")
    time = author.first("time") if author is not None else None
    if time is not None and (found := date_time(time, _reading)) and "T" in found:
        body["date"] = found
    return {**body, "content": contents} if contents else None


_RULES: Final[dict[str, Callable[[Body, Node, Reading], Body | None]]] = {
    "AllergyIntolerance": allergy,
    "Condition": condition,
    "Coverage": _coverage,
    "DiagnosticReport": _report,
    "DocumentReference": _document,
    "FamilyMemberHistory": _family,
    "Goal": _goal,
    "Immunization": _immunization,
    "MedicationAdministration": _administered,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "Observation": _observation,
}
