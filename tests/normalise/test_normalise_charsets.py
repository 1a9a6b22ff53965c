"""Which character set the bytes of a message are in."""

from __future__ import annotations

import codecs

import pytest

from normalise.errors import SetAside
from normalise.hl7v2.charsets import decode

NAMES = ["张伟", "䶮𠮷", "张媈鑎", "孙泑瘄", "杨攡髜", "李漒峔", "阿卜杜热西提·买买提"]


def message(name: str, declared: str) -> str:
    msh = f"MSH|^~\\&|HIS|协和医院^1.2^ISO|ESB|数据中心|20261101083000||ADT^A01|C1|P|2.4|||AL|NE|CHN|{declared}"
    return f"{msh}\rPID|1||7||{name}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("declared", ["GB 18030-2000", "GB18030", "gbk", "GB2312", "GB 18030-2000~UNICODE UTF-8"])
def test_gb18030_is_read_whatever_it_is_called(name: str, declared: str) -> None:
    text = message(name, declared)
    assert decode(text.encode("gb18030"), "auto") == (text, None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_undeclared_text_is_recognised(name: str, codec: str) -> None:
    text = message(name, "")
    assert decode(text.encode(codec), "auto") == (text, None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UNICODE UTF-8", "gb18030"),
        ("GB 18030-2000", "utf-8"),
        ("ASCII", "utf-8"),
        ("8859/1", "utf-8"),
        ("klingon", "gb18030"),
    ],
)
def test_wrong_declaration_is_a_note_and_the_text_is_right(name: str, declared: str, codec: str) -> None:
    text = message(name, declared)
    decoded, note = decode(text.encode(codec), "auto")
    assert decoded == text
    assert note is not None
    assert (note.code, note.where) == ("charset", "MSH-18")
    assert name not in note.message


def test_two_characters_of_gb18030_that_are_also_utf8_are_read_as_the_source_is_configured() -> None:
    text = "MSH|^~\\&|HIS|E|H|R|20261101083000||ADT^A01|C1|P|2.4\rPID|1||7||莫隆"
    assert "莫隆".encode("gb18030").decode("utf-8") == "Ī¡"
    assert decode(text.encode("gb18030"), "gb18030")[0] == text


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, b""])
def test_byte_order_mark_and_mllp_frame_are_no_text(mark: bytes) -> None:
    text = message("张伟", "UNICODE UTF-8")
    assert decode(b"\x0b" + mark + text.encode() + b"\r\x1c\r", "auto") == (text, None)


@pytest.mark.parametrize("codec", ["utf-16", "utf-32"])
def test_wide_character_sets_are_read_by_their_mark(codec: str) -> None:
    text = message("䶮𠮷", "UNICODE UTF-16")
    assert decode(text.encode(codec), "auto")[0] == text


def test_latin_1_is_read_when_declared() -> None:
    text = message("Müller", "8859/1").replace("协和医院", "H").replace("数据中心", "R")
    assert decode(text.encode("latin-1"), "auto") == (text, None)


@pytest.mark.parametrize("declared", ["UNICODE UTF-8", "GB 18030-2000", "", "ASCII"])
def test_undecodable_bytes_are_set_aside_without_showing_them(declared: str) -> None:
    content = message("张伟", declared).encode() + b"\xff\xff\xfe"
    with pytest.raises(SetAside) as refused:
        decode(content, "auto")
    assert refused.value.refusal.code == "charset"
    assert "张伟" not in str(refused.value)


def test_control_characters_do_not_reach_the_text() -> None:
    assert decode(b"MSH|^~\\&|a\x00b\x07c\td\re", "auto")[0] == "MSH|^~\\&|abc\td\re"
