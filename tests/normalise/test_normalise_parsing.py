"""Segments, delimiters, escapes and the null value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalise.errors import SetAside
from normalise.hl7v2.escapes import free_text, text
from normalise.hl7v2.message import parse

HEAD = "MSH|^~\\&|HIS|E|H|R|20261101083000||ADT^A01|C1|P|2.4"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_every_line_end_divides_segments(end: str) -> None:
    message = parse(end.join((HEAD, "PID|1||7", "OBX|1", "OBX|2", "")))
    assert [one.label for one in message.segments] == ["MSH", "PID", "OBX[1]", "OBX[2]"]


def test_msh_fields_have_their_numbers() -> None:
    msh = parse(HEAD + "\rPID|1").segments[0]
    assert (msh.get(1), msh.get(2), msh.get(3), msh.get(12), msh.get(99)) == ("|", "^~\\&", "HIS", "2.4", "")


def test_other_delimiters_give_the_same_message() -> None:
    usual = parse(HEAD + "\rPID|1||7^^^A&1.2&ISO~8||\\T\\x\\F\\y\\.br\\z#!")
    other = parse("MSH#*!@$#HIS#E#H#R#20261101083000##ADT*A01#C1#P#2.4\rPID#1##7***A$1.2$ISO!8##&x|y@.br@z@F@@R@")
    assert [text(one) for one in other.segments[1].fields[5:]] == [text(one) for one in usual.segments[1].fields[5:]]
    assert other.segments[1].fields[:5] == usual.segments[1].fields[:5]
    assert text(other.segments[1].get(5)) == "&x|y\nz#!"


def test_null_values_are_absent_and_quotation_marks_stay() -> None:
    pid = parse(HEAD + '\rPID|1|""|7^""^""&x||"A"|""').segments[1]
    assert pid.fields == ["PID", "1", "", "7^^&x", "", '"A"', ""]


def test_line_feed_inside_a_field_is_text_when_segments_end_with_carriage_return() -> None:
    message = parse(HEAD + "\rOBX|1|TX|a||line 1\nline 2|u\rOBX|2")
    assert message.segments[1].get(5) == "line 1\nline 2"
    assert message.notes == ()


def test_line_that_is_no_segment_continues_the_field_before_it_with_a_note() -> None:
    message = parse(HEAD + "\nOBX|1|TX|a||first\nsecond line\nOBX|2")
    assert message.segments[1].get(5) == "first\nsecond line"
    assert [(one.code, one.where) for one in message.notes] == [("structure", "line 3")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "not_hl7"),
        ("PID|1", "not_hl7"),
        ("MSH", "not_hl7"),
        ("MSH|||||a|b|c", "not_hl7"),
        ("MSHa^~\\&aHIS", "not_hl7"),
        ("FHS|^~\\&|a\rMSH|^~\\&|b", "not_hl7"),
        (HEAD, "truncated"),
        (HEAD + "\r\r", "truncated"),
        (HEAD + "\rPID|1\rOB", "truncated"),
        (HEAD + "\rPID|1\r" + HEAD, "structure"),
        (HEAD + "\rab|c", "structure"),
        ("MSH#*!@$", "not_hl7"),
        ("MSH#*!@$HIS", "truncated"),
    ],
)
def test_what_is_no_message_is_refused_by_name(content: str, code: str) -> None:
    with pytest.raises(SetAside) as refused:
        parse(content)
    assert refused.value.refusal.code == code


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (r"A\T\B\F\C\S\D\R\E\E\F", "A&B|C^D~E\\F"),
        (r"line\.br\line\.sp2\line", "line\nline\n\nline"),
        (r"\H\bold\N\ \.in+4\x\.fi\ ", "bold x"),
        (r"\X41C3A9\ \X0D0A\ ", "Aé"),
        (r"\XD5C5\ ", "张"),
        (r"\X00\a\X07\b", "ab"),
        (r"C:\temp\new", r"C:\temp\new"),
        (r"\Zlocal\ \C2842\ ", r"\Zlocal\ \C2842\ ".strip()),
        (r"50\% \\", r"50\% \\"),
        (r"\XABC\ ", r"\XABC\ ".strip()),
    ],
)
def test_escapes_are_resolved_and_what_is_none_stays(raw: str, read: str) -> None:
    assert text(raw) == read


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_escaped_text_comes_back(plain: str) -> None:
    escaped = "".join(
        {"|": r"\F\ ", "^": r"\S\ ", "&": r"\T\ ", "~": r"\R\ ", "\\": r"\E\ "}.get(c, c + " ")[:-1] for c in plain
    )
    assert free_text(escaped) == (plain if plain.strip() else "")
