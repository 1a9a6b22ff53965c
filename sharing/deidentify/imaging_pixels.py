"""Pixels without names in them: known regions blacked out, or the object refused (PS3.15 E.3.1, Clean Pixel Data).

A region is known by the device (``devices.yaml``), or because an ultrasound object says where its picture is. Nothing
here decompresses: where compressed pixels would have to be blacked out, the object is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from sharing.deidentify.imaging_jpeg import stripped
from sharing.deidentify.imaging_reading import items, little_endian, name_of, number, raw, text, vr_of
from sharing.deidentify.imaging_rules import devices, rules
from sharing.deidentify.imaging_writing import element, encapsulated, swapped
from sharing.deidentify.report import Report
from sharing.errors import Malformed, Refused

PIXELS: Final = 0x7FE00010
#: Float Pixel Data, Double Float Pixel Data and Pixel Data.
ALL_PIXELS: Final = (0x7FE00008, 0x7FE00009, PIXELS)
_NATIVE: Final = frozenset(
    ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
)
EXPLICIT: Final = "1.2.840.10008.1.2.1"
_REGIONS: Final = 0x00186011
_CORNERS: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)
_BANNER: Final = 512
#: A picture that is all region has no margin where names would be.
_WHOLE: Final = 0.98

#: An object of more calibrated regions keeps the first ones.
_MOST_REGIONS: Final = 64

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Pixels:
    """What leaves of an object's pixels.

    Attributes:
        encoded: The element, or nothing.
        syntax: Transfer syntax of the file it goes into.
        cleaned: Whether something was blacked out.
    """

    encoded: bytes
    syntax: str
    cleaned: bool


@dataclass(frozen=True, slots=True)
class _Shape:
    frames: int
    rows: int
    columns: int
    samples: int
    bits: int
    planar: bool

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return (self.frames * self.rows * self.columns * self.samples * self.bits + 7) // 8


def clean(dataset: Dataset, syntax: str, report: Report) -> Pixels:
    """Return an object's pixels without names burned into them.

    Args:
        dataset: The object.
        syntax: Its transfer syntax.
        report: Counts what was done.

    Raises:
        Refused: They may have names in them, and where is not known, or they are compressed; or faces can be seen.
        Malformed: There are fewer than rows, columns and frames say.
    """
    present = [tag for tag in ALL_PIXELS if tag in dataset]
    native = syntax in _NATIVE
    if not present:
        return Pixels(b"", EXPLICIT if native else syntax, False)
    if text(dataset, 0x00280302) == "YES":
        raise Refused("recognisable", "expected RecognizableVisualFeatures other than YES; a face would leave")
    shape = _shape(dataset)
    black = _black(dataset, shape)
    if not native:
        if black or _embedded(dataset):
            raise Refused(
                "compressed", "expected pixels in a native transfer syntax where regions are blacked out; decompress it"
            )
        return Pixels(_compressed(dataset, syntax, report), syntax, False)
    return Pixels(_native(dataset, present[-1], shape, black, report), EXPLICIT, bool(black))


def _native(dataset: Dataset, tag: int, shape: _Shape, black: list[Box], report: Report) -> bytes:
    vr = vr_of(dataset, tag) or "OW"
    value = raw(dataset, tag)
    if not little_endian(dataset, tag):
        value = swapped("OW" if shape.bits > 8 else "OB", value)
    size = shape.size * 2 // 3 if text(dataset, 0x00280004).startswith("YBR_FULL_422") else shape.size
    if len(value) < size:
        raise Malformed("expected as many pixels as rows, columns, samples and frames say; there are fewer")
    if len(value) > size + size % 2:
        report.note(name_of(tag), "trailing-bytes")
    value = value[:size]
    if black or _embedded(dataset):
        value = _blacked(dataset, bytearray(value), shape, black)
        report.note(name_of(tag), "blacked-out", max(1, len(black)))
    return element(tag, "OW" if tag == PIXELS and shape.bits > 8 else "OB" if tag == PIXELS else vr, value)


def _blacked(dataset: Dataset, value: bytearray, shape: _Shape, black: list[Box]) -> bytes:
    photometric = text(dataset, 0x00280004)
    if shape.bits not in (8, 16, 32) or photometric.startswith(("YBR_FULL_422", "YBR_PARTIAL")):
        raise Refused(
            "layout", "expected 8, 16 or 32 bits a sample and no subsampled colours where regions are blacked out"
        )
    flat: np.ndarray[Any, Any] = np.frombuffer(value, dtype=f"<u{shape.bits // 8}")
    order = (0, 2, 3, 1) if shape.planar else (0, 1, 2, 3)
    sizes = (shape.samples, shape.rows, shape.columns) if shape.planar else (shape.rows, shape.columns, shape.samples)
    pixels = flat.reshape(shape.frames, *sizes).transpose(order)
    for left, top, right, bottom in black:
        pixels[:, top:bottom, left:right, :] = 0
        if photometric == "YBR_FULL":
            pixels[:, top:bottom, left:right, 1:] = 1 << (shape.bits - 1)
    if _embedded(dataset):  # graphics in bits that the picture does not use
        stored, high = number(dataset, 0x00280101) or shape.bits, number(dataset, 0x00280102)
        low = max(0, (shape.bits - 1 if high is None else high) - stored + 1)
        flat &= ((1 << min(stored, shape.bits)) - 1) << low
    return bytes(value)


def _shape(dataset: Dataset) -> _Shape:
    frames = number(dataset, 0x00280008) or 1
    rows, columns = number(dataset, 0x00280010) or 0, number(dataset, 0x00280011) or 0
    bits = number(dataset, 0x00280100) or (32 if 0x7FE00008 in dataset else 64 if 0x7FE00009 in dataset else 0)
    samples = number(dataset, 0x00280002) or 1
    if min(frames, rows, columns, bits, samples) < 1 or bits > 64 or samples > 4:
        raise Malformed("expected rows, columns, bits and samples of the pixels")
    return _Shape(frames, rows, columns, samples, bits, samples > 1 and number(dataset, 0x00280006) == 1)


def _black(dataset: Dataset, shape: _Shape) -> list[Box]:
    """The rectangles to black out; an object that has names in it, and none known, is refused."""
    said = text(dataset, 0x00280301).upper()
    if said == "NO":
        return []
    black = [*_by_device(dataset, shape), *_around_regions(dataset, shape)]
    if not black and (said == "YES" or _suspect(dataset)):
        raise Refused(
            "burned-in",
            "expected pixels without names: BurnedInAnnotation is not NO, and no rule knows where this device writes; "
            "add its regions to schemas/deidentify/imaging/devices.yaml, or set the element to NO after looking",
        )
    return black


def _suspect(dataset: Dataset) -> bool:
    """Whether names may be in the pixels of an object that does not say so."""
    of = rules().pixels
    kinds = {one.strip() for one in text(dataset, 0x00080008).upper().split("\\")}
    modality, sop_class = text(dataset, 0x00080060).upper(), text(dataset, 0x00080016)
    return (
        modality in of["modalities"]
        or any(f"{sop_class}.".startswith(f"{one}.") for one in of["classes"])
        or bool(kinds & of["image_types"])
        or (modality in of["secondary"] and "SECONDARY" in kinds)
        or text(dataset, 0x00080064).upper() in of["conversions"]
    )


def _by_device(dataset: Dataset, shape: _Shape) -> Iterator[Box]:
    values: dict[str, str] = {}
    for device in devices():
        if all(any(_holds(dataset, test, values) for test in tests) for tests in device["when"]):
            for left, top, width, height in device["black"]:
                right = shape.columns if left == 0 and width >= _BANNER else left + width
                box = (left, top, min(right, shape.columns), min(top + height, shape.rows))
                if box[0] < box[2] and box[1] < box[3]:
                    yield box


def _holds(dataset: Dataset, test: dict[str, str], values: dict[str, str]) -> bool:
    """Whether an element has what a device's rule wants of it; ``values`` remembers those already read."""
    name = test["element"]
    if name not in values:
        values[name] = _value(dataset, name).lower()
    if "equals" in test:
        return values[name] in test["equals"].lower().split("|")
    parts = (part.split("|") for part in re.split(r"\+(?=[A-Z])", test["contains"]))
    return all(any(one.strip().lower() in values[name] for one in part) for part in parts)


def _value(dataset: Dataset, name: str) -> str:
    tag = tag_for_keyword(name)
    if tag is None:
        return ""
    holder = dataset.file_meta if tag >> 16 == 2 and hasattr(dataset, "file_meta") else dataset
    return str(number(holder, tag) or "") if vr_of(holder, tag) == "US" else text(holder, tag)


def _around_regions(dataset: Dataset, shape: _Shape) -> list[Box]:
    """Everything outside the pictures that an ultrasound object calibrates (PS3.3 C.8.5.5), as rectangles."""
    inside = []
    for region in (items(dataset, _REGIONS) or []) if _REGIONS in dataset else []:
        corners = [number(region, tag) for tag in _CORNERS]
        if None in corners:
            return []
        left, top, right, bottom = (max(0, one) for one in corners if one is not None)
        if left <= right and top <= bottom:
            inside.append((left, top, min(right + 1, shape.columns), min(bottom + 1, shape.rows)))
    outside = list(_outside(inside[:_MOST_REGIONS], shape))
    share = sum((right - left) * (bottom - top) for left, top, right, bottom in outside) / (shape.rows * shape.columns)
    return outside if 1 - _WHOLE <= share < 1 else []


def _outside(inside: list[Box], shape: _Shape) -> Iterator[Box]:
    """Rectangles that cover what no region does: between two edges of regions, all rows are alike."""
    edges = sorted({0, shape.rows, *(edge for box in inside for edge in (box[1], box[3]) if edge < shape.rows)})
    for top, bottom in pairwise(edges):
        at = 0
        for left, right in sorted(
            (min(box[0], box[2]), box[2]) for box in inside if box[1] <= top and bottom <= box[3]
        ):
            if left > at:
                yield at, top, left, bottom
            at = max(at, right)
        if at < shape.columns:
            yield at, top, shape.columns, bottom


def _embedded(dataset: Dataset) -> bool:
    """Whether an overlay lies in unused bits of the pixels, as it did before 2004 (PS3.3 C.9.2)."""
    groups = range(0x6000, 0x6020, 2)
    return any((group << 16 | 0x0010) in dataset and (group << 16 | 0x3000) not in dataset for group in groups)


def _compressed(dataset: Dataset, syntax: str, report: Report) -> bytes:
    """Encapsulated pixels, without what compressed files say of who made them."""
    fragments = _fragments(raw(dataset, PIXELS))
    cleaned = [stripped(one, syntax) for one in fragments]
    changed = sum(a != b for a, b in zip(fragments, cleaned, strict=True))
    if changed:
        report.note(name_of(PIXELS), "codestream-comments", changed)
    return encapsulated(PIXELS, cleaned)


def _fragments(value: bytes) -> list[bytes]:
    """The fragments behind the offset table (PS3.5 A.4)."""
    found, at = [], 0
    while at + 8 <= len(value):
        group, number_, length = struct.unpack_from("<HHI", value, at)
        if (group, number_) == (0xFFFE, 0xE0DD):
            break
        if (group, number_) != (0xFFFE, 0xE000) or at + 8 + length > len(value):
            raise Malformed("expected items of encapsulated pixels (PS3.5 A.4); the bytes are none")
        found.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    if len(found) < 2:
        raise Malformed("expected an offset table and a fragment of encapsulated pixels")
    return found[1:]
