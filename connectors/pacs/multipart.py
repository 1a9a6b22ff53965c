"""The parts of a multipart/related body as they arrive (RFC 2046 section 5.1, RFC 2387), with little in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Longest headers of a part, bytes.
_HEADERS: Final = 16 * 1024
#: Bytes of the body that are looked through at a time.
_WINDOW: Final = 256 * 1024
_BOUNDARY: Final = re.compile(
    r"""(?:^|;)\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.){1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE
)


class Malformed(Exception):
    """The body is not what its content type says, or ends too early."""


def boundary(content_type: str) -> bytes | None:
    """Return the boundary that a Content-Type of multipart/related names; None where it is another type.

    Raises:
        Malformed: It names none that RFC 2046 allows.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/related":
        return None
    match = _BOUNDARY.search(";" + parameters)
    found = (match[1] or match[2]) if match else ""
    if not found or len(found) > 70 or not found.isascii():
        raise Malformed("multipart/related without a boundary of 1 to 70 ASCII characters")
    return found.encode()


class Parts:
    """Reads the parts of a body one after the other.

    Args:
        pieces: The body, cut anyhow.
        mark: Its boundary.
    """

    def __init__(self, pieces: Iterator[bytes], mark: bytes) -> None:
        self._pieces = pieces
        self._delimiter = b"\r\n--" + mark
        # The first delimiter may stand at the very beginning, without the line end that belongs to the others.
        self._held = bytearray(b"\r\n")

    def _more(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._held += piece
                return True
        return False

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        """Yield each part's body; what is left of one is skipped when the next is asked for.

        Raises:
            Malformed: The body is no multipart body, or ends before its closing delimiter.
        """
        for _ in self._until():  # the preamble
            pass
        while not self._closing():
            self._skip_headers()
            body = self._until()
            yield body
            for _ in body:
                pass

    def _until(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, which is taken."""
        keep = len(self._delimiter) - 1
        while True:
            at = self._held.find(self._delimiter)
            end = at if at >= 0 else max(0, len(self._held) - keep)
            for start in range(0, end, _WINDOW):
                yield bytes(self._held[start : min(end, start + _WINDOW)])
            del self._held[:end]
            if at >= 0:
                del self._held[: keep + 1]
                return
            if not self._more():
                raise Malformed("the body ends before its closing delimiter")

    def _closing(self) -> bool:
        """Whether the delimiter just taken was the last; else the line that it ends is taken, too."""
        while len(self._held) < 2:
            if not self._more():
                raise Malformed("the body ends inside a delimiter")
        if self._held.startswith(b"--"):
            return True
        self._line_end()
        return False

    def _line_end(self) -> None:
        while (at := self._held.find(b"\r\n")) < 0:
            if len(self._held) > _HEADERS or not self._more():
                raise Malformed("a delimiter is not followed by a line end")
        if self._held[:at].strip():
            raise Malformed("a delimiter is followed by something else than a line end")
        del self._held[:at]  # its line end may be the empty line after headers that there are none of

    def _skip_headers(self) -> None:
        while (at := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _HEADERS or not self._more():
                raise Malformed(f"headers of a part that do not end within {_HEADERS} bytes")
        if at > _HEADERS:
            raise Malformed(f"headers of a part that do not end within {_HEADERS} bytes")
        del self._held[: at + 4]
