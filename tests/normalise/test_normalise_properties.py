"""What holds for every message whatever: one family of errors, the same answer twice, nothing hidden in the order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import verdict

from normalise.hl7v2 import MAPPING, convert
from schemas.reasons import REASONS
from schemas.records import Normalised, Refusal, SourceContext

CONTEXT = SourceContext("s", "hospital-east", "Asia/Shanghai")
ADT = (
    r"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|R|20261101083000+0800||ADT^A01|C1|P|2.5.1||||||UNICODE UTF-8",
    "EVN|A01|20261101083000|||D1^欧阳芳",
    "PID|1||7^^^EAST^MR~8^^^公安部^NI||张伟^^^^^^L^I||19900307|M|||路1号^区^市^省^1^CHN^H||^PRN^CP^^86^^138||zh|M",
    "PV1|1|I|W^R^B^EAST|E|||D1^欧阳芳||||||||||||V1^^^EAST^VN|01^医保",
    "DG1|1||I10^高血压^I10||20261101|A",
    "AL1|1|DA|P^青霉素^L|SV|皮疹",
    "GT1|1|G1|王芳||路1号^^市|138||19650301|F||SPO",
    "IN1|1|P^保险^L|I1|医保局",
    "IN2|1|||||MC1",
    "PR1|1||A1^阑尾切除^L||20261101",
    "ROL|1|AD|AT^^HL70443|D9^李^强|20260101",
)
ORU = (
    ADT[0].replace("ADT^A01", "ORU^R01"),
    ADT[2],
    "ORC|RE|P1|F1",
    "OBR|1|P1|F1|58410-2^CBC^LN|||20261101080000|||||||||D1^欧阳芳||||||20261101||HM|F",
    "OBX|1|NM|718-7^Hb^LN||115.2|g/L^g/L^UCUM|130-175|L|||F",
    "OBX|2|SN|1^a^L||>^5|g|||||F",
    "OBX|3|ED|2^b^L||A^AP^PDF^Base64^QUJD||||||F",
    "NTE|1||溶血",
    "SPM|1|S1||BLD",
)
PIECE = st.one_of(
    st.sampled_from(
        [
            "|",
            "^",
            "~",
            "&",
            "\\",
            "\r",
            "\n",
            '""',
            "\\X41\\",
            "\\X00\\",
            "\\.br\\",
            "20260231",
            "-0",
            "9" * 30,
            "1e400",
            "张",
            "𠮷",
            "\x00",
        ]
    ),
    st.text(max_size=6),
)


@given(st.binary(max_size=300))
def test_any_bytes_are_set_aside_and_any_behind_a_header_are_converted_or_set_aside(content: bytes) -> None:
    refused = verdict(content, CONTEXT)
    assert isinstance(refused, Refusal)
    assert refused.code in REASONS
    begun = verdict(b"MSH|^~\\&|" + content, CONTEXT)
    assert isinstance(begun, Normalised) or begun.code in REASONS


@settings(max_examples=300)
@given(st.sampled_from([ADT, ORU]), st.data())
def test_damaged_messages_are_converted_or_set_aside(segments: tuple[str, ...], data: st.DataObject) -> None:
    whole = "\r".join(segments)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole = whole[:at] + data.draw(PIECE) + whole[at + data.draw(st.integers(0, 12)) :]
    found = verdict(whole.encode("utf-8", "replace"), CONTEXT)
    if isinstance(found, Refusal):
        assert found.code in REASONS
    else:
        bodies = [one.body for one in found.resources]
        assert json.loads(json.dumps(bodies, ensure_ascii=False, allow_nan=False).encode()) == bodies


@given(st.sampled_from([ADT, ORU]), st.permutations(range(3)))
def test_the_same_message_gives_the_same_answer_whatever_came_before(
    segments: tuple[str, ...], order: list[int]
) -> None:
    contents = ["\r".join(segments), "\r".join(ADT), "\r".join(ORU).replace("718-7", "777-3")]
    alone = convert(contents[0].encode(), CONTEXT)
    for number in order:
        convert(contents[number].encode(), CONTEXT)
    assert convert(contents[0].encode(), CONTEXT) == alone


@pytest.mark.parametrize("segments", [ADT, ORU])
def test_changing_what_one_message_became_changes_no_other(segments: tuple[str, ...]) -> None:
    content = "\r".join(segments).encode()
    before = json.dumps([one.body for one in convert(content, CONTEXT).resources], sort_keys=True)
    for resource in convert(content, CONTEXT).resources:
        _spoil(resource.body)
    assert json.dumps([one.body for one in convert(content, CONTEXT).resources], sort_keys=True) == before


def _spoil(value: object) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            _spoil(inner)
        value["spoilt"] = True
    elif isinstance(value, list):
        for inner in value:
            _spoil(inner)
        value.append("spoilt")


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("frame", [(b"", b""), (b"\x0b", b"\x1c\r"), (b"", b"\r\n\r\n")])
@pytest.mark.parametrize("segments", [ADT, ORU])
def test_transport_does_not_change_resources(
    segments: tuple[str, ...], frame: tuple[bytes, bytes], end: str, codec: str
) -> None:
    expected = convert("\r".join(segments).encode(), CONTEXT)
    content = frame[0] + end.join(segments).encode(codec) + frame[1]
    assert convert(content, CONTEXT).resources == expected.resources


def test_ids_depend_on_the_institution_but_not_on_the_source() -> None:
    content = "\r".join(ORU).replace("EAST^1.2.156.1^ISO", "EAST").encode()
    here, source, elsewhere = (
        [one.id for one in convert(content, context).resources if one.type != "Provenance"]
        for context in (
            CONTEXT,
            SourceContext("other", "hospital-east", "Asia/Shanghai"),
            SourceContext("s", "west", "Asia/Shanghai"),
        )
    )
    assert here == source
    assert not set(here) & set(elsewhere)


def test_mapping_version_names_the_tables() -> None:
    assert convert("\r".join(ADT).encode(), CONTEXT).mapping == MAPPING
    assert MAPPING.startswith("hl7v2-")


def test_references_point_at_resources_of_the_message() -> None:
    for segments in (ADT, ORU):
        found = convert("\r".join(segments).encode(), CONTEXT).resources
        known = {f"{one.type}/{one.id}" for one in found}
        assert set(_references([one.body for one in found])) <= known


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [one for inner in value.values() for one in _references(inner)]
    return [one for inner in value for one in _references(inner)] if isinstance(value, list) else []
