"""A record's bytes as JSON: decoded and parsed, or refused by name."""

from __future__ import annotations

import codecs
from typing import Any, Final

import orjson

from normalise.errors import set_aside

_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def parse(content: bytes, charset: str) -> Any:
    """Return the JSON value of a record.

    Args:
        content: The bytes; UTF-8 (RFC 8259 section 8.1), a byte order mark is passed over.
        charset: Codec of senders that write something else, or ``auto``.

    Raises:
        SetAside: ``charset`` or ``not_json``.
    """
    text = decoded(content, charset)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"character {error.pos}" if text.strip() else ""
        raise set_aside("not_json", where, "Expected one JSON value, came something else; see the sender.") from None


def decoded(content: bytes, charset: str) -> str:
    """Return the text of the bytes.

    Raises:
        SetAside: ``charset``.
    """
    codec = "utf-8-sig"
    if content.startswith(_MARKS[1:]):
        codec = "utf-16"
    for one in (codec, charset):
        if one != "auto":
            try:
                return content.decode(one)
            except (UnicodeDecodeError, LookupError):
                continue
    raise set_aside("charset", "", "Expected UTF-8; send it so, or name the source's charset.")
