"""Compressed pictures without the comments and application data that their headers may hold.

JPEG and JPEG-LS (ISO 10918-1 B.2.4.5 and B.2.4.6, 14495-1), JPEG 2000 (15444-1 A.9.2), RLE (PS3.5 annex G, has none).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sharing.errors import Malformed, Refused

_JPEG: Final = "1.2.840.10008.1.2.4."
_RLE: Final = "1.2.840.10008.1.2.5"
#: JPEG 2000 and High-Throughput JPEG 2000.
_WAVELET: Final = ("90", "91", "92", "93", "201", "202", "203")
_DCT: Final = ("50", "51", "57", "70", "80", "81")
#: JFIF and Adobe's colour transform: without them colours change.
_KEPT: Final = (0xE0, 0xEE)


def stripped(fragment: bytes, syntax: str) -> bytes:
    """Return a fragment without comments; one that continues another's picture as it is.

    Raises:
        Refused: Nothing here knows what else the syntax may carry: video, or a container.
        Malformed: The header cannot be walked.
    """
    if syntax == _RLE:
        return fragment
    kind = syntax.removeprefix(_JPEG) if syntax.startswith(_JPEG) else ""
    if kind in _DCT:
        return _walk(fragment, b"\xff\xd8", _is_comment, 0xDA) if fragment[:2] == b"\xff\xd8" else fragment
    if kind in _WAVELET:
        if fragment[4:8] == b"jP  ":
            raise Refused("container", "expected a JPEG 2000 codestream, got a file around one, which may say anything")
        return (
            _walk(fragment, b"\xff\x4f", lambda marker: marker == 0x64, 0x90)
            if fragment[:2] == b"\xff\x4f"
            else fragment
        )
    raise Refused("transfer-syntax", "expected native, JPEG, JPEG-LS, JPEG 2000 or RLE pixels; decompress the object")


def _is_comment(marker: int) -> bool:
    return marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _KEPT)


def _walk(fragment: bytes, start: bytes, drop: Callable[[int], bool], end: int) -> bytes:
    """Segments of a header up to the picture's own, without those to drop."""
    kept, at = [start], 2
    while fragment[at : at + 1] == b"\xff" and at + 4 <= len(fragment):
        marker = fragment[at + 1]
        if marker == end:
            return b"".join((*kept, fragment[at:]))
        (length,) = struct.unpack_from(">H", fragment, at + 2)
        if not drop(marker):
            kept.append(fragment[at : at + 2 + length])
        at += 2 + max(2, length)
    raise Malformed("expected the header of a compressed picture; it breaks off")
