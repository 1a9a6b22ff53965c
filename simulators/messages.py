r"""HL7 v2 messages as Chinese hospitals and laboratories send them, about invented patients."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from simulators.people import Patient, staff

#: Codes that a charset is declared with in MSH-18 (HL7 table 0211).
DECLARED: Final = {"utf-8": "UNICODE UTF-8", "gb18030": "GB 18030-2000"}

_DEPARTMENTS: Final = (
    ("0301", "心血管内科", "12病区", "CAR"),
    ("0302", "呼吸与危重症医学科", "09病区", "PUL"),
    ("0401", "普通外科", "07病区", "SUR"),
    ("0501", "妇产科", "05病区", ""),
    ("0601", "儿科", "03病区", ""),
    ("0701", "急诊医学科", "急诊留观", "MED"),
)
_DIAGNOSES: Final = (
    ("I10.x02", "高血压病2级（中危）"),
    ("E11.900", "2型糖尿病"),
    ("J18.900", "肺炎"),
    ("K35.900", "急性阑尾炎"),
    ("I25.103", "冠状动脉粥样硬化性心脏病"),
    ("J44.100", "慢性阻塞性肺病伴有急性加重"),
)
_ALLERGIES: Final = (("A01", "青霉素"), ("A02", "头孢类抗生素"), ("A03", "花生"))

#: Code, name, local code, least and most that is made up, decimals, unit, reference range; LOINC and UCUM.
Analyte = tuple[str, str, str, float, float, int, str, str]
_BLOOD_COUNT: Final[tuple[Analyte, ...]] = (
    ("6690-2", "白细胞计数", "WBC", 2.5, 15.0, 2, "10*9/L", "3.5-9.5"),
    ("789-8", "红细胞计数", "RBC", 3.2, 6.1, 2, "10*12/L", "4.3-5.8"),
    ("718-7", "血红蛋白", "HGB", 85, 175, 0, "g/L", "130-175"),
    ("4544-3", "红细胞压积", "HCT", 28, 52, 1, "%", "40-50"),
    ("777-3", "血小板计数", "PLT", 80, 420, 0, "10*9/L", "125-350"),
    ("770-8", "中性粒细胞百分比", "NEUT%", 35, 88, 1, "%", "40-75"),
    ("736-9", "淋巴细胞百分比", "LYM%", 8, 55, 1, "%", "20-50"),
    ("1988-5", "C反应蛋白", "CRP", 0.5, 80, 2, "mg/L", "0-10"),
)
_CHEMISTRY: Final[tuple[Analyte, ...]] = (
    ("2345-7", "葡萄糖", "GLU", 3.2, 18, 2, "mmol/L", "3.9-6.1"),
    ("2160-0", "肌酐", "CREA", 35, 260, 0, "umol/L", "57-97"),
    ("2951-2", "钠", "NA", 128, 150, 1, "mmol/L", "137-147"),
    ("2823-3", "钾", "K", 2.9, 6.1, 2, "mmol/L", "3.5-5.3"),
    ("1742-6", "丙氨酸氨基转移酶", "ALT", 6, 180, 0, "U/L", "9-50"),
    ("4548-4", "糖化血红蛋白", "HbA1c", 4.5, 11, 1, "%", "4-6"),
)
_PANELS: Final = (("58410-2", "全血细胞计数（血常规）", _BLOOD_COUNT), ("24323-8", "综合代谢生化全套", _CHEMISTRY))


@dataclass(frozen=True, slots=True)
class Sender:
    """A system that sends messages.

    Attributes:
        application: MSH-3.
        facility: MSH-4, the institution's name.
        oid: Object identifier of the institution, the authority of its record numbers.
        codec: Python codec of what it sends.
        declares: MSH-18, or ``""`` where it declares none.
        version: MSH-12.
    """

    application: str
    facility: str
    oid: str
    codec: str = "utf-8"
    declares: str = ""
    version: str = "2.5.1"


@dataclass(frozen=True, slots=True)
class Visit:
    """One stay or consultation.

    Attributes:
        number: PV1-19.
        patient: Who comes.
        inpatient: Whether a bed is taken.
        seed: What department, doctor, diagnosis and results are made up from.
        begins: When it begins, with an offset.
    """

    number: str
    patient: Patient
    inpatient: bool
    seed: int
    begins: datetime

    @property
    def chance(self) -> random.Random:
        """Always the same sequence for the same visit."""
        return random.Random(f"visit {self.seed} {self.number}")


def record_number(who: Patient) -> str:
    """Return a patient's record number, ten digits."""
    return f"{40_000_000 + who.number:010d}"


def stamp(at: datetime) -> str:
    """Return a time as HL7 has it, with its offset."""
    return at.strftime("%Y%m%d%H%M%S%z")


def adt(event: str, visit: Visit, sender: Sender, control_id: str, at: datetime, temporary: str = "") -> bytes:
    """Return an ADT message.

    Args:
        event: ``A01``, ``A03``, ``A04``, ``A08`` or ``A40``.
        visit: What it tells of.
        sender: Who tells it.
        control_id: MSH-10.
        at: When it is sent.
        temporary: The record number of somebody registered without papers; A40 gives it up, the others use it.
    """
    segments = [
        _msh(sender, f"ADT^{event}", control_id, at),
        f"EVN|{event}|{stamp(at)}|||{_doctor(visit, 0)}",
        _pid(visit.patient, sender, "" if event == "A40" else temporary),
    ]
    if event == "A40":
        segments.append(f"MRG|{temporary}^^^{sender.facility}&{sender.oid}&ISO^MR||||||{visit.patient.name}")
        return _encoded(segments, sender)
    chance = visit.chance
    diagnosis = chance.choice(_DIAGNOSES)
    segments += [
        f"NK1|1|{staff(visit.seed, visit.patient.number + 7000)[1]}|SPO^配偶^HL70063||^PRN^CP^^86^^19900000000",
        _pv1(visit, at if event == "A03" else None),
        f"DG1|1||{diagnosis[0]}^{diagnosis[1]}^GB/T 14396-2016||{stamp(visit.begins)}|A",
    ]
    if chance.random() < 0.3:
        allergy = chance.choice(_ALLERGIES)
        segments.insert(-1, f"AL1|1|DA|{allergy[0]}^{allergy[1]}^L|MO|皮疹")
    if visit.inpatient:
        segments.append(f"IN1|1|01^城镇职工基本医疗保险|{sender.oid}^^^{sender.facility}|医疗保障局")
    return _encoded(segments, sender)


def oru(visit: Visit, sender: Sender, control_id: str, at: datetime, order: str) -> bytes:
    """Return an ORU^R01 with one panel, numeric, coded and bounded results and a remark."""
    chance = random.Random(f"order {visit.seed} {order}")
    code, name, analytes = chance.choice(_PANELS)
    taken = stamp(at - timedelta(minutes=45))
    segments = [
        _msh(sender, "ORU^R01", control_id, at),
        _pid(visit.patient, sender),
        _pv1(visit, None),
        f"ORC|RE|P{order}|L{order}",
        f"OBR|1|P{order}|L{order}|{code}^{name}^LN|||{taken}|||||||||{_doctor(visit, 0)}||||||{stamp(at)}||HM|F",
    ]
    segments += [_number(chance, stamp(at), number, one) for number, one in enumerate(analytes, 1)]
    last, group = len(analytes), chance.choice(("A", "B", "O", "AB"))
    segments += [
        f"OBX|{last + 1}|SN|33959-8^降钙素原^LN^PCT^降钙素原^L||<^0.05|ng/mL^ng/mL^UCUM|0-0.05|N|||F|||{stamp(at)}",
        f"OBX|{last + 2}|CE|883-9^ABO血型^LN^ABO^ABO血型^L||{group}^{group}型^L||||||F|||{stamp(at)}",
        f"OBX|{last + 3}|ST|5767-9^尿液外观^LN^APP^外观^L||清亮||||||F|||{stamp(at)}",
        "NTE|1|L|标本轻度溶血；结果仅供参考，请结合临床。",
    ]
    return _encoded(segments, sender)


def _msh(sender: Sender, kind: str, control_id: str, at: datetime) -> str:
    return (
        f"MSH|^~\\&|{sender.application}|{sender.facility}^{sender.oid}^ISO|ESB|数据中心|{stamp(at)}||{kind}|{control_id}"
        f"|P|{sender.version}|||AL|NE|CHN|{sender.declares}|zh^中文^ISO639"
    )


def _pid(who: Patient, sender: Sender, temporary: str = "") -> str:
    _, province, city, district, code = who.area
    numbers = f"{temporary or record_number(who)}^^^{sender.facility}&{sender.oid}&ISO^MR"
    if not temporary:
        numbers += f"~{who.identity}^^^公安部&2.16.156.10011.1.3&ISO^NI"
    return (
        f"PID|1||{numbers}||{who.name}^^^^^^L^I||{who.born:%Y%m%d}|{who.sex}|||{who.street}^{district}^{city}"
        f"^{province}^{code}^CHN^H||^PRN^CP^^86^^{who.phone}||zh|M||||||{who.nation[0]}^{who.nation[1]}^GB/T 3304"
        "||||||CHN^中国^GB/T 2659"
    )


def _pv1(visit: Visit, discharged: datetime | None) -> str:
    chance = visit.chance
    code, department, ward, service = chance.choice(_DEPARTMENTS)
    bed = f"{code}^{ward}^{chance.randrange(1, 40):02d}床" if visit.inpatient else f"{code}^{department}"
    doctor = _doctor(visit, 1)
    fields = {
        1: "1", 2: "I" if visit.inpatient else "O", 3: bed, 7: doctor, 10: service, 17: doctor, 19: visit.number,
        44: stamp(visit.begins), 45: stamp(discharged) if discharged else "",
    }  # fmt: skip
    return "|".join(["PV1", *(fields.get(number, "") for number in range(1, 46))]).rstrip("|")


def _doctor(visit: Visit, role: int) -> str:
    code, name = staff(visit.seed, visit.chance.randrange(40) * 2 + role)
    return f"{code}^{name}^^^^主任医师"


def _number(chance: random.Random, at: str, number: int, analyte: Analyte) -> str:
    code, name, local, least, most, decimals, unit, expected = analyte
    value = round(chance.uniform(least, most), decimals)
    low, high = (float(bound) for bound in expected.split("-"))
    flag = "L" if value < low else "H" if value > high else "N"
    result = f"{value:.{decimals}f}|{unit}^{unit}^UCUM|{expected}|{flag}|||F"
    return f"OBX|{number}|NM|{code}^{name}^LN^{local}^^L||{result}|||{at}".rstrip("|")


def _encoded(segments: list[str], sender: Sender) -> bytes:
    return "".join(one + "\r" for one in segments).encode(sender.codec)
