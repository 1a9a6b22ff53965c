"""Narrative: the XHTML that a resource says itself in (FHIR R4, 2.4; invariants txt-1 and txt-2).

Only formatting may stand in it: no script, no form, no frame, nothing that is fetched and run. A document type is
refused before anything of it is read, so no entity is ever expanded.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

#: HTML 4.0 chapters 7 to 11 (without 9.4) and 15, links, images, and what FHIR's own schema lists.
_ELEMENTS: Final = frozenset(
    """
    a abbr acronym address b bdo big blockquote br caption center cite code col colgroup dd del dfn div dl dt em font
    h1 h2 h3 h4 h5 h6 hr i img ins kbd li map area ol p pre q s samp small span strike strong sub sup table tbody td
    tfoot th thead tr tt u ul var
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
#: Attributes that carry a behaviour, or an address that may.
_ADDRESSES: Final = frozenset({"href", "src", "longdesc", "cite", "background", "usemap"})
_REFUSED: Final = frozenset({"action", "formaction", "srcdoc", "ping", "target"})
_SCHEMES: Final = ("http:", "https:", "mailto:", "tel:", "urn:", "cid:", "data:image/", "ftp:")
_NAMESPACE: Final = "http://www.w3.org/1999/xhtml"
#: Elements inside each other, at most.
_DEPTH: Final = 200


class _Refused(Exception):
    """The narrative is not allowed; the text says why."""


def check_narrative(div: str) -> str | None:
    """Return None where the text of ``Narrative.div`` is allowed, else what is wrong with it, without its words."""
    reader = _Reader()
    parser = expat.ParserCreate(encoding="utf-8")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(div.encode("utf-8"), True)
    except _Refused as refused:
        return str(refused)
    except (expat.ExpatError, UnicodeEncodeError):
        return "well-formed XHTML was expected"
    return None if reader.content else "content was expected, only white space came"


class _Reader:
    """Looks at each element as it passes."""

    def __init__(self) -> None:
        self.content = False
        self._depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and (name != "div" or attributes.get("xmlns") != _NAMESPACE):
            raise _Refused("a div in the namespace of XHTML was expected")
        if name not in _ELEMENTS:
            raise _Refused("an element came that narrative may not hold (only formatting, links and images)")
        if self._depth > _DEPTH:
            raise _Refused("the elements are nested too deeply")
        for key, value in attributes.items():
            if key.lower().startswith("on") or key.lower() in _REFUSED:
                raise _Refused("an attribute came that narrative may not hold (events, forms)")
            if key.lower() in _ADDRESSES and not _harmless(value):
                raise _Refused("a link or image came that runs something")
        self.content = self.content or name == "img"

    def end(self, _name: str) -> None:
        self._depth -= 1

    def text(self, text: str) -> None:
        self.content = self.content or bool(text.strip())

    def doctype(self, *_: Any) -> None:
        raise _Refused("no document type may stand in it")

    def instruction(self, *_: Any) -> None:
        raise _Refused("no processing instruction may stand in it")


def _harmless(address: str) -> bool:
    start = "".join(address.split()).lower()
    scheme, colon, _ = start.partition(":")
    return not colon or "/" in scheme or "#" in scheme or start.startswith(_SCHEMES)
