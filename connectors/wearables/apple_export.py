"""An Apple Health export as small records: one for each kind of sample and day, read as a stream from inside the zip.

The main XML of an export is gigabytes. It is decompressed piece by piece and read by a pull parser; nothing is written
to disk. Its DOCTYPE is cut out before the parser sees it, and refused where it declares an entity. Each element is
written anew in a fixed form, without what changes from export to export (the export's date, addresses of objects in
the phone's memory), so that a day that was exported before lands once.

A record is an XML document of its own: ``HealthData`` with ``Me`` and the samples. Blood pressure is kept together with
its two values. The recordings of the ECG (``electrocardiograms/*.csv``) are records as they stand. Routes are left out:
they say where somebody lives.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, Final
from xml.parsers import expat
from xml.sax.saxutils import escape

from connectors.contract import HEAD_BYTES
from connectors.wearables.pieces import Gathering, Key
from schemas.records import Refusal

_CHUNK: Final = 256 * 1024
#: Where the head of an XML must be over, bytes.
_HEAD: Final = 256 * 1024
_DEPTH: Final = 16
#: Compressed XML grows some thirty times; what grows more than this, beyond the first bytes, is made to harm.
_GROWTH: Final = 400
_FREE_BYTES: Final = 64 * 1024 * 1024
#: Bytes of a zip's directory, at most: an export has some thousand entries.
_DIRECTORY_BYTES: Final = 32 * 1024 * 1024
#: Samples of one record, at most.
_SAMPLES: Final = 5_000
_DOCTYPE: Final = re.compile(rb"<!DOCTYPE\b(?:[^\[>\"']|\"[^\"]*\"|'[^']*')*(?:\[(.*?)\]\s*)?>", re.DOTALL)
_ENTITY: Final = re.compile(rb"<!ENTITY|%[A-Za-z_]", re.ASCII)
_SPECIAL: Final = re.compile('[&<>"\n\r\t]')
_ESCAPES: Final = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_ADDRESS: Final = re.compile(r"0x[0-9a-f]+")
_WORD: Final = re.compile(r"[^A-Za-z0-9]+")
_PREFIX: Final = re.compile(r"HK(?:Quantity|Category|Correlation|Data)Type(?:Identifier)?")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_PRESSURES: Final = frozenset({"BloodPressureSystolic", "BloodPressureDiastolic"})
#: Elements inside others that are left out: the points of a route.
_LEFT_OUT: Final = frozenset({"WorkoutRoute", "Location"})


@dataclass(frozen=True, slots=True)
class Piece:
    """One record of an export, or why a part of it is none.

    Attributes:
        content: The record.
        label: Which it is: kind of sample and number, no day.
        refusal: Why it is no record.
    """

    content: bytes
    label: str
    refusal: Refusal | None = None


def pieces(stream: IO[bytes], limit: int) -> Iterator[Piece]:
    """Yield the records of an export, zip or XML; what is broken ends it with a refusal after what was whole.

    Args:
        stream: The file, at its start, seekable.
        limit: Bytes of a record, at most.
    """
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        yield from _zipped(stream, limit)
    else:
        yield from _xml(stream, limit)


def _refused(code: str, where: str, message: str, head: bytes = b"") -> Piece:
    return Piece(head[:HEAD_BYTES], where, Refusal(code, where, message))


def _zipped(stream: IO[bytes], limit: int) -> Iterator[Piece]:
    if _directory_bytes(stream) > _DIRECTORY_BYTES:
        yield _refused("oversize", "zip", "the zip's directory is larger than any export's; export the data again")
        return
    try:
        with zipfile.ZipFile(stream) as archive:
            yield from _entries(archive, limit)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError, EOFError, struct.error):
        yield _refused("truncated", "zip", "expected a whole zip without a password; export or copy it again")


def _entries(archive: zipfile.ZipFile, limit: int) -> Iterator[Piece]:
    found = False
    for number, entry in enumerate(archive.infolist(), 1):
        name = entry.filename
        if name.endswith(".xml") and not name.endswith("_cda.xml"):
            with archive.open(entry) as packed:
                head = packed.read(_HEAD)
                if b"<HealthData" not in head:
                    continue
                found = True
                grown = _Bounded(head, packed, max(_FREE_BYTES, entry.compress_size * _GROWTH))
                yield from _xml(grown, limit)
        elif name.endswith(".csv") and "/electrocardiograms/" in f"/{name}":
            with archive.open(entry) as packed:
                content = packed.read(limit + 1)
            if len(content) > limit:
                message = f"expected an ECG of at most {limit} bytes (record_bytes of the source)"
                yield _refused("oversize", f"entry {number}", message, content)
            else:
                yield Piece(content, f"ECG {number}")
    if not found:
        yield _refused("structure", "zip", "expected the export's XML in the zip, it holds none")


class _Bounded(io.RawIOBase):
    """What a zip entry unpacks to, up to a limit."""

    def __init__(self, head: bytes, packed: IO[bytes], most: int) -> None:
        self._head = head
        self._packed = packed
        self._left = most

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            _Grown: It unpacks to more than any export does.
        """
        data, self._head = (self._head, b"") if self._head else (self._packed.read(size), b"")
        self._left -= len(data)
        if self._left < 0:
            raise _Grown
        return data


class _Grown(Exception):
    """A zip entry unpacks to more than any export does."""


class _Unsafe(Exception):
    """The XML tries what no export does; the message says what."""


def _directory_bytes(stream: IO[bytes]) -> int:
    """Return the size of a zip's directory as its end says it (APPNOTE 4.3.16, 4.3.14), before anything reads it."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 65_557))
    tail = stream.read(65_557)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return 0  # no zip; zipfile says so
    (found,) = struct.unpack_from("<I", tail, at + 12)
    if found == 0xFFFFFFFF and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        (offset,) = struct.unpack_from("<Q", tail, at - 12)
        stream.seek(min(offset, size))
        record = stream.read(56)
        found = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else 0
    stream.seek(0)
    return int(found)


def _xml(stream: Any, limit: int) -> Iterator[Piece]:
    splitter = _Splitter(limit)
    try:
        data = _without_doctype(stream)
        while data:
            yield from splitter.feed(data)
            data = stream.read(_CHUNK)
        yield from splitter.feed(b"", last=True)
    except expat.ExpatError as error:
        code = "truncated" if splitter.begun and not data else "not_xml"
        message = "the XML ends or breaks here; what stands before it was taken, export the data again"
        refusal = _refused(code, f"line {error.lineno}", message)
        yield from splitter.rest()
        yield refusal
        return
    except _Unsafe as error:
        yield _refused("unsafe_xml", "DOCTYPE", str(error))
        return
    except _Grown:
        yield from splitter.rest()
        yield _refused("oversize", "zip", "the XML unpacks to far more than an export does; export the data again")
        return
    except (ValueError, LookupError):
        yield _refused("charset", "line 1", "expected XML in UTF-8; its declaration names another codec")
        return
    yield from splitter.rest()


def _without_doctype(stream: Any) -> bytes:
    """Return the first bytes of the XML without its DOCTYPE."""
    head = b""
    while len(head) < _HEAD and (data := stream.read(_HEAD - len(head))):
        head += data
        if b"<HealthData " in head or b"<HealthData>" in head:
            break
    begins = head.find(b"<!DOCTYPE")
    if begins < 0:
        return head
    match = _DOCTYPE.match(head, begins)
    if match is None or _ENTITY.search(match[0]):
        raise _Unsafe("expected a DOCTYPE that declares no entity; export the data again")
    return head[:begins] + head[match.end() :]


class _Splitter:
    """Takes XML in, gives records out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gathering = Gathering()
        self._out: list[Piece] = []
        self._depth = self._skip = 0
        self._size = 0
        self._line: list[str] = []
        self._key: Key = ("", "")
        self._root = "<HealthData>"
        self._me = ""
        self._numbers: dict[str, int] = {}
        self.begun = False
        self._parser = expat.ParserCreate("utf-8")
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, data: bytes, last: bool = False) -> Iterator[Piece]:
        """Take bytes in; yield the records that had to make room."""
        self._parser.Parse(data, last)
        given, self._out = self._out, []
        yield from given

    def rest(self) -> Iterator[Piece]:
        """Yield what is gathered still."""
        given, self._out = self._out, []
        yield from given
        for key, lines in self._gathering.rest():
            yield from self._records(key, lines)

    def _doctype(self, *_: Any) -> None:
        raise _Unsafe("expected no DOCTYPE after the document's head")

    def _start(self, tag: str, attributes: list[str]) -> None:
        self._depth += 1
        if self._depth == 1:
            self._begin(tag, attributes)
            return
        if self._depth > _DEPTH:
            raise _Unsafe(f"expected at most {_DEPTH} elements inside each other")
        if self._skip or tag in _LEFT_OUT:
            self._skip += 1
            return
        if self._depth == 2:
            self._line, self._size = [], 0
            self._key = _key(tag, dict(zip(attributes[::2], attributes[1::2], strict=True)))
        text = _opened(tag, attributes)
        self._size += len(text)
        if self._size <= self._limit:
            self._line.append(text)

    def _begin(self, tag: str, attributes: list[str]) -> None:
        if tag != "HealthData":
            raise _Unsafe("expected HealthData as the root element of an export")
        self.begun = True
        self._root = _opened("HealthData", attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._skip:
            self._skip -= 1
            return
        if self._depth == 0:
            return
        if self._size <= self._limit:
            # An element without content is written as one.
            if self._line and self._line[-1].startswith(f"<{tag}") and not self._line[-1].endswith("/>"):
                self._line[-1] = self._line[-1][:-1] + "/>"
            else:
                self._line.append(f"</{tag}>")
        if self._depth == 1:
            self._element(tag)

    def _element(self, tag: str) -> None:
        line = "".join(self._line)
        if tag == "Me":
            self._me = line
        elif tag == "ExportDate":
            return
        elif self._size > self._limit // 2:
            message = f"expected an element of at most {self._limit // 2} bytes (half of record_bytes of the source)"
            self._out.append(_refused("oversize", self._key[0], message, line.encode()))
        else:
            for key, lines in self._gathering.add(self._key, line.encode()):
                self._out += self._records(key, lines)

    def _records(self, key: Key, lines: list[bytes]) -> Iterator[Piece]:
        """Yield the lines of one group as records of bounded size."""
        begin = f'<?xml version="1.0" encoding="UTF-8"?>\n{self._root}{self._me}\n'.encode()
        end = b"\n</HealthData>\n"
        batch: list[bytes] = []
        size = 0
        for line in [*lines, None]:
            full = batch and (line is None or len(batch) == _SAMPLES or size + len(line) > self._limit // 2)
            if full:
                self._numbers[key[0]] = self._numbers.get(key[0], 0) + 1
                yield Piece(begin + b"\n".join(batch) + end, f"{key[0]} {self._numbers[key[0]]}")
                batch, size = [], 0
            if line is not None:
                batch.append(line)
                size += len(line) + 1


def _opened(tag: str, attributes: list[str]) -> str:
    parts = [f"<{tag}"]
    for at in range(0, len(attributes), 2):
        name, value = attributes[at], attributes[at + 1]
        if name == "device":
            value = _device(value)
        elif _SPECIAL.search(value):
            value = _escaped(value)
        parts.append(f' {name}="{value}"')
    parts.append(">")
    return "".join(parts)


def _escaped(value: str) -> str:
    return escape(value, _ESCAPES)


@lru_cache(maxsize=1024)
def _device(value: str) -> str:
    """Return a device as it is in every export: without its object's address in the phone's memory."""
    return _escaped(_ADDRESS.sub("0x0", value))


def _key(tag: str, attributes: dict[str, str]) -> Key:
    """Return kind and day of an element; a workout's or a ring's kind is its tag."""
    kind = _kind(attributes.get("type", "")) if tag in ("Record", "Correlation") else tag
    day = _DAY.match(attributes.get("startDate") or attributes.get("dateComponents") or "")
    return kind or tag, day[0] if day else ""


@lru_cache(maxsize=1024)
def _kind(type_: str) -> str:
    kind = _WORD.sub("", _PREFIX.sub("", type_))[:64]
    return "BloodPressure" if kind in _PRESSURES else kind
