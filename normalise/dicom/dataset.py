"""A DICOM object read for mapping: elements by tag, texts decoded, every fault a refusal with its coordinates.

The bytes are parsed by pydicom; its values are not used where it would decode texts, because it leaves escapes in
them, warns with the value in the warning, and believes what (0008,0005) says.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import pydicom
from pydicom.config import IGNORE, settings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from normalise.dicom.charsets import Charset, choose
from normalise.errors import SetAside, set_aside

# Values that break their VR are ours to judge, element by element, and never to be printed.
settings.reading_validation_mode = IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

CHARSET: Final = 0x00080005
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
#: Most bytes that a deflated object may have when it is inflated.
_INFLATED: Final = 64 * 1024 * 1024
_TEXTS: Final = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "AT": "HH"}


def where(tag: int) -> str:
    """Return a tag the way DICOM writes it: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(slots=True)
class Item:
    """A dataset, the whole or an item of a sequence.

    Attributes:
        dataset: As pydicom parsed it.
        charset: How its texts are read.
        path: Coordinates of the item, ``(0040,A730)[2]``; ``""`` for the whole.
    """

    dataset: Dataset
    charset: Charset
    path: str = ""
    _elements: dict[int, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            self._elements = {int(tag): self.dataset.get_item(tag) for tag in self.dataset.keys()}  # noqa: SIM118
        except Exception:  # noqa: BLE001  whatever the library meets in hostile bytes
            raise _broken(self.path or "(0008,0000)") from None

    @property
    def tags(self) -> list[int]:
        """The tags of its elements."""
        return list(self._elements)

    def at(self, tag: int) -> str:
        """Return the coordinates of an element of this item."""
        return f"{self.path}/{where(tag)}" if self.path else where(tag)

    def raw(self, tag: int) -> bytes:
        """Return the undecoded value of an element, empty where there is none."""
        element = self._elements.get(tag)
        if element is None:
            return b""
        value = element.value
        if isinstance(value, bytes):
            return value
        if isinstance(element, RawDataElement) or value is None:
            return b""
        return _again(element)

    def vr(self, tag: int) -> str:
        """Return the VR of an element, from the dictionary where it came without one."""
        element = self._elements.get(tag)
        vr = str(element.VR) if element is not None and element.VR else ""
        if vr in ("", "UN"):
            try:
                vr = dictionary_VR(tag)
            except KeyError:
                vr = "UN"
        return vr

    def texts(self, tag: int) -> list[str]:
        """Return the values of an element of characters, stripped, empty ones kept in their place.

        Raises:
            SetAside: ``charset``: the bytes are no text in any permitted set.
        """
        raw = self.raw(tag).rstrip(b"\0 ")
        if not raw:
            return []
        text = self.charset.decode(raw)
        if text is None:
            raise set_aside(
                "charset", self.at(tag),
                "The bytes are neither in the declared character set nor UTF-8 nor GB 18030; correct (0008,0005).",
            )  # fmt: skip
        if self.vr(tag) in ("LT", "ST", "UT", "UR"):
            return [text.strip()]
        return [one.strip() for one in text.split("\\")]

    def text(self, tag: int) -> str:
        """Return the first value of an element of characters, or ``""``."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int) -> list[float]:
        """Return the values of an element of numbers, of whatever VR; those that are none are left out."""
        form = _NUMBERS.get(self.vr(tag).split(" or ")[0])
        raw = self.raw(tag)
        if form is None:
            return [number for one in raw.decode("latin-1").split("\\") if (number := _number(one)) is not None]
        size = struct.calcsize("<" + form)
        order = "<" if getattr(self._elements.get(tag), "is_little_endian", True) in (True, None) else ">"
        return [float(struct.unpack_from(order + form, raw, at)[0]) for at in range(0, len(raw) - size + 1, size)]

    def whole(self, tag: int) -> int | None:
        """Return the first number of an element as a whole one, or None."""
        numbers = self.numbers(tag)
        return int(numbers[0]) if numbers and abs(numbers[0]) < 2**63 and numbers[0] == int(numbers[0]) else None

    def uid(self, tag: int) -> str:
        """Return a UID, or ``""``."""
        return self.raw(tag).rstrip(b"\0 ").decode("ascii", "replace").strip().split("\\")[0]

    def items(self, tag: int) -> Iterator[Item]:
        """Yield the items of a sequence; none where the element is something else.

        Raises:
            SetAside: ``structure``: the sequence cannot be read.
        """
        if tag not in self._elements:
            return
        try:
            found = self.dataset[tag].value
        except Exception:  # noqa: BLE001  whatever the library meets in hostile bytes
            raise _broken(self.at(tag)) from None
        if not isinstance(found, pydicom.Sequence):
            return
        for number, one in enumerate(found, 1):
            path = f"{self.at(tag)}[{number}]"
            charset = _charset(one, self.charset.codec) if CHARSET in one else self.charset
            yield Item(one, charset, path)

    def first(self, tag: int) -> Item | None:
        """Return the first item of a sequence, or None."""
        return next(self.items(tag), None)


def _again(element: DataElement) -> bytes:
    """The bytes of what pydicom decoded while it parsed (only (0008,0005) and file meta)."""
    value = element.value
    many = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    return "\\".join(map(str, many)).encode("utf-8", "replace")


def _number(text: str) -> float | None:
    try:
        number = float(text.strip("\0 "))
    except ValueError:
        return None
    return number if abs(number) < 1e300 else None


def _broken(place: str) -> SetAside:
    return set_aside("structure", place, "The bytes cannot be read as DICOM elements from here on; have it sent again.")


def _charset(dataset: Dataset, fallback: str) -> Charset:
    holder = Item(dataset, Charset("ascii"))
    declared = holder.raw(CHARSET).decode("ascii", "replace")
    terms = [one.strip("\0 ") for one in declared.split("\\")] if declared.strip("\0 \\") else []
    texts = (holder.raw(tag) for tag in holder.tags if holder.vr(tag) in _TEXTS)
    return choose(terms, texts, fallback)


def read(content: bytes, fallback: str) -> Item:
    """Return the object that these bytes are, without its pixel data.

    Args:
        content: A DICOM file, or a dataset without preamble and meta information as old devices write it.
        fallback: Python codec of objects that declare no character set, or ``auto``.

    Raises:
        SetAside: ``not_dicom``, ``structure``, ``truncated`` or ``oversize``; the only error bytes can cause.
    """
    if content[128:132] != b"DICM" and not _begins(content):
        raise set_aside(
            "not_dicom", "byte 128", "Expected DICM there, or a dataset; the bytes are another kind of file."
        )
    try:
        dataset = pydicom.dcmread(BytesIO(_inflated(content)), stop_before_pixels=True, force=True)
        return Item(dataset, _charset(dataset, fallback))
    except SetAside:
        raise
    except EOFError:
        raise set_aside("truncated", "(0002,0000)", "The file ends inside an element; have it sent again.") from None
    except Exception:  # noqa: BLE001  whatever the library meets in hostile bytes
        raise _broken("(0002,0000)") from None


def _begins(content: bytes) -> bool:
    """Whether bytes without preamble begin like a dataset: group 2 or 8, a small element number."""
    if len(content) < 8:
        return False
    groups = {struct.unpack_from(order + "HH", content) for order in "<>"}
    return any(group in (0x0002, 0x0008) and number <= 0x0070 for group, number in groups)


def _inflated(content: bytes) -> bytes:
    """A deflated object as one that is not (PS3.5 A.5); the library would inflate without a limit."""
    if _DEFLATED.encode() not in content[:1024]:
        return content
    start = _meta_end(content)
    if _DEFLATED.encode() not in content[:start]:
        return content
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(content[start:], _INFLATED)
    except zlib.error:
        raise set_aside("structure", "(0002,0010)", "The dataset is not deflated as (0002,0010) says.") from None
    if inflater.unconsumed_tail:
        raise set_aside("oversize", "(0002,0010)", f"Inflated the object is larger than {_INFLATED} bytes.")
    syntax = _DEFLATED.encode()
    # One UID for another of the same even length: 22 bytes, the shorter one padded.
    head = content[:start].replace(syntax, b"1.2.840.10008.1.2.1".ljust(len(syntax), b"\0"), 1)
    return head + plain


def _meta_end(content: bytes) -> int:
    """Where the dataset begins: after the elements of group 2, which are always Explicit VR Little Endian."""
    at = 132
    while content[at : at + 2] == b"\2\0" and at + 8 <= len(content):
        long = content[at + 4 : at + 6] in (b"OB", b"UN", b"OW", b"UT", b"SQ")
        (length,) = struct.unpack_from("<I" if long else "<H", content.ljust(at + 12, b"\0"), at + (8 if long else 6))
        at += (12 if long else 8) + length
    return at
