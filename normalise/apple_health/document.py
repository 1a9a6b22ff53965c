"""Apple Health's XML as plain elements: read by expat with no DTD, no entities, bounded depth; from a zip as well.

A whole export is gigabytes and comes here in pieces (``connectors.wearables.apple_export``); a small one may come as
it is. The DOCTYPE with its internal subset is cut out before the parser sees it: Apple has shipped malformed ones, and
nothing in it is needed. One that declares an entity is refused.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from normalise.errors import SetAside, set_aside

#: Bytes of XML that one record may hold once unpacked, elements inside each other, elements in all.
MOST_BYTES: Final = 16 * 1024 * 1024
_DEPTH: Final = 16
_DOCTYPE: Final = re.compile(rb"<!DOCTYPE\b(?:[^\[>\"']|\"[^\"]*\"|'[^']*')*(?:\[(.*?)\]\s*)?>", re.DOTALL)
_ENTITY: Final = re.compile(rb"<!ENTITY|%[A-Za-z_]", re.ASCII)
_HEAD: Final = 256 * 1024


@dataclass(slots=True)
class Element:
    """One element, its attributes and the elements in it; texts are of no use in an export."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        """Return an attribute, or ``""``."""
        return self.attributes.get(name, "")


def read(content: bytes) -> Element:
    """Return the HealthData element of an export or a piece of one.

    Raises:
        SetAside: It is none, is not whole, or tries what no export does.
    """
    return parsed(unpacked(content) if content.startswith(b"PK\x03\x04") else content)


def parsed(content: bytes) -> Element:
    """Return the root element of the XML.

    Raises:
        SetAside: As ``read``.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = reader.entity
    parser.StartDoctypeDeclHandler = reader.entity
    try:
        parser.Parse(without_doctype(content), True)
    except expat.ExpatError as error:
        cut = error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS] or not reader.root
        code = "truncated" if reader.open and not cut else "not_xml"
        raise set_aside(code, f"line {error.lineno}", "Expected a whole XML document; export it again.") from None
    except (ValueError, LookupError):
        raise set_aside("charset", "line 1", "Expected XML in UTF-8; its declaration names no codec.") from None
    if reader.root is None or reader.root.tag != "HealthData":
        raise set_aside("structure", "line 1", "Expected HealthData as the root element of an Apple Health export.")
    return reader.root


def without_doctype(content: bytes) -> bytes:
    """Return the document without its DOCTYPE.

    Raises:
        SetAside: ``unsafe_xml``: it declares an entity, or does not end.
    """
    head = content[:_HEAD]
    begins = head.find(b"<!DOCTYPE")
    if begins < 0:
        return content
    match = _DOCTYPE.match(content, begins, begins + _HEAD)
    if match is None or _ENTITY.search(match[0]):
        raise set_aside("unsafe_xml", "DOCTYPE", "Expected no entities in the DOCTYPE; export the data again.")
    return content[:begins] + content[match.end() :]


class _Reader:
    """Keeps the tree as expat meets it."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self.open: list[Element] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) >= _DEPTH:
            raise set_aside("structure", "", f"Expected at most {_DEPTH} elements inside each other.")
        element = Element(tag, attributes)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def end(self, _tag: str) -> None:
        self.open.pop()

    def entity(self, *_: Any) -> None:
        raise set_aside("unsafe_xml", "DOCTYPE", "Expected no DOCTYPE after the document's head.")


def unpacked(content: bytes) -> bytes:
    """Return the main XML of a small export.zip, whatever language its name is in.

    Raises:
        SetAside: It is no zip that can be read, holds no export, or one too large to be read at once.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".xml") and not entry.filename.endswith("_cda.xml"):
                    with archive.open(entry) as stream:
                        found = stream.read(MOST_BYTES + 1)
                    if b"<HealthData" in found[:_HEAD]:
                        return _bounded(found)
    except SetAside:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, ValueError, EOFError):
        raise set_aside(
            "truncated", "zip", "Expected a whole export.zip without a password; export it again."
        ) from None
    raise set_aside("structure", "zip", "Expected the export's XML in the zip; it holds none.")


def _bounded(found: bytes) -> bytes:
    if len(found) > MOST_BYTES:
        message = f"Expected at most {MOST_BYTES} bytes at once; pull it with a source of kind wearables.files."
        raise set_aside("oversize", "zip", message)
    return found
