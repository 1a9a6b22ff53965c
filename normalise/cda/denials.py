"""Problems and allergies: which there are, which there are not, and which are over.

C-CDA says by ``negationInd`` that somebody does not have something, by a code of everything that somebody has nothing
of the kind (no known allergies), and by ``nullFlavor`` that nobody knows: three things, told apart here. Sources:
C-CDA R2.1, Problem Observation and Allergy - Intolerance Observation; HL7 C-CDA on FHIR, Problems and Allergies.
"""

from __future__ import annotations

from typing import Final

from normalise.cda.paths import find
from normalise.cda.reading import Body, Reading
from normalise.cda.tables import VOCABULARIES
from normalise.cda.tables import find as term_of
from normalise.cda.tree import Node
from normalise.cda.values import term_coding

_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/condition-category"
_PROBLEM_REFUTED: Final = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_ALLERGY_REFUTED: Final = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
_VALUE: Final = find("value")
_SUBSTANCE: Final = find("participant[CSM]/participantRole/playingEntity/code")


def negated(node: Node) -> bool:
    """Whether the statement says that something is not so, or was not done."""
    return node.get("negationInd").lower() in ("true", "1")


def absent(node: Node | None) -> Body:
    """Return the reason why a value is absent that an element's nullFlavor means, as a CodeableConcept."""
    flavor = node.get("nullFlavor") if node is not None else ""
    term = term_of("AbsentReason", flavor) if flavor else None
    return {"coding": [term_coding(term or VOCABULARIES["AbsentReason"]["", "UNK"])]}


def condition(body: Body, node: Node, reading: Reading) -> Body:
    """The problem says whether it is active, resolved, refuted, or that there is none at all."""
    if negated(node) and not _none_known(body, [one["code"] for one in body.get("code", {}).get("coding", ())]):
        body["verificationStatus"] = {"coding": [{"system": _PROBLEM_REFUTED, "code": "refuted"}]}
        body.pop("clinicalStatus", None)
    elif "clinicalStatus" not in body:
        body["clinicalStatus"] = _active_or_over(node, "ConditionClinicalStatus")
    over = any(name.startswith("abatement") for name in body)
    if over and "clinicalStatus" in body and body["clinicalStatus"]["coding"][0]["code"] == "active":
        body["clinicalStatus"] = _status("ConditionClinicalStatus", "resolved")  # invariant con-4
    if reading.section.condition:
        body["category"] = [{"coding": [{"system": _CATEGORIES, "code": reading.section.condition}]}]
    return body


def allergy(body: Body, node: Node, _reading: Reading) -> Body | None:
    """The allergy says whether it is active, over, refuted, or that there is none at all."""
    substances = [one.get("code") for one in _SUBSTANCE(node, None) if one.get("code")]
    if negated(node) and all(term_of("AnySubstance", one) for one in substances):
        _none_known(body, [*(one.get("code") for one in _VALUE(node, None)), "419199007"])
    elif negated(node):
        body["verificationStatus"] = {"coding": [{"system": _ALLERGY_REFUTED, "code": "refuted"}]}
        body["clinicalStatus"] = _status("AllergyClinicalStatus", "inactive")  # invariant ait-1 asks for one
    if "code" not in body and "reaction" not in body:
        return None
    if "clinicalStatus" not in body:
        body["clinicalStatus"] = _active_or_over(node, "AllergyClinicalStatus")
    return body


def _none_known(body: Body, codes: list[str]) -> bool:
    """The denial of everything of a kind is a code of its own; returns whether it was one."""
    term = next((one for code in codes if (one := term_of("NoKnown", code)) is not None), None)
    if term is not None:
        body["code"] = {"coding": [term_coding(term)], "text": term.display}
    return term is not None


def _active_or_over(node: Node, vocabulary: str) -> Body:
    """Active, unless it has an end; an end at an unknown time is one all the same (C-CDA R2.1, CONF:1198-15603)."""
    times = node.first("effectiveTime")
    end = times.first("high") if times is not None else None
    over = end is not None and end.get("nullFlavor") not in ("NA", "NI")
    return _status(vocabulary, "resolved" if over else "active")


def _status(vocabulary: str, code: str) -> Body:
    return {"coding": [term_coding(VOCABULARIES[vocabulary]["", code])]}
