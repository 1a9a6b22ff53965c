"""Problems, goals, pathways and referrals: PPR, PGL, PPP, PPG and REF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import Refusal, SourceContext

Build = Callable[..., bytes]
Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟||19900307|M"


def prb(code: str, number: str, action: str = "AD", **fields: str) -> str:
    said = {"1": action, "2": "20261101", "3": code, "4": number, **{name[1:]: one for name, one in fields.items()}}
    return "|".join(["PRB", *(said.get(str(at), "") for at in range(1, 26))])


def gol(code: str, number: str, action: str = "AD") -> str:
    return f"GOL|{action}|20261101|{code}|{number}||1^高^L|20261101|20261201"


def code_of(concept: dict[str, Any]) -> str:
    return str(concept["coding"][0]["code"])


def test_goals_belong_to_the_problem_before_them(event: Build, bodies: Bodies) -> None:
    segments = prb("I10", "B1"), gol("G1", "L1"), gol("G2", "L2"), prb("E11", "B2"), gol("G3", "L3")
    content = event("PPR^PC1", PID, *segments)
    first, second = (one["id"] for one in bodies(content, "Condition"))
    assert [one["addresses"] for one in bodies(content, "Goal")] == [
        [{"reference": f"Condition/{first}"}],
        [{"reference": f"Condition/{first}"}],
        [{"reference": f"Condition/{second}"}],
    ]


def test_problems_belong_to_the_goal_before_them(event: Build, bodies: Bodies) -> None:
    segments = gol("G1", "L1"), prb("I10", "B1"), prb("E11", "B2"), gol("G2", "L2"), prb("J45", "B3")
    content = event("PGL^PC6", PID, *segments)
    ids = [{"reference": f"Condition/{one['id']}"} for one in bodies(content, "Condition")]
    assert [one["addresses"] for one in bodies(content, "Goal")] == [ids[:2], ids[2:]]


def test_a_pathway_has_its_problems_and_goals(event: Build, bodies: Bodies) -> None:
    content = event("PPP^PCB", PID, "PTH|AD|CP^卒中路径^L|PT1|20261101", prb("I63", "B1"), gol("G1", "L1"))
    (plan,), (problem,), (goal,) = (bodies(content, type_) for type_ in ("CarePlan", "Condition", "Goal"))
    assert (plan["title"], plan["status"], plan["intent"]) == ("卒中路径", "active", "plan")
    assert plan["addresses"] == [{"reference": f"Condition/{problem['id']}"}]
    assert plan["goal"] == [{"reference": f"Goal/{goal['id']}"}]


@pytest.mark.parametrize(
    ("fields", "clinical", "verification"),
    [
        ({}, "active", None),
        ({"_9": "20261202"}, "resolved", None),
        ({"action": "DE"}, None, "entered-in-error"),
    ],
)
def test_a_problem_that_ended_is_resolved_and_a_deleted_one_was_an_error(
    fields: dict[str, str], clinical: str | None, verification: str | None, event: Build, bodies: Bodies
) -> None:
    (problem,) = bodies(event("PPR^PC1", PID, prb("I10^高血压^I10", "B1", **fields)), "Condition")
    assert check_structure(problem) is None
    status, certainty = problem.get("clinicalStatus"), problem.get("verificationStatus")
    assert (status and code_of(status)) == clinical
    assert (certainty and code_of(certainty)) == verification


def test_onset_recording_and_prognosis_of_a_problem(event: Build, bodies: Bodies) -> None:
    segment = prb("I10^高血压^I10", "B1", _7="20261101", _16="2020", _22="V^佳^L")
    (problem,) = bodies(event("PPR^PC1", PID, segment, "NTE|1||晨起明显"), "Condition")
    assert (problem["onsetDateTime"], problem["recordedDate"]) == ("2020", "2026-11-01")
    assert problem["note"] == [{"text": "晨起明显"}]
    (prognosis,) = [one for one in problem["extension"] if one["url"].endswith(":prognosis")]
    assert prognosis["valueCodeableConcept"]["text"] == "佳"


def test_a_problem_keeps_its_id_from_message_to_message(event: Build, bodies: Bodies) -> None:
    ids = {bodies(event("PPR^PC1", PID, prb(code, "B1")), "Condition")[0]["id"] for code in ("I10", "I11")}
    assert len(ids) == 1


def test_those_who_care_for_a_problem_are_its_team(event: Build, bodies: Bodies) -> None:
    segments = (
        "PTH|AD|CP^路径^L|PT1|20261101",
        "ROL|1|AD|PP^^HL70443|D4^孙",
        prb("I10", "B1"),
        "ROL|2|AD|PP^^HL70443|D5^吴^敏",
        gol("G1", "L1"),
        "ROL|3|AD|PP^^HL70443|D6^李^强",
    )
    content = event("PPP^PCB", PID, *segments)
    teams = bodies(content, "CareTeam")
    assert [one["participant"][0]["member"]["display"] for one in teams] == ["孙", "吴敏", "李强"]
    (plan,), (problem,), (goal,) = (bodies(content, type_) for type_ in ("CarePlan", "Condition", "Goal"))
    assert plan["careTeam"] == [{"reference": f"CareTeam/{teams[0]['id']}"}]
    assert teams[1]["reasonReference"] == [{"reference": f"Condition/{problem['id']}"}]
    assert goal["extension"][0]["valueReference"] == {"reference": f"CareTeam/{teams[2]['id']}"}


@pytest.mark.parametrize(
    ("segment", "where"), [("PRB|AD|20261101", "PRB[1]-3"), ("GOL|AD|20261101", "GOL[1]-3"), ("PTH|AD", "PTH[1]-2")]
)
def test_what_names_nothing_is_left_out_with_a_note(
    segment: str, where: str, event: Build, context: SourceContext
) -> None:
    found = convert(event("PPP^PCB", PID, segment), context)
    assert [(one.code, one.where) for one in found.notes] == [("required", where)]


REFERRAL = "RF1|A^接受^HL70280|S^急^HL70281|MED^内科^HL70282|||R1^EAST|20261101|20261201|20261030|X^会诊^L|R2^WEST"


def test_a_referral_says_why_when_how_urgently_and_between_whom(event: Build, bodies: Bodies) -> None:
    content = event(
        "REF^I12",
        REFERRAL,
        "PRD|RP^转诊^HL70286|王^医|路2号||138||D1^EAST^PN",
        "PRD|RT^接诊^HL70286|赵^四||||D2^WEST^PN",
        PID,
        "DG1|1||R10^腹痛^I10",
        "NTE|1||请会诊",
    )
    (referral,) = bodies(content, "ServiceRequest")
    assert (referral["status"], referral["priority"], referral["intent"]) == ("active", "stat", "order")
    assert [one["value"] for one in referral["identifier"]] == ["R1", "R2"]
    assert referral["occurrencePeriod"] == {"start": "2026-11-01", "end": "2026-12-01"}
    assert (referral["authoredOn"], referral["reasonCode"][0]["text"]) == ("2026-10-30", "会诊")
    (reason,) = bodies(content, "Condition")
    assert referral["reasonReference"][0]["reference"] == f"Condition/{reason['id']}"
    people = {one["id"]: one for one in bodies(content, "Practitioner")}
    roles = {one["id"]: one for one in bodies(content, "PractitionerRole")}

    def name(reference: dict[str, str]) -> str:
        type_, _, id_ = reference["reference"].partition("/")
        who = people[id_] if type_ == "Practitioner" else people[roles[id_]["practitioner"]["reference"][13:]]
        return str(who["name"][0]["family"])

    assert name(referral["requester"]) == "王"
    assert [name(one) for one in referral["performer"]] == ["赵"]


@pytest.mark.parametrize(("segments", "where"), [((PID,), "PRD or RF1"), ((REFERRAL,), "PID")])
def test_refused_by_name(segments: tuple[str, ...], where: str, event: Build, refusal: Callable[..., Refusal]) -> None:
    assert refusal(event("REF^I12", *segments)).where == where


def test_an_answer_is_no_news_of_anybody(event: Build, context: SourceContext) -> None:
    found = convert(event("RSP^K22", "MSA|AA|Q1", "QAK|Q1|OK", PID, "PID|2||8^^^EAST^MR||李四"), context)
    patients = [one for one in found.resources if one.type == "Patient"]
    assert [one.mode for one in patients] == ["ensure", "ensure"]
