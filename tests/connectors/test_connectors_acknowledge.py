"""Acknowledgements read by another implementation, and byte by byte."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.his.acknowledge import CONDITIONS, acknowledge
from connectors.his.header import native_id, read_header
from schemas.reasons import REASONS
from schemas.records import Refusal

VERSIONS = ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8.2"]


def message(version: str = "2.5.1", rest: str = "", **swap: str) -> bytes:
    text = f"MSH|^~\\&|HIS|EAST^1.2^ISO|ESB|DC|20260526225407+0800||ADT^A01|CTL1|P|{version}{rest}\rPID|1||7\r"
    for old, new in swap.items():
        text = text.replace(old, new)
    return text.encode()


def answer(content: bytes, refusal: Refusal | None = None, enhanced: bool = False) -> list[list[str]]:
    made = acknowledge(content, refusal, enhanced=enhanced)
    assert made is not None
    return [line.split("|") for line in made.decode().rstrip("\r").split("\r")]


def test_accepted_message_is_answered_aa_with_its_own_control_id_and_swapped_parties() -> None:
    msh, msa = answer(message())
    assert msh[2:6] == ["ESB", "DC", "HIS", "EAST^1.2^ISO"]
    assert msh[6] == "20260526225407+0800"
    assert msh[8] == "ACK^A01^ACK"
    assert msh[10:12] == ["P", "2.5.1"]
    assert len(msh[9]) == 20
    assert msa == ["MSA", "AA", "CTL1"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, "AR") for code in ("not_hl7", "unknown_event", "version", "oversize")),
        *((code, "AE") for code in ("truncated", "charset", "required", "bad_value", "structure", "control_id")),
    ],
)
def test_what_a_message_is_gets_ar_and_what_it_says_gets_ae(code: str, expected: str) -> None:
    assert answer(message(), Refusal(code, "PID-7", "a reason"))[1][1] == expected


def test_every_reason_of_the_house_has_an_answer() -> None:
    for code in REASONS:
        _, msa, err = answer(message(), Refusal(code, "", "a reason"))
        assert msa[1] in {"AE", "AR"}
        assert re.fullmatch(r"\d{3}\^[\w ]+\^HL70357", err[3])
    assert set(CONDITIONS) <= set(REASONS)


@pytest.mark.parametrize(
    ("where", "location"),
    [
        ("PID-7", "PID^1^7^1"),
        ("OBX[3]-5", "OBX^3^5^1"),
        ("PID-3[2].4", "PID^1^3^2^4"),
        ("MSH-9.1", "MSH^1^9^1^1"),
        ("MSH-9", "MSH^1^9^1"),
        ("PID", "PID^1"),
        ("", ""),
        ("file byte 3", ""),
    ],
)
def test_error_points_at_the_senders_coordinates(where: str, location: str) -> None:
    *_, err = answer(message(), Refusal("required", where, "expected it"))
    assert err[2:6] == [location, "101^Required field missing^HL70357", "E", "required^^L"]
    assert err[8] == "required: expected it"


def test_before_version_25_the_error_stands_in_err_1() -> None:
    msh, msa, err = answer(message("2.4"), Refusal("bad_value", "OBX[3]-5", "expected a number"))
    assert msh[11] == "2.4"
    assert msa[3] == "bad_value: expected a number"
    assert err == ["ERR", "OBX^3^5^102&Data type error&HL70357"]


@pytest.mark.parametrize(
    ("version", "kind"), [("2.1", "ACK"), ("2.2", "ACK^A01"), ("2.3", "ACK^A01"), ("2.3.1", "ACK^A01^ACK")]
)
def test_type_is_written_as_the_senders_version_has_it(version: str, kind: str) -> None:
    assert answer(message(version))[0][8] == kind


@pytest.mark.parametrize("version", ["3.0", "", "x", "2.5.1.9"])
def test_version_nobody_knows_is_answered_in_251(version: str) -> None:
    assert answer(message(version), Refusal("version", "MSH-12", "2.1 to 2.8.2"))[0][11] == "2.5.1"


def test_same_bytes_get_the_same_acknowledgement_and_other_bytes_another() -> None:
    refusal = Refusal("required", "PID-3", "expected it")
    assert acknowledge(message(), None) == acknowledge(message(), None)
    assert acknowledge(message(), refusal) == acknowledge(message(), refusal)
    assert answer(message())[0][9] != answer(message(PID="ZID"))[0][9]


def test_text_between_delimiters_is_escaped_and_stays_on_one_line() -> None:
    *_, err = answer(message(), Refusal("required", "", "a|b^c&d~e\\f\rMSA|AA"))
    assert err[8] == "required: a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f MSA\\F\\AA"


def test_own_delimiters_of_a_message_are_used() -> None:
    content = b"MSH#*~\\&#HIS#EAST*1#ESB#DC#20260101##ADT*A01#C1#P#2.5\rPID#1"
    made = acknowledge(content, Refusal("required", "PID-3", "a#b")) or b""
    msh, msa, err = made.decode().split("\r")[:3]
    assert msh.startswith("MSH#*~\\&#ESB#DC#HIS#EAST*1#20260101##ACK*A01*ACK#")
    assert msa == "MSA#AE#C1"
    assert "PID*1*3*1" in err
    assert "a\\F\\b" in err


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_parties_come_back_byte_for_byte_in_the_senders_charset(codec: str) -> None:
    # The second byte of 亅 in GBK is a vertical bar: cut before decoding, the fields would shift.
    text = "MSH|^~\\&|HIS|亅协和𠮷|ESB|中心亅|20260101||ADT^A01|C1|P|2.5||||||GB 18030-2000\rPID|1"
    made = acknowledge(text.encode(codec), None) or b""
    assert made.decode(codec).split("|")[2:6] == ["ESB", "中心亅", "HIS", "亅协和𠮷"]
    assert made.decode(codec).split("\r")[0].split("|")[17] == "GB 18030-2000"
    assert native_id(text.encode("utf-8")) == native_id(text.encode("gb18030"))


def test_latin_1_is_answered_in_latin_1() -> None:
    content = "MSH|^~\\&|HIS|Zürich|ESB|DC|20260101||ADT^A01|C1|P|2.3\rPID".encode("latin-1")
    header = read_header(content, "latin-1")
    assert header is not None
    assert header.codec == "latin-1"
    assert "Zürich".encode("latin-1") in (acknowledge(content, None, "latin-1") or b"")


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1", b"MSH", b"MSH|", b"MSH|^~\\&", b"\xff\xfeM\0"])
def test_what_is_no_hl7_is_answered_ar_without_a_control_id(content: bytes) -> None:
    msh, msa, err = answer(content, Refusal("not_hl7", "", "expected MSH"))
    assert msh[:2] == ["MSH", "^~\\&"]
    assert msa == ["MSA", "AR", ""]
    assert err[3].startswith("100^")


@pytest.mark.parametrize(
    ("wanted", "accepted", "refused"),
    [("AL", "CA", "CE"), ("", "CA", "CE"), ("SU", "CA", None), ("ER", None, "CE"), ("NE", None, None)],
)
def test_enhanced_mode_follows_msh_15(wanted: str, accepted: str | None, refused: str | None) -> None:
    content = message(rest=f"|||{wanted}|AL")
    for refusal, expected in ((None, accepted), (Refusal("required", "", ""), refused)):
        made = acknowledge(content, refusal, enhanced=True)
        assert (made.decode().split("MSA|")[1][:2] if made else None) == expected
    assert answer(message(), enhanced=True)[1][1] == "AA"
    assert answer(content)[1][1] == "AA"


@given(st.binary(max_size=300), st.sampled_from([None, *REASONS]), st.booleans())
def test_any_bytes_are_answered_with_one_message(noise: bytes, code: str | None, enhanced: bool) -> None:
    refusal = Refusal(code, "PID-3", "reason") if code else None
    for content in (noise, b"MSH|^~\\&|" + noise, b"MSH" + noise):
        made = acknowledge(content, refusal, enhanced=enhanced)
        assert made is None or (made.startswith(b"MSH") and b"\rMSA" in made and b"\x1c" not in made)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", [None, "required", "unknown_event", "oversize"])
def test_hl7apy_reads_the_acknowledgement_as_valid(version: str, code: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hl7apy.consts import VALIDATION_LEVEL
        from hl7apy.parser import parse_message
    refusal = Refusal(code, "PID-3", "expected an identifier; send it") if code else None
    made = (acknowledge(message(version), refusal) or b"").decode()
    parsed = parse_message(made, validation_level=VALIDATION_LEVEL.TOLERANT)
    assert parsed.msa.msa_2.to_er7() == "CTL1"
    assert parsed.msa.msa_1.to_er7() == {None: "AA", "required": "AE"}.get(code, "AR")
    # hl7apy has no structure to validate an acknowledgement against before 2.3.1; it reads it all the same.
    assert version in {"2.1", "2.2", "2.3"} or parsed.validate()


@pytest.mark.conformance
def test_every_message_of_the_corpora_is_answered_in_its_own_version(corpora: Path) -> None:
    checked = 0
    for path in sorted((corpora / "hl7v2").glob("*/*.hl7")):
        content = path.read_bytes()
        header = read_header(content)
        if header is None or not header.field(10):
            continue
        made = acknowledge(content, None) or b""
        again = read_header(made)
        assert again is not None
        assert again.codec == header.codec or made.isascii()
        assert (again.field(3), again.field(5)) == (header.field(5), header.field(3)), path.name
        assert made.decode(header.codec).split("\r")[1].split(header.separator)[2] == header.field(10)
        checked += 1
    assert checked > 450
