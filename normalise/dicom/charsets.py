"""The text of a DICOM object: which character set its bytes are really in, whatever (0008,0005) says.

Sources: PS3.3 C.12.1.1.2, PS3.5 section 6.1 and annexes H to K. Decoding comes before values are divided, for the
second byte of a GBK character may equal the backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

#: Codec of each defined term without code extensions (PS3.3 tables C.12-2 and C.12-5).
_CODECS: Final = {
    "": "ascii", "ISO_IR 6": "ascii", "ISO 2022 IR 6": "ascii", "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4", "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7", "ISO_IR 138": "iso8859-8", "ISO_IR 148": "iso8859-9", "ISO_IR 203": "iso8859-15",
    "ISO_IR 13": "shift_jis", "ISO_IR 166": "tis-620", "ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk",
    "ISO_IR 149": "euc_kr", "ISO_IR 58": "gb18030", "ISO_IR 87": "iso2022_jp", "ISO_IR 159": "iso2022_jp_2",
}  # fmt: skip
#: What follows an escape character and the codec it switches to (PS3.3 tables C.12-3 and C.12-4). IR 58 is GB 2312,
#: of which GB 18030 is a superset that rare characters come in all the same.
_ESCAPES: Final = {
    b"(B": "ascii", b"-A": "latin-1", b"-B": "iso8859-2", b"-C": "iso8859-3", b"-D": "iso8859-4", b"-L": "iso8859-5",
    b"-G": "iso8859-6", b"-F": "iso8859-7", b"-H": "iso8859-8", b"-M": "iso8859-9", b"-b": "iso8859-15",
    b"-T": "tis-620", b"(J": "shift_jis", b")I": "shift_jis", b"$)A": "gb18030", b"$A": "gb18030", b"$)C": "euc_kr",
    b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2",
}  # fmt: skip
_ESCAPE: Final = re.compile(rb"\x1b(\$\)A|\$\)C|\$\(D|\$[A@B]|\([BJ]|\)I|-[ABCDLGFHMbT])")
#: Two bytes of GB 2312's ideographs.
_HANZI: Final = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")
_HIGH: Final = re.compile(rb"[\x80-\xff]+")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: Share of bytes beyond ASCII that must be pairs of GB 2312 before Latin 1 is not believed.
_MOSTLY: Final = 0.8
_SAMPLE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Charset:
    """How the texts of an object are read.

    Attributes:
        codec: Python codec of texts without escapes.
        note: Why it is not the declared one, or ``""``.
    """

    codec: str
    note: str = ""

    def decode(self, raw: bytes) -> str | None:
        """Return the text of one value without control characters, or None where the bytes are no text in it."""
        if raw.isascii() and b"\x1b" not in raw:
            text: str | None = raw.decode("ascii")
        elif _ESCAPE.search(raw):
            text = _switched(raw, self.codec)
        else:
            text = decoded(raw, self.codec)
            for codec in ("utf-8", "gb18030") if text is None else ():
                text = text if text is not None else decoded(raw, codec)
        return None if text is None else _CONTROL.sub("", text)


@lru_cache(maxsize=256)
def codec_of(term: str) -> str | None:
    """Return the codec of a defined term, forgiving case, underscores and the prefix of code extensions."""
    name = " ".join(term.replace("_", " ").upper().split()).replace("ISO 2022 IR", "ISO_IR").replace("ISO IR", "ISO_IR")
    name = {"GB 18030": "GB18030", "GB2312": "GBK", "UTF-8": "ISO_IR 192", "UTF8": "ISO_IR 192"}.get(name, name)
    return _CODECS.get(name)


def choose(declared: Sequence[str], texts: Iterable[bytes], fallback: str) -> Charset:
    """Return the character set of an object.

    Args:
        declared: The values of (0008,0005); none where it is missing.
        texts: Values of its text elements, as they came.
        fallback: The source's own codec for objects that declare none, or ``auto``.
    """
    sample = b"\n".join(texts)[:_SAMPLE]
    sample = sample[: sample.rfind(b"\n")] if len(sample) == _SAMPLE else sample
    term = next((one for one in declared if one), "") if not (declared and declared[0] == "") else ""
    codec = codec_of(term)
    plain = _ESCAPE.sub(b"", sample)
    if plain.isascii():
        return Charset(codec or "ascii")
    extended = [one for one in map(codec_of, declared[1:]) if one and one != "ascii"]
    if codec == "ascii" and extended:
        codec = extended[0]  # high bytes without their escape: what the extension would have switched to
    elif codec == "ascii" or codec is None:
        codec = None if fallback == "auto" else fallback
    found = _meant(plain, codec)
    if term and found != codec_of(term) and not extended:
        return Charset(found, f"(0008,0005) declares a set that the bytes are not in; read as {found}. Correct it.")
    if not declared:
        return Charset(found, f"(0008,0005) is missing; read as {found}. Send it.")
    return Charset(found)


def _meant(sample: bytes, codec: str | None) -> str:
    """The codec the bytes are in: the declared one unless it cannot be meant."""
    utf8 = decoded(sample, "utf-8") is not None
    if codec == "utf-8" or (utf8 and codec in (None, "latin-1", "gbk", "gb18030")):
        return "utf-8" if utf8 or decoded(sample, "gb18030") is None else "gb18030"
    if codec in (None, "latin-1"):
        high = b"".join(_HIGH.findall(sample))
        pairs = 2 * sum(len(_HANZI.findall(run)) for run in _HIGH.findall(sample))
        if (codec is None or pairs >= _MOSTLY * len(high)) and decoded(sample, "gb18030") is not None:
            return "gb18030"
        return "latin-1"
    return "gb18030" if codec == "gbk" and decoded(sample, "gbk") is None else codec


def decoded(raw: bytes, codec: str) -> str | None:
    """Return the text, or None where the bytes are none in the codec; a last character cut off is forgiven.

    Values are cut at 64 bytes by devices that count no characters.
    """
    for end in (len(raw), len(raw) - 1, len(raw) - 2, len(raw) - 3) if codec in _MULTIBYTE else (len(raw),):
        try:
            text = raw[: max(0, end)].decode(codec)
        except UnicodeDecodeError:
            continue
        if codec != "gb18030" or not _SURROGATE.search(text):
            return text
    return None


_MULTIBYTE: Final = frozenset(("utf-8", "gb18030", "gbk", "euc_kr", "shift_jis"))


def _switched(raw: bytes, codec: str) -> str | None:
    """Text with code extensions: each escape switches, and is no part of the text (PS3.5 section 6.1.2.5)."""
    pieces = _ESCAPE.split(raw)
    whole = [_segment(pieces[0], codec)]
    for escape, segment in zip(pieces[1::2], pieces[2::2], strict=True):
        whole.append(_segment(segment, _ESCAPES[escape], b"\x1b" + escape))
    return None if None in whole else "".join(one for one in whole if one)


def _segment(raw: bytes, codec: str, escape: bytes = b"") -> str | None:
    if not codec.startswith("iso2022"):
        return decoded(raw, codec)
    # These codecs know the state they are in only by the escape; a delimiter ends it (PS3.5 6.1.2.5.3).
    try:
        return (escape + raw).decode("iso2022_jp_2")
    except UnicodeDecodeError:
        return None
