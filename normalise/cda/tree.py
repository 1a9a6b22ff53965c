"""A document as a tree of elements, from bytes that nobody vouches for.

expat reads it with nothing to fetch and nothing to expand: a document type declaration, without which XML has no
entities of its own, is refused before the parser sees it. Depth and number of elements are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat
from xml.parsers.expat import errors as faults

from normalise.cda.charsets import decode
from normalise.errors import SetAside, set_aside
from schemas.records import Refusal

#: Elements inside elements, and elements in a document; real ones have some twenty, and some ten thousand. Statements
#: inside statements are read by calls inside calls: this many fit into Python's own limit twice.
MAX_DEPTH: Final = 100
MAX_ELEMENTS: Final = 400_000
_HL7: Final = "urn:hl7-org:v3"
_SPACES: Final = {
    _HL7: "",
    "": "",
    "urn:hl7-org:sdtc": "sdtc:",
    "http://www.w3.org/2001/XMLSchema-instance": "xsi:",
    "http://www.w3.org/XML/1998/namespace": "xml:",
}
_PROLOG: Final = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s+)*", re.DOTALL)
_BEGINNING: Final = re.compile(rb"[ \t\r\n]*<|\xef\xbb\xbf[ \t\r\n]*<|\xff\xfe|\xfe\xff|\0[\0<]")
_ENDED: Final = frozenset(
    faults.codes[one]
    for one in (
        faults.XML_ERROR_NO_ELEMENTS,
        faults.XML_ERROR_UNCLOSED_TOKEN,
        faults.XML_ERROR_PARTIAL_CHAR,
        faults.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)


class Node:
    """One element.

    Attributes:
        name: Its name: bare in HL7's namespace or none, ``sdtc:…`` in that of HL7's extensions, else with its URI.
        attributes: By name, likewise; ``xsi:type`` without the prefix of its value.
        content: Elements and text in their order; blank text only where it is narrative.
    """

    __slots__ = ("attributes", "content", "name")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.content: list[Node | str] = []

    def get(self, attribute: str) -> str:
        """Return an attribute without outer blanks, ``""`` where it is absent."""
        return self.attributes.get(attribute, "").strip()

    def first(self, name: str) -> Node | None:
        """Return the first child element of a name."""
        for one in self.content:
            if type(one) is Node and one.name == name:
                return one
        return None

    def all(self, name: str) -> list[Node]:
        """Return the child elements of a name."""
        return [one for one in self.content if type(one) is Node and one.name == name]

    def elements(self) -> list[Node]:
        """Return the child elements."""
        return [one for one in self.content if type(one) is Node]

    @property
    def own_text(self) -> str:
        """The text directly inside, blanks folded."""
        return " ".join(" ".join(one for one in self.content if type(one) is str).split())

    @property
    def text(self) -> str:
        """All the text inside, blanks folded."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for one in self.content:
            if isinstance(one, str):
                yield one
            else:
                yield " "
                yield from one._texts()
                yield " "


class _Builder:
    """Takes expat's events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.open: list[Node] = []
        self.mentions: dict[str, Node] = {}
        self._narrative = 0
        self._count = 0
        self._names: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        names = self._names
        node = Node(names.get(name) or self._name(name), attributes)
        for key in attributes:
            if " " in key:
                self._qualified(node)
                break
        if "ID" in attributes:
            self.mentions.setdefault(attributes["ID"].strip(), node)
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self.open) >= MAX_DEPTH:
            what = f"{MAX_ELEMENTS} elements" if self._count > MAX_ELEMENTS else f"{MAX_DEPTH} elements in each other"
            raise set_aside("structure", "file", f"At most {what} were expected; split the document.")
        if self.open:
            parent = self.open[-1]
            parent.content.append(node)
            if self._narrative or (node.name == "text" and parent.name == "section"):
                self._narrative += 1
        else:
            self.root = node
        self.open.append(node)

    def end(self, _: str) -> None:
        self.open.pop()
        if self._narrative:
            self._narrative -= 1

    def data(self, text: str) -> None:
        if self._narrative or not text.isspace():
            self.open[-1].content.append(text)

    def _qualified(self, node: Node) -> None:
        node.attributes = {self._name(key): value for key, value in node.attributes.items()}
        if kind := node.attributes.get("xsi:type"):
            node.attributes["xsi:type"] = kind.strip().rpartition(":")[2]

    def _name(self, name: str) -> str:
        space, _, local = name.rpartition(" ")
        found = _SPACES[space] + local if space in _SPACES else f"{{{space}}}{local}"
        return self._names.setdefault(name, found)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as it was read.

    Attributes:
        root: Its root element.
        mentions: Its elements that have an ID, which entries point at; of two with one ID the first.
        notes: What had to be overruled to read it.
    """

    root: Node
    mentions: dict[str, Node]
    notes: tuple[Refusal, ...]


def parse(content: bytes, charset: str) -> Parsed:
    """Return a document as a tree.

    Args:
        content: The document.
        charset: Python codec of documents that declare none, or ``auto``.

    Raises:
        SetAside: ``not_xml``, ``truncated``, ``unsafe_xml``, ``charset``, ``structure``.
    """
    # Before decoding: a PDF is no document in a wrong character set.
    if not _BEGINNING.match(content):
        raise set_aside("not_xml", "file byte 0", "An XML document was expected; it begins with something else.")
    text, note = decode(content, charset)
    text = text.lstrip("\ufeff \t\r\n")
    after = _PROLOG.match(text)
    if after is not None and text.startswith("<!DOCTYPE", after.end()):
        raise _unsafe()
    builder = _built(text)
    assert builder.root is not None  # expat has found a well-formed document
    return Parsed(builder.root, builder.mentions, (note,) if note else ())


def _built(text: str) -> _Builder:
    builder = _Builder()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(text.encode("utf-8"), True)
    except SetAside:
        raise
    except expat.ExpatError as error:
        raise _broken(error, builder) from None
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise set_aside("not_xml", "file", "The document holds what no XML document may; export it again.") from None
    return builder


def _refuse(*_: object) -> None:
    raise _unsafe()


def _unsafe() -> SetAside:
    message = "A document without DOCTYPE was expected; entities and DTDs are not read. Send it without them."
    return set_aside("unsafe_xml", "file", message)


def _broken(error: expat.ExpatError, builder: _Builder) -> SetAside:
    where = f"file line {error.lineno} column {error.offset + 1}"
    if error.code in _ENDED:
        inside = f"inside {len(builder.open)} elements" if builder.open else "before its first element"
        return set_aside("truncated", where, f"The document ends {inside}. Send it again, whole.")
    return set_aside(
        "not_xml", where, f"XML is not well-formed here ({expat.ErrorString(error.code)}); export it again."
    )
