"""Data types: nulls, times, quantities, concepts, timings, names; nothing guessed, nothing lost without a word."""

from __future__ import annotations

from typing import Any

import pytest
from cda_shell import PATIENT, SHELL, bodies, in_section, only, read

SNOMED = "2.16.840.1.113883.6.96"


def observation(inside: str, attributes: str = "") -> bytes:
    return in_section(
        f'<observation classCode="OBS" moodCode="EVN" {attributes}><id root="1.2.9" extension="O1"/>'
        f'<code code="8480-6" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>{inside}</observation>',
        "30954-2",
    )


def observed(inside: str, attributes: str = "") -> dict[str, Any]:
    return only(read(observation(inside, attributes)), "Observation")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('<value xsi:type="PQ" value="4.70" unit="mmol/L"/>', ("valueQuantity", 4.7)),
        ('<value xsi:type="PQ" value="12"/>', ("valueQuantity", {"value": 12})),
        ('<value xsi:type="INT" value="7"/>', ("valueInteger", 7)),
        ('<value xsi:type="BL" value="true"/>', ("valueBoolean", True)),
        ('<value xsi:type="ST"> a  b </value>', ("valueString", "a b")),
        ('<value xsi:type="ED">words</value>', ("valueString", "words")),
        ('<value xsi:type="TS" value="20130102"/>', ("valueDateTime", "2013-01-02")),
        (
            '<value xsi:type="IVL_TS"><low value="2012"/><high value="2013"/></value>',
            ("valuePeriod", {"start": "2012", "end": "2013"}),
        ),
        ('<value value="5"/>', ("valueQuantity", {"value": 5})),
        ("<value>ten</value>", ("valueString", "ten")),
        ('<value xsi:type="PQ" value="ten" unit="mg"/>', ("valueString", "ten mg")),
        ('<value xsi:type="x:PQ" value="1" unit="1"/>', ("valueQuantity", {"value": 1})),
    ],
)
def test_value_of_each_data_type(value: str, expected: tuple[str, Any]) -> None:
    body = observed(value)
    got = body[expected[0]]
    assert got["value"] == expected[1] if isinstance(expected[1], float) else got == expected[1]


def test_zeros_that_were_sent_are_kept() -> None:
    quantity = observed('<value xsi:type="PQ" value="4.70" unit="mmol/L"/>')["valueQuantity"]
    assert quantity["_value"]["extension"][0]["valueInteger"] == 2


@pytest.mark.parametrize(
    ("written", "ucum"),
    [("mmHg", "mm[Hg]"), ("μmol/L", "umol/L"), ("10^9/L", "10*9/L"), ("℃", "Cel"), ("次/分", "/min"), ("mg", "mg")],
)
def test_units_are_kept_as_written_and_coded_in_ucum(written: str, ucum: str) -> None:
    quantity = observed(f'<value xsi:type="PQ" value="1" unit="{written}"/>')["valueQuantity"]
    assert (quantity["unit"], quantity["code"], quantity["system"]) == (written, ucum, "http://unitsofmeasure.org")


def test_unit_that_is_no_ucum_is_kept_as_words() -> None:
    assert observed('<value xsi:type="PQ" value="1" unit="一包"/>')["valueQuantity"] == {"value": 1, "unit": "一包"}


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ('<low value="1" unit="mg"/>', (1, ">=")),
        ('<low value="1" unit="mg" inclusive="false"/>', (1, ">")),
        ('<low nullFlavor="NINF"/><high value="9" unit="mg" inclusive="false"/>', (9, "<")),
        ('<high value="9" unit="mg"/>', (9, "<=")),
    ],
)
def test_open_interval_is_a_quantity_with_its_comparator(interval: str, expected: tuple[int, str]) -> None:
    quantity = observed(f'<value xsi:type="IVL_PQ">{interval}</value>')["valueQuantity"]
    assert (quantity["value"], quantity["comparator"]) == expected


def test_closed_interval_is_a_range() -> None:
    found = observed('<value xsi:type="IVL_PQ"><low value="1"/><high value="9"/></value>')["valueRange"]
    assert (found["low"]["value"], found["high"]["value"]) == (1, 9)


@pytest.mark.parametrize(
    ("flavor", "reason"), [("UNK", "unknown"), ("ASKU", "asked-unknown"), ("NA", "not-applicable"), ("MSK", "masked")]
)
def test_null_value_says_why_it_is_absent(flavor: str, reason: str) -> None:
    body = observed(f'<value xsi:type="CD" nullFlavor="{flavor}"/>')
    assert body["dataAbsentReason"]["coding"][0]["code"] == reason
    assert not any(name.startswith("value") for name in body)


def test_null_code_with_translation_and_original_text_keeps_both() -> None:
    value = (
        '<value xsi:type="CD" nullFlavor="OTH"><originalText>Rare thing</originalText>'
        f'<translation code="123" codeSystem="{SNOMED}" displayName="Thing"/></value>'
    )
    assert observed(value)["valueCodeableConcept"] == {
        "coding": [{"system": "http://snomed.info/sct", "code": "123", "display": "Thing"}],
        "text": "Rare thing",
    }


def test_original_text_is_found_in_the_narrative_it_points_at() -> None:
    content = in_section(
        f'<observation classCode="OBS" moodCode="EVN"><code code="1" codeSystem="{SNOMED}"/>'
        '<value xsi:type="CD" code="2"><originalText><reference value="#o1"/></originalText></value></observation>',
        text='<table><tbody><tr><td ID="o1">High <content>blood</content> pressure</td></tr></tbody></table>',
    )
    assert only(read(content), "Observation")["valueCodeableConcept"]["text"] == "High blood pressure"


@pytest.mark.parametrize(
    ("sent", "zone", "expected"),
    [
        ("20130102030405+0800", "America/New_York", "2013-01-02T03:04:05+08:00"),
        ("20130102030405-0500", "Asia/Shanghai", "2013-01-02T03:04:05-05:00"),
        ("20130102030405", "Asia/Shanghai", "2013-01-02T03:04:05+08:00"),
        ("20130702030405", "America/New_York", "2013-07-02T03:04:05-04:00"),
        ("20130102030405.123+0000", "Asia/Shanghai", "2013-01-02T03:04:05.123+00:00"),
        ("201301", "Asia/Shanghai", "2013-01"),
        ("2013", "Asia/Shanghai", "2013"),
    ],
)
def test_time_keeps_its_offset_or_has_the_sources_zone(sent: str, zone: str, expected: str) -> None:
    body = only(read(observation(f'<effectiveTime value="{sent}"/>'), zone), "Observation")
    assert body["effectiveDateTime"] == expected


@pytest.mark.parametrize("sent", ["20130230", "2013-13", "yesterday", "20130102256060", "99999"])
def test_time_that_is_none_is_left_out_with_a_note(sent: str) -> None:
    found = read(observation(f'<effectiveTime value="{sent}"/>'))
    assert "effectiveDateTime" not in only(found, "Observation")
    assert ("bad_value", "ClinicalDocument/component[1]/entry[1]/effectiveTime") in [
        (one.code, one.where) for one in found.notes
    ]
    assert sent not in str(found.notes)


def medication(inside: str, mood: str = "EVN") -> bytes:
    return in_section(
        f'<substanceAdministration classCode="SBADM" moodCode="{mood}"><id root="1.2.9" extension="M1"/>'
        f'<statusCode code="active"/>{inside}<consumable><manufacturedProduct><manufacturedMaterial>'
        '<code code="573621" codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial></manufacturedProduct>'
        "</consumable></substanceAdministration>",
        "10160-0",
    )


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (
            '<effectiveTime xsi:type="PIVL_TS"><period value="6" unit="h"/></effectiveTime>',
            {"frequency": 1, "period": 6, "periodUnit": "h"},
        ),
        (
            '<effectiveTime xsi:type="PIVL_TS"><period xsi:type="IVL_PQ"><low value="4" unit="h"/><high value="6" '
            'unit="h"/></period></effectiveTime>',
            {"frequency": 1, "period": 4, "periodUnit": "h", "periodMax": 6},
        ),
        ('<effectiveTime xsi:type="EIVL_TS"><event code="HS"/></effectiveTime>', {"when": ["HS"]}),
        (
            '<effectiveTime xsi:type="EIVL_TS"><event code="ACM"/><offset><low value="1" unit="h"/></offset>'
            "</effectiveTime>",
            {"when": ["ACM"], "offset": 60},
        ),
    ],
)
def test_how_often_a_medication_is_taken(time: str, expected: dict[str, Any]) -> None:
    span = '<effectiveTime xsi:type="IVL_TS"><low value="20120220"/><high nullFlavor="UNK"/></effectiveTime>'
    body = only(read(medication(span + time)), "MedicationStatement")
    assert body["effectivePeriod"] == {"start": "2012-02-20"}
    assert body["dosage"][0]["timing"]["repeat"] == expected


def test_requested_medication_says_how_often_and_from_when() -> None:
    times = (
        '<effectiveTime xsi:type="IVL_TS"><low value="20120220"/></effectiveTime>'
        '<effectiveTime xsi:type="PIVL_TS"><period value="12" unit="h"/></effectiveTime>'
    )
    body = only(read(medication(times, "INT")), "MedicationRequest")
    assert body["intent"] == "plan"
    assert body["dosageInstruction"][0]["timing"]["repeat"] == {
        "frequency": 1,
        "period": 12,
        "periodUnit": "h",
        "boundsPeriod": {"start": "2012-02-20"},
    }


def test_dose_without_unit_is_counted_in_what_is_administered() -> None:
    inside = '<doseQuantity value="2"/><administrationUnitCode code="C42944" displayName="Puff"/>'
    dose = only(read(medication(inside)), "MedicationStatement")["dosage"][0]["doseAndRate"][0]
    assert dose["doseQuantity"] == {"value": 2, "unit": "Puff"}


def patient(inside: str) -> dict[str, Any]:
    role = f'<recordTarget><patientRole><id root="1.2.3.4.5" extension="P1"/>{inside}</patientRole></recordTarget>'
    return only(read(SHELL.format(role).encode()), "Patient")


def test_telephones_and_mail_are_told_apart_by_their_scheme() -> None:
    sent = ("tel:+1(555)555-1004", "mailto://a@b.org", "fax: 12", "http://x.org/y", "13800138001", "c@d.cn", "wechat:z")
    body = patient("".join(f'<telecom value="{one}" use="HP"/>' for one in sent))
    assert [(one["system"], one["value"]) for one in body["telecom"]] == [
        ("phone", "+1(555)555-1004"),
        ("email", "a@b.org"),
        ("fax", "12"),
        ("url", "http://x.org/y"),
        ("phone", "13800138001"),
        ("email", "c@d.cn"),
        ("other", "wechat:z"),
    ]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("<name>欧阳雨桐</name>", {"text": "欧阳雨桐", "family": "欧阳", "given": ["雨桐"]}),
        ("<name>阿依古丽·买买提</name>", {"text": "阿依古丽·买买提"}),
        (
            '<name use="L"><prefix>Dr</prefix><given>A</given><given>B</given><family>C</family></name>',
            {"use": "official", "family": "C", "given": ["A", "B"], "prefix": ["Dr"]},
        ),
    ],
)
def test_names_whole_and_in_parts(sent: str, expected: dict[str, Any]) -> None:
    assert patient(f"<patient>{sent}</patient>")["name"] == [expected]


def test_null_names_and_addresses_are_left_out() -> None:
    body = patient('<addr nullFlavor="UNK"/><telecom nullFlavor="UNK"/><patient><name nullFlavor="UNK"/></patient>')
    assert body.keys() == {"resourceType", "id", "identifier"}


def test_chinese_address_has_its_text_in_the_order_it_is_written() -> None:
    inside = (
        '<addr use="H"><houseNumber>18号</houseNumber><streetName>建国路</streetName><township>八里庄街道</township>'
        "<county>朝阳区</county><city>北京市</city><state>北京市</state></addr>"
    )
    (address,) = patient(inside)["address"]
    assert address["text"] == "北京市朝阳区八里庄街道建国路18号"
    assert (address["district"], address["line"]) == ("朝阳区", ["八里庄街道建国路18号"])


def test_same_number_of_two_hospitals_is_two_patients() -> None:
    from normalise.cda import convert
    from schemas.records import SourceContext

    role = '<recordTarget><patientRole><id root="2.16.156.10011.1.12" extension="ZY1"/></patientRole></recordTarget>'
    content = SHELL.format(role).encode()
    east, west = (
        only(convert(content, SourceContext("s", one, "Asia/Shanghai")), "Patient") for one in ("east", "west")
    )
    assert east["id"] != west["id"]
    assert east["identifier"][0]["system"] != west["identifier"][0]["system"]


def test_one_root_for_the_entries_of_all_patients_keeps_them_apart() -> None:
    entry = observation('<value xsi:type="INT" value="1"/>')
    one, other = read(entry), read(entry.replace(b'extension="P1"', b'extension="P2"'))
    assert only(one, "Observation")["id"] != only(other, "Observation")["id"]


def test_two_different_entries_under_one_id_are_both_kept() -> None:
    entry = (
        '<entry><observation classCode="OBS" moodCode="EVN"><id root="1.2.9"/><code code="{}"/></observation></entry>'
    )
    section = f"<section><title>T</title>{entry.format(1)}{entry.format(2)}{entry.format(3)}{entry.format(1)}</section>"
    found = read(SHELL.format(f"{PATIENT}<component><structuredBody><component>{section}</component></structuredBody>"
                              "</component>").encode())  # fmt: skip
    assert sorted(one["code"]["coding"][0]["code"] for one in bodies(found, "Observation")) == ["1", "2", "3"]
    assert len(only(found, "Composition")["section"][0]["entry"]) == 3
    assert "structure" in [note.code for note in found.notes]
