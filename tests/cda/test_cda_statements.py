"""Statements: what is so, what is not, what nobody knows, what is planned."""

from __future__ import annotations

from typing import Any

import pytest
from cda_shell import PATIENT, SHELL, bodies, in_section, only, read

SNOMED = "2.16.840.1.113883.6.96"
TEMPLATE = '<templateId root="2.16.840.1.113883.10.20.22.4.{}"/>'


def problem(value: str, attributes: str = "", inside: str = "", concern: str = "active") -> dict[str, Any]:
    entry = (
        f'<act classCode="ACT" moodCode="EVN">{TEMPLATE.format(3)}<statusCode code="{concern}"/>'
        f'<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" {attributes}>'
        f'{TEMPLATE.format(4)}<id root="1.2.8" extension="1"/><code code="55607006" codeSystem="{SNOMED}"/>{inside}'
        f'<value xsi:type="CD" code="{value}" codeSystem="{SNOMED}"/></observation></entryRelationship></act>'
    )
    return only(read(in_section(entry, "11450-4")), "Condition")


def status(body: dict[str, Any], element: str = "clinicalStatus") -> str:
    return str(body[element]["coding"][0]["code"])


def test_problem_is_active_until_it_has_an_end() -> None:
    body = problem("233604007", inside='<effectiveTime><low value="20120101"/></effectiveTime>')
    assert (status(body), body["onsetDateTime"]) == ("active", "2012-01-01")
    assert body["category"][0]["coding"][0]["code"] == "problem-list-item"


@pytest.mark.parametrize("end", ['<high value="20130101"/>', '<high nullFlavor="UNK"/>'])
def test_problem_with_an_end_is_resolved_also_at_an_unknown_time(end: str) -> None:
    body = problem("233604007", inside=f'<effectiveTime><low value="20120101"/>{end}</effectiveTime>')
    assert status(body) == "resolved"


def test_problem_of_a_concern_that_nobody_tracks_is_inactive() -> None:
    assert status(problem("233604007", concern="completed")) == "inactive"


def test_problem_status_of_its_own_goes_before_everything() -> None:
    inside = (
        f'<entryRelationship typeCode="REFR"><observation classCode="OBS" moodCode="EVN">{TEMPLATE.format(6)}'
        f'<value xsi:type="CD" code="73425007" codeSystem="{SNOMED}"/></observation></entryRelationship>'
    )
    assert status(problem("233604007", inside=inside)) == "inactive"


def test_negated_problem_is_refuted_and_has_no_clinical_status() -> None:
    body = problem("73211009", 'negationInd="true"')
    assert status(body, "verificationStatus") == "refuted"
    assert "clinicalStatus" not in body


def test_negated_problem_of_any_kind_is_no_known_problem() -> None:
    body = problem("55607006", 'negationInd="true"')
    assert status(body, "code") == "160245001"
    assert "verificationStatus" not in body


def allergy(value: str, participant: str, attributes: str = "") -> dict[str, Any]:
    entry = (
        f'<observation classCode="OBS" moodCode="EVN" {attributes}>{TEMPLATE.format(7)}<id root="1.2.8" extension="1"/>'
        f'<code code="ASSERTION"/><value xsi:type="CD" code="{value}" codeSystem="{SNOMED}"/>'
        f'<participant typeCode="CSM"><participantRole><playingEntity>{participant}</playingEntity></participantRole>'
        "</participant></observation>"
    )
    return only(read(in_section(entry, "48765-2")), "AllergyIntolerance")


PENICILLIN = '<code code="7982" codeSystem="2.16.840.1.113883.6.88" displayName="Penicillin"/>'


def test_allergy_is_to_its_substance() -> None:
    body = allergy("416098002", PENICILLIN)
    assert (status(body, "code"), body["type"], body["category"], status(body)) == (
        "7982",
        "allergy",
        ["medication"],
        "active",
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [("419199007", "716186003"), ("416098002", "409137002"), ("414285001", "429625007"), ("426232007", "428607008")],
)
@pytest.mark.parametrize("substance", ['<code nullFlavor="NA"/>', f'<code code="105590001" codeSystem="{SNOMED}"/>'])
def test_negated_allergy_to_anything_is_no_known_allergy_of_its_kind(kind: str, code: str, substance: str) -> None:
    body = allergy(kind, substance, 'negationInd="true"')
    assert (status(body, "code"), status(body)) == (code, "active")


def test_negated_allergy_to_one_thing_is_refuted() -> None:
    body = allergy("414285001", f'<code code="762952008" codeSystem="{SNOMED}"/>', 'negationInd="true"')
    assert (status(body, "code"), status(body, "verificationStatus")) == ("762952008", "refuted")


def test_allergy_in_words_keeps_its_words() -> None:
    assert allergy("416098002", "<name>Trial drug 7</name>")["code"] == {"text": "Trial drug 7"}


@pytest.mark.parametrize(
    ("entry", "type_", "element", "expected"),
    [
        (
            '<procedure moodCode="EVN" negationInd="true"><code code="1"/></procedure>',
            "Procedure",
            "status",
            "not-done",
        ),
        ('<procedure moodCode="INT"><code code="1"/></procedure>', "ServiceRequest", "intent", "plan"),
        ('<encounter moodCode="RQO"><code code="1"/></encounter>', "ServiceRequest", "intent", "order"),
        ('<observation moodCode="GOL"><code code="1"/></observation>', "Goal", "lifecycleStatus", "active"),
        ('<observation moodCode="EVN"><code code="1"/></observation>', "Observation", "status", "unknown"),
        (
            '<substanceAdministration moodCode="EVN" negationInd="true"><consumable/></substanceAdministration>',
            "MedicationStatement",
            "status",
            "not-taken",
        ),
    ],
)
def test_mood_and_negation_say_what_a_statement_becomes(entry: str, type_: str, element: str, expected: str) -> None:
    assert only(read(in_section(entry)), type_)[element] == expected


def test_refused_vaccination_was_not_done_and_says_why() -> None:
    code = '<code code="88" codeSystem="2.16.840.1.113883.12.292"/>'
    material = f"<manufacturedProduct><manufacturedMaterial>{code}</manufacturedMaterial></manufacturedProduct>"
    entry = (
        f'<substanceAdministration moodCode="EVN" negationInd="true">{TEMPLATE.format(52)}'
        f'<statusCode code="completed"/><effectiveTime value="20120101"/><consumable>{material}</consumable>'
        f'<entryRelationship typeCode="RSON"><observation moodCode="EVN">{TEMPLATE.format(53)}<code code="PATOBJ" '
        'codeSystem="2.16.840.1.113883.5.8"/></observation></entryRelationship></substanceAdministration>'
    )
    body = only(read(in_section(entry, "11369-6")), "Immunization")
    assert (body["status"], status(body, "statusReason")) == ("not-done", "PATOBJ")
    assert body["occurrenceDateTime"] == "2012-01-01"


def test_plan_of_treatment_holds_its_requests_and_goals_together() -> None:
    section = (
        '<component><section><code code="18776-5" codeSystem="2.16.840.1.113883.6.1"/><title>Plan</title>'
        '<entry><observation moodCode="GOL"><code code="1"/></observation></entry>'
        '<entry><procedure moodCode="RQO"><code code="2"/></procedure></entry></section></component>'
    )
    body = f"{PATIENT}<component><structuredBody>{section}</structuredBody></component>"
    found = read(SHELL.format(body).encode())
    plan = only(found, "CarePlan")
    assert plan["goal"] == [{"reference": f"Goal/{only(found, 'Goal')['id']}"}]
    assert plan["activity"] == [{"reference": {"reference": f"ServiceRequest/{only(found, 'ServiceRequest')['id']}"}}]


@pytest.mark.parametrize(
    ("words", "code"),
    [("否认药物过敏史", "409137002"), ("无", "716186003"), ("否认食物过敏史。", "429625007"), ("青霉素过敏", None)],
)
def test_chinese_words_that_deny_an_allergy_are_its_denial(words: str, code: str | None) -> None:
    entry = (
        '<observation classCode="OBS" moodCode="EVN"><code code="DE02.10.022.00" codeSystem="2.16.156.10011.2.2.1"/>'
        f'<value xsi:type="ST">{words}</value></observation>'
    )
    body = only(read(in_section(entry)), "AllergyIntolerance")
    assert body["code"]["text"] == words
    assert (status(body, "code") if code else body["code"].get("coding")) == code


def test_unstructured_body_is_a_document_with_its_bytes() -> None:
    whole = f'{PATIENT}<component><nonXMLBody><text mediaType="application/pdf" representation="B64">JVBE\nRi0=</text>'
    found = read(SHELL.format(f"{whole}</nonXMLBody></component>").encode())
    attachment = only(found, "DocumentReference")["content"][0]["attachment"]
    assert (attachment["contentType"], attachment["data"]) == ("application/pdf", "JVBERi0=")
    reference = only(found, "Composition")["section"][0]["entry"]
    assert reference == [{"reference": f"DocumentReference/{only(found, 'DocumentReference')['id']}"}]


def test_bytes_that_are_no_base64_are_left_out_with_a_note() -> None:
    whole = f'{PATIENT}<component><nonXMLBody><text mediaType="application/pdf" representation="B64">@@@</text>'
    found = read(SHELL.format(f"{whole}</nonXMLBody></component>").encode())
    assert bodies(found, "DocumentReference") == []
    assert {"bad_value", "required"} <= {note.code for note in found.notes}


def test_every_resource_says_where_in_the_document_it_stood() -> None:
    found = read(in_section('<observation moodCode="EVN"><code code="1"/></observation>'))
    (one,) = (resource for resource in found.resources if resource.type == "Observation")
    assert one.segment == "ClinicalDocument/component[1]/entry[1]"
    targets = only(found, "Provenance")["target"]
    places = [each["extension"][0]["valueString"] for each in targets if each["reference"].startswith("Observation/")]
    assert places == ["ClinicalDocument/component[1]/entry[1]"]
    assert only(found, "Provenance")["agent"][1]["who"]["display"].startswith("xinglin cda-")
