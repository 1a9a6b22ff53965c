"""Problems, goals and pathways: PRB, GOL and PTH of PPR, PGL, PPP and PPG as Condition, Goal and CarePlan.

HL7 v2-to-FHIR has no map of them; the fields are HL7 v2.8.2 chapter 12, the elements FHIR R4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.message import Segment
from normalise.hl7v2.references import refer
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.visits import code_key, subject

_PRB: Final = mapper("PRB-Condition")
_GOL: Final = mapper("GOL-Goal")
_PTH: Final = mapper("PTH-CarePlan")
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_PROBLEM: Final = {"system": f"{_TERMINOLOGY}condition-category", "code": "problem-list-item"}
_ERROR: Final = {"coding": [{"system": f"{_TERMINOLOGY}condition-ver-status", "code": "entered-in-error"}]}
#: PRB-1, GOL-1 and PTH-1 of what is taken back.
_DELETED: Final = frozenset({"DE", "D", "CA"})
#: Clinical statuses under which a problem may have ended (FHIR invariant con-4).
_ENDED: Final = frozenset({"inactive", "resolved", "remission"})


class Problems(Group):
    """PRB, GOL and PTH: each belongs to the one before it that it can be about.

    A message of problems (PPR, PPP) has goals inside each problem, one of goals (PGL, PPG) problems inside each goal:
    whichever comes first is the outer one, and its next begins anew.
    """

    __slots__ = ("_goal", "_outer", "_plan", "_problem")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._problem: Body | None = None
        self._goal: Body | None = None
        self._plan: Body | None = None
        self._outer = ""

    def _enter(self, id_: str) -> None:
        self._outer = self._outer or id_
        if self._outer == id_:
            self._problem = self._goal = None

    def prb(self, segment: Segment) -> None:
        """A problem, of the goal or pathway before it."""
        self._enter("PRB")
        self._problem = self._stand(add_problem(segment, self.scene.building))
        for body in filter(None, (self._goal, self._plan)):
            _about(body, self._problem)

    def gol(self, segment: Segment) -> None:
        """A goal, for the problem or pathway before it."""
        self._enter("GOL")
        self._goal = self._stand(add_goal(segment, self.scene.building))
        if self._goal is not None:
            _about(self._goal, self._problem)
            if self._plan is not None:
                add_to(self._plan, {"goal": [refer(self._goal)]})

    def pth(self, segment: Segment) -> None:
        """A pathway: its problems and goals follow."""
        self._problem = self._goal = None
        self._outer = ""
        self._plan = self._stand(add_pathway(segment, self.scene.building))

    def close(self) -> None:
        """Another patient follows, or the message ends."""
        self._problem = self._goal = self._plan = None
        self._outer = ""

    def _stand(self, body: Body | None) -> Body | None:
        for group in self.scene.groups[: self.scene.groups.index(self)]:
            group.close()
        self.scene.annotated, self.scene.about = body, (body,) if body else ()
        return body

    READS: ClassVar[Mapping[str, Read]] = {"PRB": prb, "GOL": gol, "PTH": pth}


def _about(body: Body, problem: Body | None) -> None:
    if problem is not None:
        add_to(body, {"addresses": [refer(problem)]})


def add_problem(prb: Segment, building: Building) -> Body | None:
    """The Condition of a PRB belongs to the message, or None without a problem; PRB-4 names it, else its code."""
    body: Body = {"resourceType": "Condition", "subject": subject(building), "category": [{"coding": [dict(_PROBLEM)]}]}
    _PRB.apply(prb, body, building)
    if "code" not in body:
        building.note("required", 3, "Expected a problem; the segment is left out.")
        return None
    body["id"] = _id("Condition", prb, 4, body["code"], building)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    if text(prb.first(1)) in _DELETED:
        body["verificationStatus"] = _ERROR
    if _code(body.get("verificationStatus")) == "entered-in-error":  # FHIR invariant con-5
        body.pop("clinicalStatus", None)
    elif "abatementDateTime" in body and _code(body.get("clinicalStatus")) not in _ENDED:
        body["clinicalStatus"] = {"coding": [{"system": f"{_TERMINOLOGY}condition-clinical", "code": "resolved"}]}
    else:
        active = {"coding": [{"system": f"{_TERMINOLOGY}condition-clinical", "code": "active"}]}
        body.setdefault("clinicalStatus", active)
    return building.add(body)


def add_goal(gol: Segment, building: Building) -> Body | None:
    """The Goal of a GOL belongs to the message, or None without a goal; GOL-4 names it, else its code."""
    body: Body = {"resourceType": "Goal", "subject": subject(building)}
    _GOL.apply(gol, body, building)
    if "description" not in body:
        building.note("required", 3, "Expected a goal; the segment is left out.")
        return None
    if text(gol.first(1)) in _DELETED:
        body["lifecycleStatus"] = "entered-in-error"
    body.setdefault("lifecycleStatus", "active")
    body["id"] = _id("Goal", gol, 4, body["description"], building)
    return building.add(body)


def add_pathway(pth: Segment, building: Building) -> Body | None:
    """The CarePlan of a PTH belongs to the message, or None without a pathway; PTH-3 names it, else its code."""
    body: Body = {"resourceType": "CarePlan", "intent": "plan", "subject": subject(building)}
    _PTH.apply(pth, body, building)
    if "category" not in body:
        building.note("required", 2, "Expected a pathway; the segment is left out.")
        return None
    if text(pth.first(1)) in _DELETED:
        body["status"] = "entered-in-error"
    body.setdefault("status", "active")
    body["id"] = _id("CarePlan", pth, 3, body["category"][0], building)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body)


def _id(type_: str, segment: Segment, field: int, code: Body, building: Building) -> str:
    number = segment.first_whole(field)
    if text(number.partition("^")[0]):
        return building.id_within(type_, building.patient, *map(text, number.split("^")))
    return building.id_within(type_, building.patient, *code_key(code), wording(code))


def _code(concept: Body | None) -> str:
    return str((concept or {}).get("coding", [{}])[0].get("code", ""))
