"""What an archive answers to a query, over DIMSE or HTTP, as undecoded values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from connectors.pacs.studies import CHARSET, Answer, Value

#: Values longer than this are no answer to anything asked for here, bytes.
_LONGEST: Final = 64 * 1024


def query(level: str, keys: Sequence[int], wanted: Mapping[int, str | Sequence[str]], charset: str = "") -> Dataset:
    """Return the identifier of a query (PS3.4 C.2.2.2).

    Args:
        level: STUDY, SERIES or IMAGE.
        keys: What is to be returned.
        wanted: What must match.
        charset: Character set that answers are wished in; some archives lose what theirs cannot write.
    """
    dataset = Dataset()
    if charset:
        dataset.add(_element(CHARSET, charset))
    dataset.add(_element(0x00080052, level))
    for tag in keys:
        dataset.add(_element(tag, ""))
    for tag, value in wanted.items():
        dataset.add(_element(tag, value))
    return dataset


def _element(tag: int, value: str | Sequence[str]) -> DataElement:
    text = value if isinstance(value, str) else list(value)
    return DataElement(Tag(tag), dictionary_VR(tag), text, validation_mode=IGNORE)


def answer(dataset: Dataset, keys: Sequence[int]) -> Answer:
    """Return the values of an identifier that came, undecoded, and its character set."""
    values: dict[int, Value] = {}
    for tag in (CHARSET, *keys):
        if tag not in dataset:
            continue
        element = dataset.get_item(tag)
        value = element.value
        if not isinstance(element, RawDataElement):  # one the library looked at: a code or UID of ASCII characters
            value = str(value).encode() if isinstance(value, str) else "\\".join(map(str, value or ())).encode()
        if value and len(value) <= _LONGEST:
            values[tag] = (dictionary_VR(tag), value)
    return Answer(values)


def json_answer(found: Mapping[str, Any], keys: Sequence[int]) -> Answer:
    """Return the values of one object of a QIDO-RS answer (PS3.18 annex F), encoded in UTF-8."""
    values: dict[int, Value] = {CHARSET: ("CS", b"ISO_IR 192")}
    for tag in keys:
        attribute = found.get(f"{tag:08X}")
        given = attribute.get("Value") if isinstance(attribute, dict) else None
        if not isinstance(given, list):
            continue
        value = "\\".join(_text(one) for one in given).encode("utf-8", "replace")
        if value and len(value) <= _LONGEST:
            values[tag] = (dictionary_VR(tag), value)
    return Answer(values)


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a person's name: up to three component groups
        groups = (value.get(one) for one in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(one if isinstance(one, str) else "" for one in groups).rstrip("=")
    return "" if value is None else str(value)
