"""Names in pixels: blacked out where it is known where they are, or the object refused."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.sequence import Sequence

from sharing.deidentify import load_profile
from sharing.deidentify.imaging import deidentify_dicom
from sharing.deidentify.imaging_jpeg import stripped
from sharing.errors import Malformed, Refused
from tests.deidentify.dicom_objects import PERSON, SECRET, US, image, read_back, written

GBT = load_profile("gbt-37964")


def clean(dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Dataset:
    return read_back(deidentify_dicom(written(dataset, syntax), SECRET, PERSON, GBT)[0])


def picture(rows: int, columns: int, **elements: Any) -> Dataset:
    elements = {"Rows": rows, "Columns": columns, "PixelData": b"\xff" * (rows * columns), **elements}
    return image(US, "US", **elements)


@pytest.mark.parametrize(
    "elements",
    [
        {"BurnedInAnnotation": "YES"},
        {"Modality": "US"},
        {"Modality": "XA"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6",
            "Modality": "SM",
            "ImageType": ["ORIGINAL", "PRIMARY", "LABEL"],
        },
        {"Modality": "CR", "ConversionType": "DF"},
    ],
)
def test_pixels_that_may_hold_names_are_refused_where_no_region_is_known(elements: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="burned-in"):
        clean(image(**elements))


def test_a_secondary_capture_that_says_no_and_a_plain_ct_leave_untouched() -> None:
    left = clean(image("1.2.840.10008.5.1.4.1.1.7", "OT", BurnedInAnnotation="NO"))
    assert left.PixelData == b"\xff" * 64
    assert clean(image(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])).PixelData == b"\xff" * 64


def test_segmentations_are_no_secondary_captures() -> None:
    assert clean(image("1.2.840.10008.5.1.4.1.1.66.4", "SEG")).Modality == "SEG"


def test_a_known_devices_banner_is_black_over_the_whole_width_and_the_picture_stays() -> None:
    left = clean(picture(614, 1200, Manufacturer="GE Medical", ManufacturerModelName="LOGIQE"))
    pixels = left.pixel_array
    assert not pixels[:75].any() and (pixels[75:] == 255).all()
    assert left.BurnedInAnnotation == "NO"
    assert "113101" in {one.CodeValue for one in left.DeidentificationMethodCodeSequence}


def test_a_known_device_of_another_size_is_refused() -> None:
    with pytest.raises(Refused, match="burned-in"):
        clean(picture(600, 1200, Manufacturer="GE Medical", ManufacturerModelName="LOGIQE"))


def region(left: int, top: int, right: int, bottom: int) -> Dataset:
    one = Dataset()
    one.RegionLocationMinX0, one.RegionLocationMinY0 = left, top
    one.RegionLocationMaxX1, one.RegionLocationMaxY1 = right, bottom
    return one


def test_only_the_calibrated_regions_of_an_ultrasound_stay() -> None:
    regions = Sequence([region(2, 3, 5, 6), region(7, 7, 9, 9)])
    left = clean(picture(10, 10, SequenceOfUltrasoundRegions=regions))
    expected = np.zeros((10, 10), dtype=bool)
    expected[3:7, 2:6] = expected[7:10, 7:10] = True
    assert ((left.pixel_array == 255) == expected).all()


def test_regions_of_a_picture_that_is_announced_huge_take_no_memory() -> None:
    dataset = picture(10, 10, SequenceOfUltrasoundRegions=Sequence([region(2, 3, 5, 6)]))
    dataset.Rows = dataset.Columns = 65_535
    with pytest.raises(Malformed, match="fewer"):
        clean(dataset)


@pytest.mark.parametrize("seed", range(20))
def test_overlapping_regions_in_any_order_are_what_stays(seed: int) -> None:
    drawn = random.Random(seed)
    boxes = [(drawn.randrange(12), drawn.randrange(12), drawn.randrange(12), drawn.randrange(12)) for _ in range(4)]
    expected = np.zeros((10, 10), dtype=bool)
    for left, top, right, bottom in boxes:
        expected[top : bottom + 1, left : right + 1] = True
    dataset = picture(10, 10, SequenceOfUltrasoundRegions=Sequence([region(*box) for box in boxes]))
    if 0 < expected.sum() < 98:
        assert ((clean(dataset).pixel_array == 255) == expected).all()
    else:
        with pytest.raises(Refused, match="burned-in"):
            clean(dataset)


@pytest.mark.parametrize("whole", [region(0, 0, 9, 9), region(0, 0, 4_000_000_000, 4_000_000_000)])
def test_a_region_that_is_the_whole_picture_says_nothing(whole: Dataset) -> None:
    with pytest.raises(Refused, match="burned-in"):
        clean(picture(10, 10, SequenceOfUltrasoundRegions=Sequence([whole])))


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_and_frames_are_blacked_out_together(planar: int) -> None:
    dataset = picture(
        4, 4, SamplesPerPixel=3, PlanarConfiguration=planar, PhotometricInterpretation="RGB", NumberOfFrames=2,
        PixelData=b"\xff" * 96, SequenceOfUltrasoundRegions=Sequence([region(1, 1, 2, 2)]),
    )  # fmt: skip
    pixels = clean(dataset).pixel_array
    assert pixels.shape == (2, 4, 4, 3)
    assert (pixels[:, 1:3, 1:3] == 255).all() and pixels.sum() == 2 * 4 * 3 * 255


def test_sixteen_bits_of_high_byte_first_are_blacked_out_in_their_place() -> None:
    dataset = picture(
        4, 4, BitsAllocated=16, BitsStored=16, HighBit=15, PixelData=struct.pack(">16H", *range(1, 17)),
        SequenceOfUltrasoundRegions=Sequence([region(1, 1, 2, 2)]),
    )  # fmt: skip
    pixels = clean(dataset, "1.2.840.10008.1.2.2").pixel_array
    assert pixels[1, 1] == 6 and pixels.sum() == 6 + 7 + 10 + 11


def test_an_overlay_in_unused_bits_goes() -> None:
    dataset = image(BitsAllocated=16, BitsStored=12, HighBit=11, PixelData=b"\xff" * 128)
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000102, "US", 15)
    assert (clean(dataset).pixel_array == 0x0FFF).all()


def test_a_face_that_can_be_recognised_is_refused() -> None:
    with pytest.raises(Refused, match="recognisable"):
        clean(image(RecognizableVisualFeatures="YES"))


def test_compressed_pixels_that_need_blacking_out_are_refused() -> None:
    dataset = picture(614, 1200, Manufacturer="GE", ManufacturerModelName="LOGIQE")
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xda\0\2\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    with pytest.raises(Refused, match="compressed"):
        clean(dataset, "1.2.840.10008.1.2.4.50")


def jpeg() -> bytes:
    comment, exif = b"\xff\xfe\0\x0a" + b"WANG LI ", b"\xff\xe1\0\x0a" + b"Exif\0\0WL"
    return b"\xff\xd8" + b"\xff\xe0\0\4JF" + comment + exif + b"\xff\xdb\0\4ab" + b"\xff\xda\0\2" + b"data\xff\xd9"


def test_a_compressed_picture_loses_comments_and_application_data_and_nothing_else() -> None:
    assert stripped(jpeg(), "1.2.840.10008.1.2.4.50") == (
        b"\xff\xd8" + b"\xff\xe0\0\4JF" + b"\xff\xdb\0\4ab" + b"\xff\xda\0\2" + b"data\xff\xd9"
    )
    j2k = b"\xff\x4f\xff\x51\0\4ab\xff\x64\0\x08WANGLI\xff\x90\0\2tile"
    assert stripped(j2k, "1.2.840.10008.1.2.4.90") == b"\xff\x4f\xff\x51\0\4ab\xff\x90\0\2tile"


def test_compressed_pixels_leave_compressed() -> None:
    dataset = image()
    dataset.PixelData = encapsulate([jpeg(), jpeg()])
    dataset.NumberOfFrames = 2
    dataset["PixelData"].VR = "OB"
    left = clean(dataset, "1.2.840.10008.1.2.4.50")
    assert left.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert b"WANG LI" not in left.PixelData and len(list(generate_fragments(left.PixelData))[1:]) == 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_video_and_what_is_unknown_is_refused(syntax: str) -> None:
    with pytest.raises(Refused, match="transfer-syntax"):
        stripped(b"\0\0\1\xb3", syntax)


@pytest.mark.parametrize("cut", [3, 8, 15])
def test_a_compressed_header_that_breaks_off_is_malformed(cut: int) -> None:
    with pytest.raises(Malformed):
        stripped(jpeg()[:cut], "1.2.840.10008.1.2.4.50")


def test_fewer_pixels_than_announced_are_malformed_and_more_are_cut_off() -> None:
    with pytest.raises(Malformed, match="fewer"):
        clean(image(PixelData=b"\xff" * 62))
    assert clean(image(PixelData=b"\xff" * 64 + b"NAME OF A PERSON")).PixelData == b"\xff" * 64
