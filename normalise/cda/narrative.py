"""Narrative: section.text as the XHTML that FHIR allows.

CDA R2 section 4.3.5 (narrative block); FHIR R4, Narrative. Built from nothing but the elements below, so there is
nothing active in it whatever the sender wrote: no scripts, styles, events, images, and links only to http(s).
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from normalise.cda.tree import Node

_NAMESPACE: Final = "http://www.w3.org/1999/xhtml"
#: CDA's element and the XHTML one it becomes; what is not here gives its content only.
_ELEMENTS: Final = {
    "paragraph": "p",
    "content": "span",
    "list": "ul",
    "item": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "sub": "sub",
    "sup": "sup",
    "br": "br",
    "linkHtml": "a",
    "footnote": "span",
}
_SPANS: Final = {"colspan", "rowspan"}
_TABLE_CONTENT: Final = {"table", "thead", "tbody", "tfoot", "tr", "list", "colgroup"}
_CAPTION_OF: Final = {"table": "caption", "list": "li"}


def narrative(section: Node) -> dict[str, str] | None:
    """Return section.text as a Narrative, or None where it says nothing."""
    text = section.first("text")
    if text is None or not text.text:
        return None
    return {"status": "generated", "div": f'<div xmlns="{_NAMESPACE}">{"".join(_inside(text))}</div>'}


def plain(section: Node) -> str:
    """Return section.text as plain text."""
    text = section.first("text")
    return text.text if text is not None else ""


def _inside(node: Node) -> Iterator[str]:
    tight = node.name in _TABLE_CONTENT
    for one in node.content:
        if isinstance(one, str):
            # Text directly inside a table or list is no XHTML; blank text there is only layout.
            if not tight:
                yield _text(one)
        else:
            yield from _element(one, node)


def _element(node: Node, parent: Node) -> Iterator[str]:
    if node.name == "caption":
        tag = _CAPTION_OF.get(parent.name, "b")
    else:
        tag = _ELEMENTS.get(node.name, "")
        if node.name == "list" and node.get("listType") == "ordered":
            tag = "ol"
    if not tag:
        yield from _inside(node)
    elif tag == "br":
        yield "<br/>"
    else:
        yield f"<{tag}{''.join(_attributes(node))}>"
        yield from _inside(node)
        yield f"</{tag}>"


def _attributes(node: Node) -> Iterator[str]:
    if name := (node.get("ID") or node.get("id")):
        yield f' id="{_text(name)}"'
    for span in sorted(_SPANS & node.attributes.keys()):
        if node.get(span).isascii() and node.get(span).isdigit():
            yield f' {span}="{node.get(span)[:4]}"'
    if node.name == "linkHtml":
        target = node.get("href")
        if target.lower().startswith(("http://", "https://", "#")):
            yield f' href="{_text(target)}"'


def _text(text: str) -> str:
    return escape("".join(one for one in text if one.isprintable() or one in " \t\r\n\u3000\u00a0"), quote=True)
