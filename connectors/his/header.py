"""The MSH segment of a message, as far as its receiver must read it: to name, answer and count it.

Nothing here judges the message; any bytes give a header. Text is decoded before it is split, because the
second byte of a GB18030 character may equal a delimiter.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

#: MSH, then its field separator: what no name or word could be. An UTF-8 byte order mark may stand before it.
BEGINS: Final = re.compile(rb"(?:\xef\xbb\xbf)?MSH[!-/:-@\[-`{-~]")
_SEGMENT_END: Final = re.compile(rb"[\r\n]")
#: MSH segments are short; a longer one is no header, and must not cost time to decode.
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded MSH segment.

    Attributes:
        codec: Python codec that the segment's bytes were decoded with; encoding with it gives them back.
        separator: MSH-1, the field separator.
        fields: The segment split at it: ``fields[2]`` is MSH-3, ``fields[0]`` is ``MSH``.
    """

    codec: str
    separator: str
    fields: tuple[str, ...]

    def field(self, number: int) -> str:
        """Return MSH-``number`` (from 2) as it came, ``""`` where the segment is shorter."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    @property
    def delimiters(self) -> str:
        """MSH-2 (component, repetition, escape, subcomponent), or the standard's where it is no such."""
        given = self.field(2)
        return given if 1 < len(given) <= 5 and not given.isalnum() else "^~\\&"

    def component(self, number: int, component: int) -> str:
        """Return component ``component`` (from 1) of MSH-``number``."""
        parts = self.field(number).split(self.delimiters[0])
        return parts[component - 1] if component <= len(parts) else ""


def read_header(content: bytes, charset: str = "auto") -> Header | None:
    """Return the MSH segment that ``content`` begins with, or None where it begins with none.

    UTF-8 is tried first because it refuses other text; then the source's ``charset`` (a Python codec,
    ``auto`` for GB18030); then Latin-1, which takes any bytes. Which one is right for the names inside is
    left to normalising.
    """
    if BEGINS.match(content) is None:
        return None
    segment = _SEGMENT_END.split(content[:_LONGEST].removeprefix(b"\xef\xbb\xbf"), maxsplit=1)[0]
    for codec in ("utf-8", "gb18030" if charset == "auto" else charset, "latin-1"):
        try:
            text = segment.decode(codec)
        except (UnicodeDecodeError, LookupError):
            continue
        return Header(codec, text[3], tuple(text.split(text[3])))
    raise AssertionError("Latin-1 decodes any bytes")


def native_id(content: bytes, charset: str = "auto") -> str:
    """Return what identifies the message to its sender, or ``""`` where MSH-10 is missing.

    It is SHA-256 over MSH-3, MSH-4 and MSH-10, first 32 hex digits: an identity only, and control ids have
    been seen that hold a patient's number.
    """
    header = read_header(content, charset)
    if header is None or not header.field(10).strip():
        return ""
    parts = "\0".join(header.field(number).strip() for number in (3, 4, 10))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]
