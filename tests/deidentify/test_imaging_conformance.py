"""Must-not-survive lists, table E.1-1, other people's objects, and bytes that are no object."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import struct
from collections import Counter
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.deidentify import Profile, load_profile
from sharing.deidentify.imaging import deidentify_dicom
from sharing.deidentify.imaging_rules import rules
from sharing.errors import Malformed, Refused, SharingError
from tests.deidentify.dicom_objects import PERSON, SECRET, image, nested, read_back, written

GBT = load_profile("gbt-37964")
SCRUBBING = dataclasses.replace(GBT, classes={**GBT.classes, "text": {"do": "scrub", "why": "a test"}})
_ENCODINGS = ("utf-8", "gbk", "gb18030", "gb2312", "utf-16-le", "utf-16-be", "latin-1")
_ACTIONS = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z", "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip


def forms(value: str) -> set[bytes]:
    """A value as bytes in every encoding an object may be in, ISO 2022 IR 58's escapes included."""
    found = set()
    for encoding in _ENCODINGS:
        try:
            found.add(value.encode(encoding))
        except UnicodeError:
            continue
    with contextlib.suppress(UnicodeError):
        found.add(b"^".join(b"\x1b$)A" + part.encode("gb2312") for part in value.split("^")))
    return found


@pytest.mark.conformance
@pytest.mark.parametrize("profile", [GBT, load_profile("hipaa-safe-harbor"), SCRUBBING], ids=["gbt", "hipaa", "scrub"])
def test_nothing_of_the_must_not_survive_lists_is_left_in_any_encoding(corpora: Path, profile: Profile) -> None:
    left: Counter[str] = Counter()
    for path in sorted((corpora / "dicom" / "zh").glob("*.dcm")):
        expected = json.loads(path.with_suffix(".expected.json").read_text("utf-8"))
        try:
            data, _ = deidentify_dicom(path.read_bytes(), SECRET, PERSON, profile)
        except Refused as refused:
            assert refused.rule == "burned-in" and expected["burned_in"], path.name
            left["refused"] += 1
            continue
        left["clean"] += 1
        assert not expected["burned_in"], path.name
        survivors = [one for one in expected["must_not_survive_deid"] if any(form in data for form in forms(one))]
        assert survivors == [], path.name
        again = read_back(data)
        assert again.Modality == expected["modality"]
        assert "PixelData" not in again or len(again.PixelData) >= 512
    assert left["clean"] >= 12 and left["refused"] >= 4


@pytest.mark.conformance
def test_no_name_or_number_of_other_peoples_objects_is_left(corpora: Path) -> None:
    counts: Counter[str] = Counter()
    for folder in ("ms-anonymizer", "pydicom", "pydicom-data"):
        for path in sorted((corpora / "dicom" / folder).glob("*.dcm")):
            data = path.read_bytes()
            try:
                clean, _ = deidentify_dicom(data, SECRET, PERSON, SCRUBBING)
            except (Refused, Malformed) as error:
                counts[type(error).__name__] += 1
                continue
            counts["clean"] += 1
            for told in identities(data):
                assert told not in clean, path.name
    assert counts["clean"] >= 30


def identities(data: bytes) -> set[bytes]:
    """Names, numbers and UIDs of an object as they stand in it, of a length that nothing has by chance."""
    dataset = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=True)
    found = set()
    for tag in (
        0x00100010,
        0x00100020,
        0x00080050,
        0x00080080,
        0x00080090,
        0x00081010,
        0x00080018,
        0x0020000D,
        0x0020000E,
    ):
        element = dataset.get_item(tag) if tag in dataset else None
        value = element.value if element is not None else None
        if isinstance(value, bytes) and len(value.strip(b"\0 ")) > 5 and not value.startswith(b"Anonymized"):
            found.add(value.strip(b"\0 "))
    return found


@pytest.mark.conformance
def test_our_table_is_table_e_1_1(corpora: Path) -> None:
    theirs = json.loads((corpora / "deid" / "dicom-ps315" / "dicomfields_2024b.json").read_text("utf-8"))
    listed = {
        int(tag[0] + tag[1], 16): action for key, action in _ACTIONS.items() for tag in theirs[key] if len(tag) == 2
    }
    assert dict(rules().table) == listed and len(listed) > 600
    older = json.loads((corpora / "deid" / "dicom-ps315" / "dicomfields_2023.json").read_text("utf-8"))
    dropped = {int(tag[0] + tag[1], 16) for key in _ACTIONS for tag in older[key] if len(tag) == 2} - listed.keys()
    assert len(dropped) <= 5  # what the standard itself took out of the table since


def test_every_element_of_the_table_goes_or_changes() -> None:
    """An object that has every element of E.1-1 with the same text in it keeps that text nowhere."""
    marked = b"ZZNAMEOFSOMEBODYZZ"
    planted = []
    for tag in sorted(rules().table):
        if tag >> 16 != 2:
            planted.append(struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, len(marked)) + marked)
    meta = written(image())
    at = meta.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    body = b"".join(planted).replace(
        struct.pack("<HH2sHI", 0x0008, 0x0018, b"UN", 0, len(marked)) + marked,
        struct.pack("<HH2sHI", 0x0008, 0x0018, b"UN", 0, 8) + b"1.2.3.44",
    )
    sop = struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 26) + b"1.2.840.10008.5.1.4.1.1.2\0"
    for profile in (GBT, SCRUBBING):
        data, _ = deidentify_dicom(meta[:at] + sop + body, SECRET, PERSON, profile)
        kept = {0x0018_1030, 0x0008_1030, 0x0008_103E, 0x0040_0254, 0x0032_1060, 0x0040_0007, 0x0018_0010, 0x0008_2111,
                0x0018_1400, 0x0040_A160} if profile is SCRUBBING else set()  # fmt: skip
        assert data.count(marked) <= len(kept)


@settings(derandomize=True, max_examples=120, deadline=None)
@given(st.data())
def test_no_change_to_an_object_raises_anything_but_an_error_of_sharing(data: st.DataObject) -> None:
    whole = bytearray(written(nested(2)))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(132, len(whole) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.sampled_from([0, 0, 0, 128, 200]))
    end = data.draw(st.sampled_from([len(whole), len(whole), data.draw(st.integers(0, len(whole)))]))
    try:
        deidentify_dicom(bytes(whole[start:end]), SECRET, PERSON, SCRUBBING)
    except SharingError as error:
        assert isinstance(error, Malformed | Refused) and "P7654321" not in str(error)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_object_are_malformed(data: bytes) -> None:
    for whole in (data, b"\0" * 128 + b"DICM" + data):
        try:
            deidentify_dicom(whole, SECRET, PERSON, GBT)
        except SharingError as error:
            assert isinstance(error, Malformed | Refused)


def test_every_prefix_of_an_object_is_refused_or_ends_between_two_elements() -> None:
    whole = written(image())
    ends = set(random.Random(5).sample(range(len(whole)), 150)) | {0, 1, 127, 128, 131, 132, 133}
    for end in ends:
        try:
            clean, _ = deidentify_dicom(whole[:end], SECRET, PERSON, GBT)
        except (Malformed, Refused):
            continue
        assert b"P7654321" not in clean


def test_a_deflated_bomb_is_malformed_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    import sharing.deidentify.imaging_reading as reading

    monkeypatch.setattr(reading, "INFLATED", 1_000)
    bomb = image(PixelData=bytes(65_536), Rows=256, Columns=256)
    with pytest.raises(Malformed, match="inflated"):
        deidentify_dicom(written(bomb, "1.2.840.10008.1.2.1.99"), SECRET, PERSON, GBT)


@pytest.mark.parametrize("value", [None, "text", 5, bytearray(b"x" * 200)])
def test_what_is_no_bytes_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        deidentify_dicom(value, SECRET, PERSON, GBT)  # type: ignore[arg-type]


def test_a_secret_of_another_length_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        deidentify_dicom(written(image()), b"short", PERSON, GBT)
