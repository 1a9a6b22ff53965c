"""What a raw record is made of, in the sender's terms, and the same record without one of its parts.

A mapping reads a part if the record without it becomes something else; so coverage is found out, never declared.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol
from xml.etree import ElementTree

import orjson

from normalise.errors import SetAside

#: Values of one path in one record, and characters of one value, that are looked at.
_VALUES: Final = 50
_CHARACTERS: Final = 200

Fields = dict[str, list[str]]


class Anatomy(Protocol):
    """How one kind of record is taken apart."""

    def fields(self, content: bytes) -> Fields:
        """Return the values of each filled part; ``{}`` where the bytes are not of this kind."""

    def without(self, content: bytes, path: str | None) -> bytes:
        """Return the record, written anew, without the part; with all of it where ``path`` is None."""


def anatomy(media: str, charset: str = "auto") -> Anatomy | None:
    """Return how records of a medium are taken apart, or None where they have no parts with names (FIT)."""
    makers: dict[str, Callable[[], Anatomy]] = {
        "hl7v2": lambda: Hl7(charset),
        "cda": Xml,
        "dicom": Dicom,
        **dict.fromkeys(("row", "fhir", "omh", "wearable-api"), Json),
    }
    return makers[media]() if media in makers else None


class Hl7:
    """HL7 v2 by field: ``PID-5``."""

    def __init__(self, charset: str) -> None:
        self._charset = charset

    def fields(self, content: bytes) -> Fields:
        """Return the values of each filled field; what says how the message is written is left out."""
        found: Fields = {}
        for segment in self._segments(content):
            for number, value in enumerate(segment[1:], 1):
                if value:
                    _add(found, f"{segment[0]}-{number}", value)
        return {path: values for path, values in found.items() if path not in ("MSH-1", "MSH-2", "MSH-18")}

    def without(self, content: bytes, path: str | None) -> bytes:
        """Return the message in UTF-8 without a field, wherever it stands."""
        segments = self._segments(content)
        id_, _, number = (path or "").partition("-")
        lines = []
        for segment in segments:
            cells = list(segment)
            if cells[0] == id_ and int(number) < len(cells):
                cells[int(number)] = ""
            if cells[0] == "MSH":
                cells += [""] * (19 - len(cells))
                cells[18] = "UNICODE UTF-8"
                cells[:2] = ["MSH"]
            lines.append(segments[0][1].join(cells))
        return "".join(f"{line}\r" for line in lines).encode()

    def _segments(self, content: bytes) -> list[list[str]]:
        """Return the message's segments as lists of fields, ``MSH`` with its separator as field 1."""
        from normalise.hl7v2.charsets import decode

        try:
            text, _ = decode(content, self._charset)
        except SetAside:
            return []
        if not text.startswith("MSH") or len(text) < 9:
            return []
        separator = text[3]
        lines = [line.split(separator) for line in re.split(r"[\r\n]+", text) if line.strip()]
        for line in lines:
            if line[0] == "MSH":
                line.insert(1, separator)
        return lines


class Json:
    """JSON by path, arrays without their numbers: ``body.heart_rate.value``."""

    def fields(self, content: bytes) -> Fields:
        """Return the plain values at each path."""
        found: Fields = {}
        for path, value in _json_walk(_json(content), ""):
            _add(found, path, "" if value is None else str(value))
        return found

    def without(self, content: bytes, path: str | None) -> bytes:
        """Return the document without a path, wherever it stands."""
        value = _json(content)
        if path is not None:
            _json_drop(value, path.split("."))
        return orjson.dumps(value)


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _json_walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _json_walk(one, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for one in value:
            yield from _json_walk(one, path)
    elif path and value is not None:
        yield path, value


def _json_drop(value: Any, keys: list[str]) -> None:
    if isinstance(value, list):
        for one in value:
            _json_drop(one, keys)
    elif isinstance(value, dict) and keys[0] in value:
        if len(keys) == 1:
            del value[keys[0]]
        else:
            _json_drop(value[keys[0]], keys[1:])


class Xml:
    """XML by path of element names, attributes with ``@``: ``ClinicalDocument/recordTarget/patientRole/id@root``."""

    def fields(self, content: bytes) -> Fields:
        """Return the text and the attributes of each element; ``{}`` for what declares entities."""
        found: Fields = {}
        for path, element in _xml_walk(_xml(content)):
            if element.text and element.text.strip():
                _add(found, path, element.text.strip())
            for name, value in element.attrib.items():
                _add(found, f"{path}@{_local(name)}", value)
        return found

    def without(self, content: bytes, path: str | None) -> bytes:
        """Return the document without a text or an attribute, wherever it stands."""
        root = _xml(content)
        if root is None:
            return content
        where, _, attribute = (path or "").partition("@")
        for place, element in _xml_walk(root):
            if place != where:
                continue
            if attribute:
                for name in [one for one in element.attrib if _local(one) == attribute]:
                    del element.attrib[name]
            else:
                element.text = None
        written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        return written


def _xml(content: bytes) -> ElementTree.Element | None:
    if b"<!DOCTYPE" in content[:4096] or b"<!ENTITY" in content:
        return None
    try:
        return ElementTree.fromstring(content)  # noqa: S314  (what declares entities was turned away above)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _xml_walk(element: ElementTree.Element | None, parent: str = "") -> Iterator[tuple[str, ElementTree.Element]]:
    if element is None or not isinstance(element.tag, str):
        return
    path = f"{parent}/{_local(element.tag)}" if parent else _local(element.tag)
    yield path, element
    for child in element:
        yield from _xml_walk(child, path)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


class Dicom:
    """DICOM by tag: ``(0010,0020)``."""

    def fields(self, content: bytes) -> Fields:
        """Return the value of each element of the dataset that has one."""
        found: Fields = {}
        for element in _dicom(content):
            if element.VR not in ("OB", "OW", "OF", "OD", "UN") and element.value not in (None, ""):
                _add(found, _tag(element), "a sequence" if element.VR == "SQ" else str(element.value))
        return found

    def without(self, content: bytes, path: str | None) -> bytes:
        """Return the file without an element."""
        from pydicom.dataset import Dataset

        dataset = _dicom(content)
        if not isinstance(dataset, Dataset):
            return content
        for element in [one for one in dataset if _tag(one) == path]:
            del dataset[element.tag]
        stream = io.BytesIO()
        dataset.save_as(stream)
        return stream.getvalue()


def _dicom(content: bytes) -> Any:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(io.BytesIO(content), stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return ()


def _tag(element: Any) -> str:
    return f"({element.tag.group:04X},{element.tag.element:04X})"


def _add(found: Fields, path: str, value: str) -> None:
    values = found.setdefault(path, [])
    if len(values) < _VALUES:
        values.append(value[:_CHARACTERS])
