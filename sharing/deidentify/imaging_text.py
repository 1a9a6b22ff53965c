"""The text of an element, whatever character set it is in and whatever (0008,0005) says of it.

Hospitals declare Latin 1 or nothing and send GBK; ISO 2022 IR 58 has escapes that are no part of the text. What cannot
be read cannot be scrubbed, and is dropped. Sources: PS3.3 C.12.1.1.2, PS3.5 section 6.1.
"""

from __future__ import annotations

import re
from typing import Final

from sharing.deidentify.scrubbing_data import HAN

#: Escapes of the sets that Chinese objects switch to: IR 58 is GB 2312, a subset of GB 18030.
_CHINESE: Final = re.compile(rb"\x1b(?:\$\)A|\$A|\(B|\)B|-A)")
_CODECS: Final = {
    "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7", "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9", "ISO_IR 13": "shift_jis", "ISO_IR 166": "tis-620", "ISO 2022 IR 87": "iso2022_jp_2",
    "ISO 2022 IR 159": "iso2022_jp_2", "ISO 2022 IR 149": "euc_kr",
}  # fmt: skip
_KOREAN: Final = re.compile(rb"\x1b\$\)C")
#: Two bytes of GB 2312's ideographs.
_HANZI: Final = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")
_MOSTLY: Final = 0.8
#: What Python says where the last character is not whole.
_CUT: Final = ("unexpected end of data", "incomplete multibyte sequence")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")


def charsets(declared: bytes, outer: tuple[str, ...]) -> tuple[str, ...]:
    """Return the terms of (0008,0005), or those of the item around where it has none of its own."""
    terms = tuple(one.strip("\0 ") for one in declared.decode("ascii", "replace").split("\\"))
    return terms if any(terms) else outer


def decode(value: bytes, declared: tuple[str, ...]) -> str | None:
    """Return the text without control characters, or None where the bytes are none in any set that can be meant."""
    value = value.strip(b"\0")
    if value.isascii() and b"\x1b" not in value:
        return _CONTROL.sub("", value.decode("ascii"))
    found = _decoded(value, declared)
    return None if found is None or "\ufffd" in found else _CONTROL.sub("", found)


def _decoded(value: bytes, declared: tuple[str, ...]) -> str | None:
    if _CHINESE.search(value) and not _KOREAN.search(value) and b"\x1b$B" not in value:
        return _try(_CHINESE.sub(b"", value), "gb18030")
    other = [_CODECS[one] for one in declared if one in _CODECS]
    plain = None if b"\x1b" in value else _try(value, "utf-8", forgiving="latin-1" not in other)
    chinese = None if b"\x1b" in value else _try(value, "gb18030")
    if plain is not None:  # two bytes of GBK may be one letter of UTF-8: 小 is С
        return (
            chinese if chinese is not None and "ISO_IR 192" not in declared and _han(chinese) > _han(plain) else plain
        )
    if other and other != ["latin-1"]:
        return _try(_KOREAN.sub(b"", value), other[-1])
    if "latin-1" in other and (chinese is None or not _mostly_chinese(value)):
        return value.decode("latin-1")
    return chinese


def _han(text: str) -> bool:
    """Whether there is an ideograph in it."""
    return re.search(f"[{HAN}]", text) is not None


def _mostly_chinese(value: bytes) -> bool:
    """Whether bytes declared as Latin 1 come in pairs as those of GBK do; letters with accents stand alone."""
    high = sum(one >= 0x80 for one in value)
    control = any(0x80 <= one < 0xA0 for one in value)  # no letters of Latin 1
    return control or 2 * len(_HANZI.findall(value)) >= _MOSTLY * high


def _try(value: bytes, codec: str, forgiving: bool = True) -> str | None:
    """The text; a last character cut off may be forgiven, since devices cut values at 64 bytes."""
    try:
        found = value.decode(codec)
    except UnicodeDecodeError as error:
        if not forgiving or error.start == 0 or error.end < len(value) or error.reason not in _CUT:
            return None
        found = value[: error.start].decode(codec)
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return found
