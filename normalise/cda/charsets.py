"""The text of a document: which character set its bytes are really in, whatever its declaration says.

XML 1.0 appendix F. Chinese systems declare GB2312 and send GB 18030, or declare UTF-8 and send GBK.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from normalise.errors import set_aside
from schemas.records import Refusal

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: How `<?` looks in sixteen bits without a byte order mark.
_WIDE_STARTS: Final = ((b"<\0?\0", "utf-16-le"), (b"\0<\0?", "utf-16-be"))
_DECLARED: Final = re.compile(rb"\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']")
#: GB 18030 contains its forerunners, and is what is sent under their names.
_CHINESE: Final = frozenset({"gb2312", "gbk", "cp936", "gb18030", "hz", "ms936", "x-gbk", "euc-cn"})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WIDE: Final = re.compile("[\u0800-\U0010ffff]")


def decode(content: bytes, fallback: str) -> tuple[str, Refusal | None]:
    """Return the document as text, and a note where what it declares is not what it is.

    In order: byte order mark; the XML declaration; ``fallback`` (the source's own, where nothing is declared);
    UTF-8; GB 18030. Well-formed UTF-8 with characters of three bytes or more is UTF-8 whatever is declared.

    Args:
        content: The whole document.
        fallback: Python codec of documents that declare none, or ``auto``.

    Raises:
        SetAside: ``charset``: no permitted character set decodes the bytes; ``truncated``: the last character is
            cut in two.
    """
    for mark, codec in _BOMS:
        if content.startswith(mark):
            text = _try(content[len(mark) :] if codec == "utf-8" else content, codec)
            if text is None:
                raise set_aside("charset", "file", f"The byte order mark says {codec}, which the bytes are not.")
            return text, None
    for start, codec in _WIDE_STARTS:
        if content.startswith(start) and (text := _try(content, codec)) is not None:
            return text, None
    match = _DECLARED.match(content)
    declared = match[1].decode("ascii") if match else ""
    known = _codec(declared or ("" if fallback == "auto" else fallback))
    text, used = _choose(content, known)
    if not declared or used == known or content.isascii():
        return text, None
    message = f"The XML declaration names a character set that the bytes are not in; read as {used}. Correct it."
    return text, Refusal("charset", "file line 1", message)


def _codec(name: str) -> str:
    if name.lower() in _CHINESE:
        return "gb18030"
    try:
        known = codecs.lookup(name) if name else None
    except LookupError:
        return ""
    # Codecs of Python's own that are no character sets (rot13, zlib) are none here either.
    return known.name if known is not None and known._is_text_encoding else ""


def _choose(content: bytes, declared: str) -> tuple[str, str]:
    utf8 = _try(content, "utf-8")
    if utf8 is not None and (declared in ("", "utf-8", "ascii") or _WIDE.search(utf8)):
        return utf8, declared if declared == "ascii" else "utf-8"
    for codec in (declared, "gb18030"):
        if codec and codec != "utf-8" and (text := _try(content, codec)) is not None:
            return text, codec
    if utf8 is not None:
        return utf8, "utf-8"
    if declared in ("", "utf-8") and _cut(content):
        raise set_aside("truncated", "file", "The document ends in the middle of a character. Send it again, whole.")
    raise set_aside(
        "charset", "file", "The bytes are neither in the declared character set nor UTF-8 nor GB 18030. Send UTF-8."
    )


def _cut(content: bytes) -> bool:
    """Whether the bytes are UTF-8 but for a last character that is not whole."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _try(content: bytes, codec: str) -> str | None:
    try:
        text = content.decode(codec)
    except (UnicodeDecodeError, ValueError):
        return None
    # Python's GB 18030 maps some four-byte sequences to lone surrogates, which are no characters.
    return None if codec == "gb18030" and _SURROGATE.search(text) else text
