"""Cutting messages out of streams, whatever they look like."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.his import framing
from connectors.his.framing import Framed, split_messages

A01 = b"MSH|^~\\&|HIS|A|B|C|20260101||ADT^A01|1|P|2.5\rPID|1||7\rPV1|1|I"
R01 = b"MSH|^~\\&|LIS|A|B|C|20260101||ORU^R01|2|P|2.5\rPID|1||7\rOBX|1|NM|x||3"


def split(data: bytes, limit: int = framing.LARGEST_MESSAGE) -> list[Framed]:
    return list(split_messages(io.BytesIO(data), limit))


def contents(data: bytes) -> list[bytes]:
    framed = split(data)
    assert all(one.refusal is None for one in framed), framed
    return [one.content for one in framed]


def refusals(data: bytes, limit: int = framing.LARGEST_MESSAGE) -> list[tuple[str, str]]:
    return [(one.refusal.code, one.refusal.where) for one in split(data, limit) if one.refusal]


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n\x1a", b"\r\x1c\r", b"\x1c\r", b"\r\n\x00\x00"])
def test_one_message_is_cut_the_same_whatever_ends_the_file(end: bytes) -> None:
    assert contents(A01 + end) == [A01]


@pytest.mark.parametrize("line_end", [b"\r", b"\n", b"\r\n"])
def test_many_messages_come_in_order_with_their_own_line_ends(line_end: bytes) -> None:
    one, two = A01.replace(b"\r", line_end), R01.replace(b"\r", line_end)
    framed = split(one + line_end + two + line_end + one)
    assert [(f.content, f.number) for f in framed] == [(one, 1), (two, 2), (one, 3)]
    assert [f.offset for f in framed] == [0, len(one + line_end), len(one + two + line_end * 2)]


def test_mllp_blocks_in_a_file_are_unwrapped() -> None:
    assert contents(b"\x0b" + A01 + b"\r\x1c\r\x0b" + R01 + b"\r\x1c\r") == [A01, R01]


def test_mllp_block_that_never_ends_is_truncated_and_the_next_goes_on() -> None:
    framed = split(b"\x0b" + A01 + b"\r\x0b" + R01 + b"\x1c\r")
    assert [(f.refusal.code if f.refusal else "", f.content) for f in framed] == [
        ("truncated", A01),
        ("", R01),
    ]


def test_batches_with_right_counts_are_cut_without_remark() -> None:
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + A01 + b"\r" + R01 + b"\rBTS|2\rBHS|^~\\&\r" + A01 + b"\rBTS|1\rFTS|2\r"
    assert contents(batch) == [A01, R01, A01]


@pytest.mark.parametrize(
    ("trailer", "expected"),
    [
        (b"BTS|3\rFTS|1\r", [("truncated", "BTS-1")]),
        (b"BTS|1\rFTS|1\r", [("structure", "BTS-1")]),
        (b"BTS|2\rFTS|2\r", [("truncated", "FTS-1")]),
        (b"BTS|two\rFTS|1\r", [("bad_value", "BTS-1")]),
        (b"BTS||\rFTS\r", []),
        (b"FTS|1\r", [("truncated", "BTS")]),
        (b"BTS|2\r", [("truncated", "FTS")]),
    ],
)
def test_batch_that_counts_otherwise_is_named_and_its_messages_still_go(
    trailer: bytes, expected: list[tuple[str, str]]
) -> None:
    data = b"FHS|^~\\&\rBHS|^~\\&\r" + A01 + b"\r" + R01 + b"\r" + trailer
    assert refusals(data) == expected
    assert [one.content for one in split(data) if not one.refusal] == [A01, R01]


def test_batch_cut_off_in_mid_message_refuses_that_message_and_names_the_missing_trailers() -> None:
    data = b"FHS|^~\\&\rBHS|^~\\&\r" + A01 + b"\r" + R01
    assert refusals(data) == [("truncated", ""), ("truncated", "BTS"), ("truncated", "FTS")]
    assert [one.content for one in split(data) if not one.refusal] == [A01]


def test_file_cut_off_in_a_segment_name_is_truncated() -> None:
    assert refusals(A01 + b"\rPV") == [("truncated", "")]


def test_junk_around_messages_is_refused_with_its_offset_and_the_messages_go_on() -> None:
    data = b"hello\r\n" + A01 + b"\x1c\rgarbage\r" + R01 + b"\r\r--- end of export ---\r"
    framed = split(data)
    assert [(f.content, f.refusal.code if f.refusal else "") for f in framed] == [
        (b"hello", "not_hl7"), (A01, ""), (b"garbage", "not_hl7"), (R01, ""),
        (b"--- end of export ---", "not_hl7"),
    ]  # fmt: skip
    for one in framed:
        assert data[one.offset : one.offset + one.size] == one.content


def test_text_with_a_line_end_inside_stays_with_its_message() -> None:
    report = R01 + b"\nOBX|2|TX|r||first line\n\nsecond line\nOBX|3|TX|r||third\nfourth"
    assert contents(report + b"\n" + A01) == [report, A01]


def test_double_spaced_file_keeps_its_segments() -> None:
    spaced = A01.replace(b"\r", b"\r\n\r\n")
    assert contents(spaced + b"\r\n\r\n" + spaced) == [spaced, spaced]


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\x00" * 100, b"\xef\xbb\xbf"])
def test_file_without_any_message_is_refused_not_silent(data: bytes) -> None:
    assert refusals(data) == [("not_hl7", "file byte 0")]


@pytest.mark.parametrize(
    "data", [b"%PDF-1.4\n%\xe2\xe3", b"M\0S\0H\0|\0", b"MSHX|a", b"PID|1||7\rPV1|1", b"msh|^~\\&|"]
)
def test_what_is_not_hl7_is_one_refusal(data: bytes) -> None:
    assert [one.refusal.code for one in split(data) if one.refusal] == ["not_hl7"]
    assert len(split(data)) == 1


def test_byte_order_mark_of_a_file_is_given_to_each_of_its_messages() -> None:
    assert contents(b"\xef\xbb\xbf" + A01 + b"\r" + R01) == [b"\xef\xbb\xbf" + A01, b"\xef\xbb\xbf" + R01]


def test_byte_order_marks_between_joined_files_vanish() -> None:
    assert contents(A01 + b"\r\n\xef\xbb\xbf" + R01) == [A01, R01]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_utf_16_with_its_mark_becomes_utf_8_with_its_mark(codec: str) -> None:
    text = A01.decode().replace("|7", "|7||张䶮^𠮷")
    data = text.encode(codec)
    if codec == "utf-16-be":
        data = b"\xfe\xff" + data
    assert contents(data) == [b"\xef\xbb\xbf" + text.encode()]


def test_broken_utf_16_is_handed_on_as_bytes_that_are_no_utf_8() -> None:
    (one,) = split(A01.decode().encode("utf-16") + b"\x00\xd8" + b"\x41")
    with pytest.raises(UnicodeDecodeError):
        one.content.decode()


@pytest.mark.parametrize("size", [2_000, 70_000, 3_000_000])
def test_oversize_message_is_refused_with_its_head_and_the_others_go_on(size: int) -> None:
    large = R01 + b"x" * size
    framed = split(A01 + b"\r" + large + b"\r" + A01, limit=1_000)
    assert [f.content for f in framed if not f.refusal] == [A01, A01]
    (refused,) = [f for f in framed if f.refusal]
    assert refused.refusal is not None
    assert refused.refusal.code == "oversize"
    assert (refused.offset, refused.content) == (len(A01) + 1, large[:65536])
    assert (refused.size, refused.digest) == (len(large), hashlib.sha256(large).hexdigest())


def test_message_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert refusals(A01 + b"\r\n\r\n", limit=len(A01)) == []
    assert [code for code, _ in refusals(A01, limit=len(A01) - 1)] == ["oversize"]


def test_line_of_megabytes_before_the_last_line_end_is_looked_at_once() -> None:
    image = R01.replace(b"|3", b"|" + b"QUJD" * 1_000_000)
    assert contents(image + b"\r") == [image]  # takes hours where every byte looks for the line's end anew


def test_gb18030_second_bytes_that_look_like_delimiters_cut_nothing() -> None:
    message = "MSH|^~\\&|HIS|協和|ESB||20260101||ADT^A01|1|P|2.5\rPID|1||7||媈鑎^亅".encode("gb18030")
    assert contents(message + b"\r" + message) == [message, message]


PIECES = st.lists(
    st.sampled_from(
        [A01, R01, b"\r", b"\n", b"\r\n", b"\x0b", b"\x1c", b"\xef\xbb\xbf", b"FHS|^~\\&", b"BHS|^~\\&", b"BTS|1",
         b"FTS|1", b"junk", b"MSH", b"MS", b"x" * 3000, b"\x00", b"\x1a", b"|", b" "]
    )
    | st.binary(max_size=12),
    max_size=30,
)  # fmt: skip


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    chunk = 1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.chunk)


@given(PIECES, st.integers(1, 40))
def test_chunks_of_any_size_give_what_one_chunk_gives(pieces: list[bytes], chunk: int) -> None:
    data = b"".join(pieces)
    trickle = Trickle(data)
    trickle.chunk = chunk
    assert list(split_messages(trickle)) == split(data)


@given(st.integers(1, 40), st.integers(500, 9000), st.sampled_from([b"\r", b"\r\n"]))
def test_oversize_message_is_the_same_whatever_the_chunks(chunk: int, size: int, end: bytes) -> None:
    data = b"junk" + end + A01 + end + R01 + b"x" * size + end + A01 + end
    trickle = Trickle(data)
    trickle.chunk = chunk
    assert list(split_messages(trickle, 300)) == split(data, 300)


@given(PIECES)
def test_every_byte_but_line_ends_is_in_a_message_or_a_refusal(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    framed = split(data)
    covered = sum(f.size for f in framed)
    batch_segments = rb"(?:FHS|BHS|BTS|FTS)[^\r\n\x0b\x1c]*"
    ignored = len(data) - len(re.sub(rb"[\r\n\x0b\x1c\x1a\x00 \t]|\xef\xbb\xbf|" + batch_segments, b"", data))
    assert covered + ignored >= len(data) or data.startswith((b"\xff\xfe", b"\xfe\xff"))
    ends = [(f.offset, f.offset + f.size) for f in framed if f.refusal is None or f.refusal.code == "not_hl7"]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))


@pytest.mark.conformance
def test_corpora_give_the_number_of_messages_that_their_headers_say(corpora: Path) -> None:
    files = [p for p in (corpora / "hl7v2").glob("*/*.hl7") if p.is_file()]
    assert len(files) > 500
    for path in files:
        data = path.read_bytes()
        headers = len(re.findall(rb"(?:\A|[\r\n])MSH", data.removeprefix(b"\xef\xbb\xbf")))
        with path.open("rb") as stream:
            found = list(split_messages(stream))
        assert sum(not one.refusal for one in found) == headers, path.name
