"""JSON of anybody's: one value or one error, and one text of each value."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.json_text import MAX_DEPTH, NotStrict, Twice, encode, parse

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values, st.sampled_from([None, 1]))
def test_what_is_written_reads_back_and_is_written_the_same_again(value: Any, indent: int | None) -> None:
    content = encode(value, indent=indent)
    found = parse(content, fractions=True)
    assert found == value
    assert encode(found, indent=indent) == content


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud08 aNE-19.').map(str.encode))
def test_any_bytes_are_a_value_that_can_be_written_or_not_strict(content: bytes) -> None:
    try:
        found = parse(content, fractions=True)
    except NotStrict:
        return
    assert parse(encode(found), fractions=True) == found == json.loads(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1, column 1: not JSON"),
        (b'{"a": 1,\n "b": }', "line 2, column 7: not JSON"),
        (b'{"a": 1} {}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"// no\n1", "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"\xff\xfe1\x00", "not UTF-8 text"),
        (b'"\xed\xa0\x80"', "not UTF-8 text"),
        (b'["\\ud800"]', "a text that UTF-8 cannot say"),
        (b'{"\\udc00": 1}', "a text that UTF-8 cannot say"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "a member stands twice"),
        (b"NaN", "a number that is not finite"),
        (b"[-Infinity]", "a number that is not finite"),
        (b'{"a": [1e999]}', "a number that is not finite"),
        (b"9" * 5_000, "not JSON that can be read"),
        (b"[" * 200_000, "not JSON that can be read"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "more than 40 lists and objects in each other"),
    ],
)
def test_what_parsers_read_in_more_than_one_way_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(NotStrict, match=said):
        parse(content, fractions=True)


def test_as_deep_as_allowed_is_read_and_a_caller_may_allow_more() -> None:
    deep = b'{"a":[' * (MAX_DEPTH // 2) + b"1" + b"]}" * (MAX_DEPTH // 2)
    assert encode(parse(deep, fractions=False)) == deep
    assert parse(b"[" + deep + b"]", fractions=False, depth=MAX_DEPTH + 1)


@pytest.mark.parametrize("content", [b"1.5", b"1.0", b"1e3", b"-0.0"])
def test_fractions_are_read_only_where_the_format_has_them(content: bytes) -> None:
    assert parse(content, fractions=True) == float(content)
    with pytest.raises(NotStrict, match="not whole"):
        parse(content, fractions=False)


def test_a_member_twice_is_told_from_everything_else() -> None:
    with pytest.raises(Twice):
        parse(b'{"a": 1, "a": 1}', fractions=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {"\ud800": 1}, {1: 1, "a": 1}, b"bytes", {1, 2}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(NotStrict, match="cannot say"):
        encode(value)
