"""MLLP: messages between a start byte and an end byte, cut from what a connection brings. No I/O.

HL7 Minimal Lower Layer Protocol (HL7 v2.5.1 implementation guide, appendix C.4): ``<VT> message <FS> <CR>``.
Neither VT nor FS occurs inside a character of UTF-8, GBK or GB18030.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from connectors.contract import HEAD_BYTES

START: Final = b"\x0b"
END: Final = b"\x1c"


@dataclass(frozen=True, slots=True)
class Frame:
    """One block a peer sent.

    Attributes:
        content: The bytes between start and end; of an oversize block the first ``HEAD_BYTES``.
        fault: ``oversize``, ``truncated`` (another block began before this one ended) or ``""``.
    """

    content: bytes
    fault: Literal["", "oversize", "truncated"] = ""


def frame(message: bytes) -> bytes:
    """Return ``message`` as a block."""
    return START + message + END + b"\r"


class Deframer:
    """Takes in a connection's bytes and gives its blocks; holds at most ``limit`` bytes of one.

    The end byte ends a block; the carriage return behind it is taken where it comes and not waited for,
    because some senders leave it out.

    Attributes:
        in_frame: Whether a block has begun and not ended.
        ignored: Bytes outside of blocks so far, line ends not counted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._size = 0
        self.in_frame = False
        self.ignored = 0

    @property
    def held(self) -> int:
        """Bytes of memory that the open block takes."""
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes that the open block has so far, held or not."""
        return self._size

    def feed(self, data: bytes) -> list[Frame]:
        """Return the blocks that ``data`` completes, in order."""
        frames: list[Frame] = []
        at = 0
        while at < len(data):
            at = self._inside(data, at, frames) if self.in_frame else self._outside(data, at)
        return frames

    def _outside(self, data: bytes, at: int) -> int:
        start = data.find(START, at)
        end = len(data) if start < 0 else start
        self.ignored += len(data[at:end].translate(None, b"\r\n"))
        self.in_frame = start >= 0
        return end + 1

    def _inside(self, data: bytes, at: int, frames: list[Frame]) -> int:
        end = data.find(END, at)
        again = data.find(START, at, end if end >= 0 else len(data))
        if again >= 0:
            self._take(data[at:again])
            frames.append(self._close("truncated"))
            return again + 1
        self._take(data[at : end if end >= 0 else len(data)])
        if end < 0:
            return len(data)
        frames.append(self._close(""))
        self.in_frame = False
        return end + 1

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        self._held += piece
        if self._size > self._limit:
            del self._held[HEAD_BYTES:]

    def _close(self, fault: Literal["", "truncated"]) -> Frame:
        content, large = bytes(self._held), self._size > self._limit
        self._held = bytearray()
        self._size = 0
        return Frame(content, "oversize" if large else fault)
