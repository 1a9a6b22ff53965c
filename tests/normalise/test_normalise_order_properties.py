"""What holds for every order, medication, vaccination and specimen, however its segments are damaged or arranged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normalise.errors import SetAside
from normalise.hl7v2 import convert, inspect
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import SourceContext

CONTEXT = SourceContext("s", "hospital-east", "Asia/Shanghai")
PID = "PID|1||7^^^EAST^MR||张伟^^^^^^L^I||19900307|M"
PV1 = "PV1|1|O|W^R^B^EAST||||||||||||||||V1^^^EAST^VN"
LAB = (
    PID,
    PV1,
    "ORC|NW|P1^HIS|F1^LIS|G1&HIS^FG&LIS|IP||1^Q6H^D3^20261101080000^^S|PA&HIS^FA|20261101080000|D2^录入|D3^核对"
    "|D1^欧阳芳||1^^PH^^^^138||||||D4^执行||东院^^E1||138^WPN|路1号^^市||||O||||AP1^^^HIS^PLAC",
    "TQ1|1|2^片|Q6H^^^^6^h^^ACM^30^min|0800|1^h|3^d|20261101080000||S|疼痛时|餐后||15^min|5",
    "PRT|1|AD||OP^Ordering Provider^HL70443|D5^吴^敏",
    "OBR|1|P1^HIS|F1^LIS|24323-8^生化^LN|S|20261101080000|20261101081000||5^mL|D6^采血|A||禁食|20261101090000|BLD&血&HL70070"
    "|D1^欧阳芳|1^^PH^^^^139|||||20261101||LAB|F||1^^^20261101080000^^R||PA^FA||^腹痛|D7&李&强^^^W3",
    "NTE|1||急",
    "DG1|1||R10^腹痛^I10",
    "OBX|1|NM|8310-5^体温^LN||36.5|Cel^Cel^UCUM|36-37|N|||F",
    "SPM|1|S1&HIS^S2&LIS|SP&HIS^SQ&LIS|BLD^血^HL70487||HEPL|FNA||||||5^mL||备注|AMB||20261101081000|20261101090000||Y||||COOL|||TUBE"
    "|||AC1^^^LIS|O1^^^LIS|SH1^LIS",
    "SAC||AC2^LIS|CO1|CO2|||||||||||||||||10|5||mL|||EDTA",
    "OBX|2|ST|1^溶血^L||无||||||F",
    "FT1|1|T1||20261101||CG|A1^化验^L|||1|5.00&CNY",
    "BLG|CR||AI1^^^EAST",
    "CTI|RS1^LAB|1^一期^HL70396",
)
DRUG = (
    PID,
    PV1,
    "ORC|NW|P2|||IP||1^BID^D7^20261101||20261101080000|||D1^欧阳芳",
    "RXO|A1^阿莫西林^L|1|2|片|CAP^胶囊^L|^多饮水|^饭后||G||14|片|2|D1^欧阳芳||||250|mg|^感染|10|mL/h|4^g||B1^阿莫西林^GPI|5|mL|||3||||P1^药房^L",
    "RXR|PO^口服^HL70162|LA^左臂^HL70550||CH",
    "RXC|B|NS^盐水^L|100|mL",
    "RXC|A|KCL^氯化钾^L|10|mL",
    "RXE|1^BID|A1^阿莫西林^L|1|2|片|CAP|^饭后||G|14|片|2|D1^欧阳芳||RX9|1|||4^g||||5|mL/h|250|mg||||||20261101|5|mL||||||14|P1^药房^L",
    "RXD|1|A1^阿莫西林^L|20261101090000|14|片|CAP|RX9|2|饭后服|D8^药师||4^g||||250|mg|LOT1|20270101|M1^厂^L||||||||||P1^药房^L|||C",
    "RXA|0|1|20261101100000|20261101100000|A1^阿莫西林^L|250|mg||01^已给|D9^护士||h|||LOT1|20270101|M1^厂^L|R1^拒绝^L|I1^感染^L|CP|A",
    "OBX|1|NM|8310-5^体温^LN||38.5|Cel|||||F",
    "NTE|1||过敏史无",
    "ORC|CA|P3",
    "ORC|NW|P4",
    "ODS|D|||^低盐|少油",
    "ODS|P||V1^素食^L",
    "ORC|NW|P5",
    "RQD|1|I1^纱布^L|||5|包|||W3^三病区^L|20261102",
    "RQ1|1||||V1^供应商^L",
)
VACCINE = (
    PID,
    "OBX|1|CE|1^过敏^L||N^无^L||||||F",
    "ORC|RE|P6|V1|G2&HIS^H2|||||20261101|||D1^欧阳芳",
    "RXA|0|1|20261101||0101^乙肝^NIP|0.5|mL||00^New^NIP001~^左臂红肿|D9^护士|接种点^^^东院^^^^^路1号^^市||||L1~L2|20270101|M1^厂^L|||CP|A|20261101"
    "|||||W^R^B^EAST|路1号^^市",
    "RXR|IM^肌内^HL70162|LD^左三角肌^HL70163",
    "OBX|2|CE|64994-7^eligibility^LN|1|V01^Not eligible^HL70064||||||F",
    "NTE|1||观察三十分钟",
)
SPECIMEN = (
    "SPM|1|S1||BLD^血^HL70487",
    "OBX|1|ST|1^溶血^L||无||||||F",
    "SAC||A1|C1",
    "OBR|1|P1|F1|24323-8^生化^LN|||||||||||||||||||||F",
    "ORC|RE|P1|F1||CM",
    "NTE|1||急",
    "OBX|1|NM|8310-5^体温^LN||36.5|Cel|||||F",
    "SPM|2|S2||UR",
    "ORC|RE|P2|F2||CM",
    "OBR|2|P2|F2|5778-6^尿色^LN|||||||||||||||||||||F",
    "OBX|1|ST|5778-6^尿色^LN||黄||||||F",
)
MESSAGES = {
    "ORM^O01": LAB,
    "OML^O21": LAB,
    "OMG^O19": LAB,
    "ORU^R30": LAB,
    "RDE^O11": DRUG,
    "RDS^O13": DRUG,
    "RAS^O17": DRUG,
    "VXU^V04": VACCINE,
    "OUL^R22": (PID, *SPECIMEN),
    "OUL^R24": (PID, *SPECIMEN[3:], *SPECIMEN[:3]),
}
PIECE = st.one_of(
    st.sampled_from(["|", "^", "~", "&", "\\", "\r", '""', "\\X41\\", "20260231", "-0", "9" * 30, "1e400", "张", "𠮷"]),
    st.text(max_size=6),
)


def message(event: str, segments: list[str] | tuple[str, ...]) -> bytes:
    msh = rf"MSH|^~\&|LIS|EAST^1.2.156.1^ISO|HUB|R|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join((msh, *segments)).encode("utf-8", "replace")


def accept(content: bytes) -> None:
    """Valid resources, or a named refusal that inspect gives as well; each id of a type stands once."""
    refusal = inspect(content, CONTEXT)
    try:
        found = convert(content, CONTEXT)
    except SetAside as error:
        assert error.refusal == refusal
        assert error.refusal.code in REASONS
        return
    assert refusal is None
    faults = [(one.type, check_structure(one.body)) for one in found.resources]
    assert [one for one in faults if one[1]] == []
    assert len({(one.type, one.id) for one in found.resources}) == len(found.resources)


@pytest.mark.parametrize("event", sorted(MESSAGES))
def test_whole_messages_of_every_kind_are_valid(event: str) -> None:
    accept(message(event, MESSAGES[event]))


@settings(max_examples=250, deadline=None)  # the first resource of a type compiles its checker
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_damaged_orders_are_converted_or_set_aside(event: str, data: st.DataObject) -> None:
    whole = "\r".join(MESSAGES[event])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole = whole[:at] + data.draw(PIECE) + whole[at + data.draw(st.integers(0, 12)) :]
    accept(message(event, [whole]))


@settings(max_examples=250, deadline=None)  # the first resource of a type compiles its checker
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_segments_in_any_order_or_number_are_converted_or_set_aside(event: str, data: st.DataObject) -> None:
    known = MESSAGES[event]
    drawn = data.draw(st.lists(st.sampled_from(known), max_size=2 * len(known)))
    accept(message(event, [PID, *drawn]))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.integers(0, 30), st.integers(0, 60))
def test_segments_that_end_early_are_converted_or_set_aside(event: str, at: int, fields: int) -> None:
    segments = list(MESSAGES[event])
    at %= len(segments)
    segments[at] = "|".join(segments[at].split("|")[: fields + 1])
    accept(message(event, segments))
