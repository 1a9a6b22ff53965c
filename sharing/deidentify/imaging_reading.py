"""Bytes to a dataset of undecoded elements, with bounds on everything that hostile bytes could make endless.

pydicom parses; it is kept from decoding values, since its errors, warnings and logs would show them.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import pydicom
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from sharing.errors import Malformed

#: Bytes of a deflated dataset when it is inflated; a bomb of 1 MB would be 1 GB.
INFLATED: Final = 512 * 1024 * 1024
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_EXPLICIT: Final = b"1.2.840.10008.1.2.1".ljust(len(_DEFLATED), b"\0")
_UNDEFINED: Final = 0xFFFFFFFF
_PACKED: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its messages quote values


@contextmanager
def quiet() -> Iterator[None]:
    """Whatever pydicom meets within becomes Malformed, with nothing of its message; nothing is warned about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Malformed:
            raise
        except Exception:  # noqa: BLE001  whatever the library meets in hostile bytes
            raise Malformed("expected DICOM elements (PS3.5 section 7); the bytes cannot be read as such") from None


class _Whole(BytesIO):
    """Bytes that remember whether somebody wanted more of them than there were; pydicom passes over that in silence."""

    broken_off = False

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.broken_off |= size is not None and 0 < len(found) < size
        return found


def read(data: bytes) -> Dataset:
    """Return the object that these bytes are.

    Args:
        data: A DICOM file (PS3.10), or a dataset without preamble and meta information as old devices write it.

    Raises:
        Malformed: They are something else, broken off, or longer inflated than ``INFLATED``.
    """
    if not isinstance(data, bytes):
        raise Malformed(f"expected the bytes of a DICOM object, got {type(data).__name__}")
    if data[128:132] != b"DICM" and not _begins(data):
        raise Malformed("expected DICM at byte 128, or a dataset; the bytes are another kind of file")
    with quiet():
        source = _Whole(_inflated(data))
        dataset = pydicom.dcmread(source, force=True)
        if source.broken_off:
            raise Malformed("expected whole elements; the object ends within one")
        if not len(dataset):
            raise Malformed("expected a dataset behind the file meta information; there is none")
        return dataset


def raw(dataset: Dataset, tag: int) -> bytes:
    """Return the undecoded value of an element, empty where there is none or it is a sequence.

    Raises:
        Malformed: The object ends within it.
    """
    try:
        element: Any = dataset.get_item(tag) if tag in dataset else None
        if element is None or element.value is None:
            return b""
        if not isinstance(element, RawDataElement):
            return element.value if isinstance(element.value, bytes) else b"" if element.VR == "SQ" else _again(element)
        value = bytes(element.value or b"")
    except Exception:  # noqa: BLE001  as in `quiet`, which costs more than the reading and is not needed for raw values
        raise Malformed("expected DICOM elements (PS3.5 section 7); the bytes cannot be read as such") from None
    if element.length not in (_UNDEFINED, len(value)):
        raise Malformed("expected as many bytes as an element announces; the object ends within one")
    return value


def _again(element: Any) -> bytes:
    """The bytes of what pydicom decodes on its own account: character sets, meta information, PixelRepresentation."""
    single = isinstance(element.value, str | int) or not hasattr(element.value, "__iter__")
    many = [element.value] if single else list(element.value)
    if element.VR in _PACKED:
        return struct.pack(f"<{len(many)}{_PACKED[element.VR]}", *many)
    return "\\".join(map(str, many)).encode("utf-8", "replace")


def items(dataset: Dataset, tag: int) -> list[Dataset] | None:
    """Return the items of a sequence; None where the element is none."""
    with quiet():
        value = dataset[tag].value
        return list(value) if isinstance(value, pydicom.Sequence) else None


def counted(tag: int, width: int, length: int) -> bool:
    """Say whether as many numbers came as the dictionary wants; a text in their place mostly has another length."""
    wanted = dictionary_VM(tag)
    return length % width == 0 and (not wanted.isdigit() or length in (0, int(wanted) * width))


def as_declared(dataset: Dataset, tag: int, vr: str) -> bool:
    """Say whether the sender, where he says so, takes an element for what the dictionary does."""
    given = dataset.get_item(tag).VR
    return given in (None, "UN", vr) or str(given) in str(dictionary_VR(tag)).split(" or ")


def little_endian(dataset: Dataset, tag: int) -> bool:
    """Say whether an element's numbers came low byte first."""
    return getattr(dataset.get_item(tag), "is_little_endian", True) is not False


def vr_of(dataset: Dataset, tag: int) -> str | None:
    """Return the VR of an element of the standard, by its dictionary; None for elements it does not know.

    The sender's own VR decides only between those that the dictionary leaves open.
    """
    try:
        known = str(dictionary_VR(tag))
    except KeyError:
        return None
    if " or " not in known:
        return known
    choices = known.split(" or ")
    given = str(dataset.get_item(tag).VR or "")
    if given in choices:
        return given
    if "OW" in choices:
        return "OW"
    return "SS" if "SS" in choices and number(dataset, 0x00280103) == 1 else choices[0]


def name_of(tag: int) -> str:
    """Return an element's place in reports: its keyword, or its group where it has none."""
    return keyword_for_tag(tag) or f"({tag >> 16:04X},xxxx)"


def text(dataset: Dataset, tag: int) -> str:
    """Return an element of ASCII characters, for decisions only."""
    return raw(dataset, tag).decode("ascii", "replace").strip("\0 ")


def number(dataset: Dataset, tag: int) -> int | None:
    """Return the first number of an element of US, SS, UL or IS; None where there is none."""
    value = raw(dataset, tag)
    vr = vr_of(dataset, tag) if tag != 0x00280103 else "US"
    if vr in ("US", "SS", "UL"):
        form = _PACKED[vr]
        if len(value) < struct.calcsize(form):
            return None
        return int(struct.unpack_from(("<" if little_endian(dataset, tag) else ">") + form, value)[0])
    first = value.split(b"\\")[0].strip(b"\0 ")
    return int(first) if first.isdigit() and len(first) < 10 else None


def _begins(data: bytes) -> bool:
    """Whether bytes without preamble begin like a dataset: group 2 or 8, a small element number."""
    if len(data) < 8:
        return False
    found = (struct.unpack_from(order + "HH", data) for order in "<>")
    return any(group in (0x0002, 0x0008) and element <= 0x0070 for group, element in found)


def _inflated(data: bytes) -> bytes:
    """A deflated object as one that is not (PS3.5 A.5); the library would inflate without a limit."""
    start = _meta_end(data)
    if _DEFLATED not in data[:start]:
        return data
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data[start:], INFLATED)
    if inflater.unconsumed_tail:
        raise Malformed(f"expected at most {INFLATED} bytes of inflated dataset; there are more")
    return data[:start].replace(_DEFLATED, _EXPLICIT, 1) + plain


def _meta_end(data: bytes) -> int:
    """Where the dataset begins: after the elements of group 2, which are always Explicit VR Little Endian."""
    at = 132
    while data[at : at + 2] == b"\2\0" and at + 12 <= len(data):
        long = data[at + 4 : at + 6] in (b"OB", b"UN", b"OW", b"UT", b"SQ")
        at += 12 + struct.unpack_from("<I", data, at + 8)[0] if long else 8 + struct.unpack_from("<H", data, at + 6)[0]
    return at
