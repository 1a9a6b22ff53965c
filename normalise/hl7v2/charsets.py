r"""The text of a message: which character set its bytes are really in, whatever MSH-18 says.

Decoding comes before splitting, for the second byte of a GB 18030 character may equal ``| ^ ~ \``.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

from normalise.errors import set_aside
from normalise.hl7v2.tables import CHARSETS
from schemas.records import Refusal

_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WIDE: Final = re.compile("[\u0800-\U0010ffff]")
_END_OF_LINE: Final = re.compile(rb"[\r\n]")
_EDGES: Final = b"\x0b\x1c\r\n\x00\x1a\t "


def decode(content: bytes, fallback: str) -> tuple[str, Refusal | None]:
    """Return the message as text, and a note where the declared character set is not the real one.

    In order: byte order mark; MSH-18; ``fallback`` (the source's own, when MSH-18 declares nothing); UTF-8;
    GB 18030. A set that decodes but cannot be meant is passed over: bytes that are well-formed UTF-8 with
    characters of three bytes or more are UTF-8.

    Args:
        content: One message, with or without MLLP framing.
        fallback: Python codec of messages that declare none, or ``auto``.

    Raises:
        SetAside: ``charset``: no permitted character set decodes the bytes.
    """
    for mark, codec in _BOMS:
        if content.startswith(mark):
            return _clean(_strictly(content, codec).strip(_EDGES.decode("ascii"))), None
    content = content.strip(_EDGES)
    if content.startswith(codecs.BOM_UTF8):
        return _clean(_strictly(content[3:], "utf-8")), None
    if content.isascii():
        return _clean(content.decode("ascii")), None
    declared = _declared(content)
    known = _codec(declared)
    text, used = _choose(content, known, fallback)
    if not declared or used == known:
        return _clean(text), None
    message = f"MSH-18 declares a character set that the bytes are not in; read as {used}. Correct MSH-18."
    return _clean(text), Refusal("charset", "MSH-18", message)


@lru_cache(maxsize=256)
def _codec(declared: str) -> str | None:
    return CHARSETS.get("".join(filter(str.isalnum, declared.upper())))


def _choose(content: bytes, declared: str | None, fallback: str) -> tuple[str, str]:
    first = declared or ("" if fallback == "auto" else codecs.lookup(fallback).name)
    utf8 = _try(content, "utf-8")
    if utf8 is not None and (first in ("", "utf-8") or _WIDE.search(utf8)):
        return utf8, "utf-8"
    for codec in (first, "gb18030"):
        if codec and codec != "utf-8" and (text := _try(content, codec)) is not None:
            return text, codec
    if utf8 is not None:
        return utf8, "utf-8"
    raise set_aside(
        "charset", "MSH-18", "The bytes are neither in the declared character set nor UTF-8 nor GB 18030. Send UTF-8."
    )


def _declared(content: bytes) -> str:
    """MSH-18, first repetition. A header in GB 18030 must itself be decoded before it can be split."""
    line = _END_OF_LINE.split(content, maxsplit=1)[0]
    for codec in ("utf-8", "gb18030", "latin-1"):
        header = _try(line, codec)
        if header is not None and len(header) > 8:
            fields = header.split(header[3])
            return re.split(r"[~^\\]", fields[17])[0].strip() if len(fields) > 17 else ""
    return ""


def _try(content: bytes, codec: str) -> str | None:
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        return None
    # Python's GB 18030 maps some four-byte sequences to lone surrogates, which are no characters.
    return None if codec == "gb18030" and _SURROGATE.search(text) else text


def _strictly(content: bytes, codec: str) -> str:
    text = _try(content, codec)
    if text is None:
        raise set_aside("charset", "", f"The byte order mark says {codec}, which the bytes are not. Send UTF-8.")
    return text


def _clean(text: str) -> str:
    """Text without control characters, which FHIR strings may not hold; line ends are the parser's."""
    text = text.lstrip("\ufeff")
    return text if text.replace("\r", "").isprintable() else _CONTROL.sub("", text)
