"""The documents that a simulated electronic record writes: WS/T 500-2016 and C-CDA R2.1, as text.

Each takes the hospital's name, the patient, a key that no other document has, the time and the chance of the day.
"""

from __future__ import annotations

import random
from datetime import datetime
from html import escape
from typing import Final

from simulators.people import Patient, staff

_ORGANISATION: Final = "400000017"
_XMLNS: Final = 'xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_DIAGNOSES: Final = (("I10.x00", "原发性高血压"), ("E11.900", "2型糖尿病"), ("J18.900", "肺炎"), ("K29.700", "胃炎"))
_COMPLAINTS: Final = ("反复头晕、头痛3年，加重2天", "多饮、多尿半年", "发热、咳嗽3天", "上腹痛1周")
_ALLERGIES: Final = ("青霉素过敏", "否认药物过敏史", "头孢类抗生素过敏", "无")
#: Name, least and most that is made up, unit, reference range.
_ANALYTES: Final = (
    ("白细胞计数", 2.5, 15.0, "10^9/L", "3.5", "9.5"),
    ("血红蛋白", 85.0, 175.0, "g/L", "115", "150"),
    ("血清肌酐", 35.0, 260.0, "μmol/L", "41", "111"),
)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S")


def outpatient(hospital: str, who: Patient, key: str, at: datetime, chance: random.Random) -> str:
    """Return a visit's record, C0002 (WS/T 500.2)."""
    return _wst("22", "C0002", "门（急）诊病历", hospital, who, key, at, _history(chance, at))


def admission(hospital: str, who: Patient, key: str, at: datetime, chance: random.Random) -> str:
    """Return an admission's record, C0034 (WS/T 500.34)."""
    return _wst("54", "C0034", "入院记录", hospital, who, key, at, _history(chance, at))


def report(hospital: str, who: Patient, key: str, at: datetime, chance: random.Random) -> str:
    """Return a laboratory report, C0007 (WS/T 500.7)."""
    items = ""
    for name, least, most, unit, low, high in _ANALYTES:
        measured = _pq(round(chance.uniform(least, most), 1), unit) + _range(low, high, unit)
        result = _element("DE04.30.015.00", "检验定量结果", measured)
        inside = f'<entryRelationship typeCode="COMP">{result}</entryRelationship>'
        items += f"<entry>{_element('DE04.30.019.00', '检验项目代码', _st(name), inside, at)}</entry>"
    return _wst("27", "C0007", "检验报告", hospital, who, key, at, _section("30954-2", items))


def _wst(
    template: str, code: str, title: str, hospital: str, who: Patient, key: str, at: datetime, sections: str
) -> str:
    """Return a document as WS/T 500-2016 lays it out."""
    doctor, doctors_name = staff(0, int(key) % 40)
    author = (
        f'<author><time value="{_stamp(at)}"/><assignedAuthor><id root="2.16.156.10011.1.7" extension="{doctor}"/>'
        f"<assignedPerson><name>{escape(doctors_name)}</name></assignedPerson></assignedAuthor></author>"
    )
    return (
        f'<ClinicalDocument {_XMLNS}><realmCode code="CN"/><typeId root="2.16.840.1.113883.1.3" '
        f'extension="POCD_MT000040"/><templateId root="2.16.156.10011.2.1.1.{template}"/>'
        f'<id root="2.16.156.10011.1.1" extension="RN{key}"/><code code="{code}" codeSystem="2.16.156.10011.2.4" '
        f'codeSystemName="卫生信息共享文档规范编码体系"/><title>{title}</title><effectiveTime value="{_stamp(at)}"/>'
        '<confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/><languageCode code="zh-CN"/>'
        f"{_person(who)}{author}{_custodian(hospital)}<component><structuredBody>{sections}</structuredBody></component>"
        "</ClinicalDocument>\n"
    )


def _person(who: Patient) -> str:
    _, province, city, district, _ = who.area
    sex, said = ("1", "男性") if who.sex == "M" else ("2", "女性")
    return (
        f'<recordTarget><patientRole classCode="PAT"><id root="2.16.156.10011.1.12" extension="ZY{who.number:08d}"/>'
        f'<addr use="H"><streetName>{escape(who.street)}</streetName><county>{district}</county><city>{city}</city>'
        f'<state>{province}</state></addr><telecom value="{who.phone}"/><patient>'
        f'<id root="2.16.156.10011.1.3" extension="{who.identity}"/><name>{escape(who.name)}</name>'
        f'<administrativeGenderCode code="{sex}" codeSystem="2.16.156.10011.2.3.3.4" displayName="{said}"/>'
        f'<birthTime value="{who.born:%Y%m%d}"/><ethnicGroupCode code="{who.nation[0]}" displayName="{who.nation[1]}" '
        'codeSystem="2.16.156.10011.2.3.3.3"/></patient></patientRole></recordTarget>'
    )


def _custodian(hospital: str) -> str:
    return (
        "<custodian><assignedCustodian><representedCustodianOrganization>"
        f'<id root="2.16.156.10011.1.5" extension="{_ORGANISATION}"/><name>{escape(hospital)}</name>'
        "</representedCustodianOrganization></assignedCustodian></custodian>"
    )


def _history(chance: random.Random, at: datetime) -> str:
    """Return complaint, allergy, blood pressure and diagnosis."""
    code, name = chance.choice(_DIAGNOSES)
    systolic = chance.randrange(95, 190)
    pressures = "".join(
        f"<entry>{_element(f'DE04.10.{element}.00', said, _pq(value, 'mmHg'))}</entry>"
        for element, said, value in (("174", "收缩压（mmHg）", systolic), ("176", "舒张压（mmHg）", systolic * 5 // 8))
    )
    diagnosis = f'<value xsi:type="CD" code="{code}" codeSystem="2.16.156.10011.2.3.3.11.3" displayName="{name}"/>'
    complaint = _element("DE04.01.119.00", "主诉", _st(chance.choice(_COMPLAINTS)))
    allergy = _element("DE02.10.022.00", "过敏史", _st(chance.choice(_ALLERGIES)))
    words = _section("10154-3", f"<entry>{complaint}</entry>") + _section("48765-2", f"<entry>{allergy}</entry>")
    coded = f"<entry>{_element('DE05.01.024.00', '诊断代码', diagnosis, '', at)}</entry>"
    return words + _section("8716-3", pressures) + _section("29548-5", coded)


def _section(loinc: str, entries: str) -> str:
    return (
        f'<component><section><code code="{loinc}" codeSystem="2.16.840.1.113883.6.1"/><text/>{entries}</section>'
        "</component>"
    )


def _element(code: str, name: str, value: str, inside: str = "", at: datetime | None = None) -> str:
    """Return a data element of WS 363."""
    time = f'<effectiveTime value="{_stamp(at)}"/>' if at is not None else ""
    return (
        f'<observation classCode="OBS" moodCode="EVN"><code code="{code}" displayName="{name}" '
        f'codeSystem="2.16.156.10011.2.2.1"/>{time}{value}{inside}</observation>'
    )


def _st(words: str) -> str:
    return f'<value xsi:type="ST">{escape(words)}</value>'


def _pq(value: float, unit: str) -> str:
    return f'<value xsi:type="PQ" value="{value:g}" unit="{unit}"/>'


def _range(low: str, high: str, unit: str) -> str:
    ends = f'<low value="{low}" unit="{unit}"/><high value="{high}" unit="{unit}"/>'
    return (
        f'<referenceRange><observationRange><value xsi:type="IVL_PQ">{ends}</value></observationRange></referenceRange>'
    )


def summary(hospital: str, who: Patient, key: str, at: datetime, chance: random.Random) -> str:
    """Return a C-CDA summary: a problem, a medication and no known allergies, each beside its narrative."""
    code, name = chance.choice(_DIAGNOSES)
    own, time = f"1.2.156.112699.9.{key.lstrip('0') or '0'}", f"{_stamp(at)}+0800"
    problem = (
        f'<observation classCode="OBS" moodCode="EVN"><templateId root="2.16.840.1.113883.10.20.22.4.4"/>'
        f'<id root="{own}.1"/><code code="55607006" codeSystem="2.16.840.1.113883.6.96"/><statusCode code="completed"/>'
        f'<effectiveTime><low value="{at:%Y%m%d}"/></effectiveTime><value xsi:type="CD" code="{code}" '
        'codeSystem="2.16.156.10011.2.3.3.11.3"><originalText><reference value="#p1"/></originalText></value>'
        "</observation>"
    )
    drug = (
        '<substanceAdministration classCode="SBADM" moodCode="EVN">'
        f'<templateId root="2.16.840.1.113883.10.20.22.4.16"/><id root="{own}.2"/>'
        f'<statusCode code="active"/><effectiveTime xsi:type="IVL_TS"><low value="{at:%Y%m%d}"/>'
        '</effectiveTime><effectiveTime xsi:type="PIVL_TS" operator="A"><period value="12" unit="h"/></effectiveTime>'
        '<doseQuantity value="5" unit="mg"/><consumable><manufacturedProduct><manufacturedMaterial><code code="17767" '
        'codeSystem="2.16.840.1.113883.6.88" displayName="Amlodipine"/></manufacturedMaterial></manufacturedProduct>'
        "</consumable></substanceAdministration>"
    )
    allergy = (
        '<observation classCode="OBS" moodCode="EVN" negationInd="true">'
        f'<templateId root="2.16.840.1.113883.10.20.22.4.7"/><id root="{own}.3"/><code code="ASSERTION" '
        'codeSystem="2.16.840.1.113883.5.4"/><value xsi:type="CD" code="419199007" '
        'codeSystem="2.16.840.1.113883.6.96"/></observation>'
    )
    body = (
        _told("11450-4", "Problems", f'<paragraph ID="p1">{name}</paragraph>', problem)
        + _told("10160-0", "Medications", "<list><item>Amlodipine 5 mg</item></list>", drug)
        + _told("48765-2", "Allergies", "<paragraph>None known</paragraph>", allergy)
    )
    return (
        f'<ClinicalDocument {_XMLNS}><templateId root="2.16.840.1.113883.10.20.22.1.2"/><id root="{own}"/>'
        '<code code="34133-9" codeSystem="2.16.840.1.113883.6.1" displayName="Summarization of Episode Note"/>'
        f'<title>Summary</title><effectiveTime value="{time}"/><languageCode code="zh-CN"/>{_person(who)}'
        f'<author><time value="{time}"/><assignedAuthor><id nullFlavor="NI"/><assignedAuthoringDevice>'
        "<softwareName>EMR 4.1</softwareName></assignedAuthoringDevice></assignedAuthor></author>"
        f"{_custodian(hospital)}<component><structuredBody>{body}</structuredBody></component></ClinicalDocument>\n"
    )


def _told(loinc: str, title: str, narrative: str, entry: str) -> str:
    return (
        f'<component><section><code code="{loinc}" codeSystem="2.16.840.1.113883.6.1"/><title>{title}</title>'
        f"<text>{narrative}</text><entry>{entry}</entry></section></component>"
    )
