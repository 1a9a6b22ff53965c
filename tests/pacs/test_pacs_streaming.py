"""Objects are read while they arrive: one record however they were encoded or cut, memory bounded, nothing on disk."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_made import PDF, SR, code, content, made, measured
from hypothesis import given, settings
from hypothesis import strategies as st
from pacs_world import Kept, contents, dicomweb, dimse, pulled
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from connectors.contract import Found
from connectors.pacs.elements import MAX_DEPTH
from connectors.pacs.instances import BIG_ENDIAN, Taking, take, take_file
from connectors.pacs.streams import PASSED, Ended, Stream
from simulators.pacs import Pacs


def taking(kept: Kept | None = None, limit: int = 1 << 20) -> Taking:
    import hashlib

    return Taking("east-pacs", limit, hashlib.sha256, kept, "study 1")


def encoded(one: Dataset, implicit: bool, delimited: bool = False) -> bytes:
    """The dataset without meta information."""
    for element in one.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = delimited
            for item in element.value:
                item.is_undefined_length_sequence_item = delimited
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    stream = BytesIO()
    one.save_as(stream)
    raw = stream.getvalue()
    return raw[raw.index(b"\x08\x00\x05\x00") :]


def cut(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


def report() -> Dataset:
    site = content("CODE", ("363698007", "SCT", "Finding Site"), ConceptCodeSequence=code("10200004", "SCT", "肝"))
    length = content("NUM", ("410668003", "SCT", "长度"), site, MeasuredValueSequence=measured("12.5"))
    one = made(SR, ContentSequence=Sequence([length, content("TEXT", None, TextValue="未见异常" * 50)]))
    one.add_new(0x00110010, "LO", "ACME")
    one.add_new(0x00111001, "UN", b"\1\2\3\4")
    return one


def test_same_dataset_is_the_same_record_however_it_was_encoded() -> None:
    found = [
        take(Stream(cut(encoded(report(), implicit, delimited), size)), syntax, "1.2.3.1.1", taking())
        for implicit, syntax in ((True, str(ImplicitVRLittleEndian)), (False, str(ExplicitVRLittleEndian)))
        for delimited in (False, True)
        for size in (1, 7, 4096)
    ]
    assert len({one.content for one in found}) == 1 and found[0].refusal is None
    back = pydicom.dcmread(BytesIO(found[0].content))
    assert back.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "长度"
    assert back.ContentSequence[1].TextValue == "未见异常" * 50


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=300), size=st.integers(1, 50), implicit=st.booleans())
def test_no_bytes_cause_anything_but_a_refusal(raw: bytes, size: int, implicit: bool) -> None:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    for body in (raw, encoded(report(), implicit)[: len(raw) * 3], encoded(report(), implicit)[:150] + raw):
        found = take(Stream(cut(body, size)), str(syntax), "1.2.3.1.1", taking(Kept()))
        assert found.refusal is None or found.refusal.code in ("truncated", "structure", "required", "oversize")
        assert take_file(cut(bytes(128) + b"DICM" + raw, size), "1", taking(Kept())).refusal is not None


def refused(
    raw: bytes, syntax: str = str(ExplicitVRLittleEndian), uid: str = "1.2.3.1.1", limit: int = 1 << 20
) -> tuple[str, str]:
    kept = Kept()
    found = take(Stream(cut(raw, 1000)), syntax, uid, taking(kept, limit))
    assert found.refusal is not None and kept.contents == {}
    return found.refusal.code, found.refusal.where


def test_refusals_name_the_element() -> None:
    raw = encoded(report(), False)
    assert refused(raw[:-30]) == ("truncated", "(0040,A730)")
    assert refused(raw, BIG_ENDIAN) == ("bad_value", "(0002,0010)")
    assert refused(raw, "1.2.840.113619.5.2") == ("bad_value", "(0002,0010)")
    assert refused(raw, uid="9.9") == ("bad_value", "(0008,0018)")
    assert refused(raw, limit=500)[0] == "oversize"
    assert refused(raw[:4] + b"??" + raw[6:])[0] in ("structure", "truncated")
    anonymous = made()
    del anonymous.SOPInstanceUID
    assert refused(encoded(anonymous, False)) == ("required", "(0008,0018)")


def test_object_that_claims_more_than_it_has_reserves_nothing() -> None:
    raw = encoded(made(), False) + struct.pack("<HH2sHI", 0x0042, 0x0012, b"UT", 0, 0xFFFFFFF0)
    assert refused(raw) == ("oversize", "(0042,0012)")
    raw = encoded(made(), False) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0) + b"\0" * 5000
    assert refused(raw) == ("truncated", "(7FE0,0010)")


def test_sequences_inside_each_other_are_followed_so_deep_and_no_deeper() -> None:
    open_item = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    open_item += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    raw = encoded(made(), False) + open_item * (MAX_DEPTH + 5000)
    assert refused(raw) == ("structure", "(0040,A730)")


def test_large_binary_values_go_where_pixels_go_and_small_ones_stay() -> None:
    kept = Kept()
    one = made(
        "1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF" * 40_000, EncapsulatedDocumentLength=160_000
    )
    found = take(Stream(cut(encoded(one, False), 999)), str(ExplicitVRLittleEndian), "1.2.3.1.1", taking(kept))
    assert found.bulk == ("east-pacs/1.2.3.1.1/00420011",)
    assert kept.contents[found.bulk[0]] == b"%PDF" * 40_000
    assert "EncapsulatedDocument" not in pydicom.dcmread(BytesIO(found.content))
    small = made(PDF, EncapsulatedDocument=b"%PDF")
    found = take(Stream(cut(encoded(small, False), 999)), str(ExplicitVRLittleEndian), "1.2.3.1.1", taking(kept))
    assert found.bulk == () and pydicom.dcmread(BytesIO(found.content)).EncapsulatedDocument == b"%PDF"


def test_compressed_pixels_are_kept_as_they_came() -> None:
    kept, frames = Kept(), encapsulate([b"\1\2" * 5000, b"\3\4" * 70_000])
    one = made(Rows=2, Columns=2)
    raw = encoded(one, False) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + frames
    raw += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    found = take(Stream(cut(raw, 777)), str(RLELossless), "1.2.3.1.1", taking(kept))
    assert found.refusal is None
    assert kept.contents[found.bulk[0]] == frames + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_deflated_file_is_inflated_piece_by_piece() -> None:
    one, stream = report(), BytesIO()
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    one.save_as(stream, enforce_file_format=True)
    found = take_file(cut(stream.getvalue(), 5), "1.2.3.1.1", taking())
    plain = take(Stream(cut(encoded(report(), False), 100)), str(ExplicitVRLittleEndian), "1.2.3.1.1", taking())
    assert found.content == plain.content


def test_bytes_behind_the_end_of_a_deflated_dataset_are_left_alone() -> None:
    one, stream = made(Rows=600, Columns=600, BitsAllocated=8, PixelData=bytes(600 * 600)), BytesIO()
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    one.save_as(stream, enforce_file_format=True)
    whole = take_file(iter([stream.getvalue()]), "1.2.3.1.1", taking())
    assert take_file(iter([stream.getvalue() + b"\0" * 8]), "1.2.3.1.1", taking()) == whole
    assert whole.refusal is None and PASSED < 600 * 600


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.binary(max_size=20), max_size=20), counts=st.lists(st.integers(0, 30), max_size=10))
def test_stream_reads_what_came_whatever_its_pieces(pieces: list[bytes], counts: list[int]) -> None:
    whole, stream, at = b"".join(pieces), Stream(iter(pieces)), 0
    for count in counts:
        assert stream.peek(count) == whole[at : at + count]
        if at + count > len(whole):
            with pytest.raises(Ended):
                stream.read(count)
            return
        assert stream.read(count) == whole[at : at + count]
        at += count
    assert stream.at == at and stream.ended() == (at == len(whole))


@pytest.fixture
def large(pacs: Pacs) -> Dataset:
    """An object of 24 MB in the archive."""
    one = made(Rows=4096, Columns=3072, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
               SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelData=bytes(24 << 20))  # fmt: skip
    pacs.holdings.add([one])
    return one


def arriving(connector: Any, kept: Kept) -> tuple[int, list[tuple[str, bytes]]]:
    """Pull while memory is measured; returns its peak beyond what stood before, for the connector's side."""
    kept.keep = False
    records, _ = pulled(connector)
    return kept.largest, contents(records)


def test_large_object_arrives_in_small_pieces_both_ways_and_nothing_is_written_to_disk(
    pacs: Pacs, large: Dataset, kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for connector in (dimse(pacs, kept), dicomweb(pacs, kept)):
        largest, found = arriving(connector, kept)
        assert 0 < largest <= 256 * 1024
        assert max(len(body) for _, body in found) < 4_000
    assert list(tmp_path.iterdir()) == []


def test_reading_an_object_takes_little_memory_however_large_it_is() -> None:
    head = encoded(made(), False) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 200 << 20)
    block = bytes(64 * 1024)

    def endless() -> Iterator[bytes]:
        yield head
        for _ in range((200 << 20) // len(block)):
            yield block

    kept = Kept()
    kept.keep = False
    tracemalloc.start()
    try:
        found: Found = take(Stream(endless()), str(ExplicitVRLittleEndian), "1.2.3.1.1", taking(kept))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.refusal is None and found.bulk and peak < 4 << 20
