"""A page of search results or history, cut into the very bytes that the server wrote for each resource."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


class Malformed(Exception):
    """The text is no page of resources; the text says why."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a page.

    Attributes:
        content: The resource's bytes; the entry's own where it has none.
        resource: The resource, or None.
        entry: The entry's other elements.
    """

    content: bytes
    resource: Any
    entry: dict[str, Any]


@dataclass(slots=True)
class Page:
    """One page.

    Attributes:
        type: Type of the bundle.
        total: How many resources the server counts in all, or None.
        following: Address of the next page, ``""`` on the last one.
        pieces: Its entries, in order.
    """

    type: str = ""
    total: int | None = None
    following: str = ""
    pieces: list[Piece] = field(default_factory=list)


def cut(content: bytes) -> Page:
    """Return the page that these bytes are.

    Raises:
        Malformed: They are no Bundle in JSON.
    """
    page, kind = Page(), None
    try:
        text = _Text(content.decode("utf-8"))
        for key in text.members():
            if key == "entry":
                page.pieces = [_piece(text) for _ in text.items()]
                continue
            value = text.value()
            if key == "resourceType":
                kind = value
            elif key == "type" and isinstance(value, str):
                page.type = value
            elif key == "total" and type(value) is int and value >= 0:
                page.total = value
            elif key == "link":
                page.following = _next(value)
    except (ValueError, RecursionError, IndexError):
        raise Malformed("a Bundle in JSON (UTF-8) was expected") from None
    if kind != "Bundle":
        raise Malformed("a Bundle was expected")
    return page


def _piece(text: _Text) -> Piece:
    begin, resource, content, entry = text.at, None, b"", dict[str, Any]()
    for key in text.members():
        start = text.at
        value = text.value()
        if key == "resource":
            resource, content = value, text.text[start : text.at].encode()
        else:
            entry[key] = value
    return Piece(content or text.text[begin : text.at].encode(), resource, entry)


def _next(links: Any) -> str:
    for one in links if isinstance(links, list) else ():
        if isinstance(one, dict) and one.get("relation") == "next" and isinstance(one.get("url"), str):
            return str(one["url"])
    return ""


class _Text:
    """JSON that is read from left to right; ``at`` stands where the next value begins.

    Who goes through members or items takes each one's value before asking for the next.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    def value(self) -> Any:
        """Return the value that stands here, and stand behind it."""
        value, self.at = _DECODER.raw_decode(self.text, self.at)
        return value

    def members(self) -> Iterator[str]:
        """Yield the names of the object that stands here."""
        for _ in self._inside("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError
            self._take(":")
            yield key

    def items(self) -> Iterator[None]:
        """Yield once for each item of the array that stands here."""
        return self._inside("[", "]")

    def _inside(self, begin: str, end: str) -> Iterator[None]:
        self._take(begin)
        while self.text[self.at] != end:
            yield None
            self._skip()
            if self.text[self.at] != end:
                self._take(",")
        self.at += 1

    def _take(self, sign: str) -> None:
        self._skip()
        if self.text[self.at] != sign:
            raise ValueError
        self.at += 1
        self._skip()

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None  # the pattern matches nothing, too
        self.at = match.end()
