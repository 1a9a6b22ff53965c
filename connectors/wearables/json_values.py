"""Where one JSON value ends and the next begins: single documents, arrays and NDJSON, each value byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any, Final

_DECODER: Final = json.JSONDecoder()
_BLANK: Final = " \t\r\n\ufeff"


def is_point(value: Any) -> bool:
    """Whether a value is shaped as an Open mHealth data point."""
    return isinstance(value, dict) and "header" in value and "body" in value


def values(text: str) -> list[tuple[Any, str]] | None:
    """Return the values that stand in a text after one another, each with its own text; None where one is broken.

    Blanks, line ends and commas between them are passed over; the elements of an array are not taken apart.
    """
    found: list[tuple[Any, str]] = []
    at = _passed(text, 0, _BLANK)
    while at < len(text):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        found.append((value, text[at:end]))
        at = _passed(text, end, _BLANK)
    return found


def elements(text: str) -> Iterator[str]:
    """Yield the elements of a text that is one array, each as it was written."""
    at = _passed(text, text.index("[") + 1, _BLANK)
    while at < len(text) and text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield text[at:end]
        at = _passed(text, end, _BLANK + ",")


def _passed(text: str, at: int, passed: str) -> int:
    while at < len(text) and text[at] in passed:
        at += 1
    return at


def lines(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of a stream that hold something, with their sizes; of a longer one only the first bytes.

    Args:
        stream: At the start of a line.
        limit: Bytes that are kept of one line.
    """
    kept, size, rest = bytearray(), 0, b""
    while data := stream.read(256 * 1024):
        *whole, rest = data.split(b"\n")
        for piece in whole:
            kept += piece[: max(0, limit - len(kept))]
            size += len(piece)
            if kept.strip():
                yield bytes(kept), size
            kept, size = bytearray(), 0
        kept += rest[: max(0, limit - len(kept))]
        size += len(rest)
    if kept.strip():
        yield bytes(kept), size
