"""Bytes that arrive in pieces, read by length, with never more than a piece or what is asked for in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: Bytes handed on at a time of what is passed through.
PASSED: Final = 256 * 1024


class Ended(Exception):
    """The bytes ended before everything that was asked for had come."""


class Stream:
    """Reads pieces of any length as if they were one file that cannot be rewound.

    Attributes:
        at: Bytes read so far.
    """

    __slots__ = ("_held", "_pieces", "_used", "at")

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._used = 0
        self.at = 0

    def _more(self) -> bool:
        """Whether something is held that was not read yet, after asking for the next piece where nothing was."""
        while self._used >= len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held, self._used = piece, 0
        return True

    def ended(self) -> bool:
        """Whether nothing follows."""
        return not self._more()

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes.

        Raises:
            Ended: Fewer follow.
        """
        used = self._used
        if used + count <= len(self._held):  # nearly always
            self._used = used + count
            self.at += count
            return self._held[used : used + count]
        return b"".join(self.pass_on(count))

    def peek(self, count: int) -> bytes:
        """Return up to ``count`` of the next bytes without taking them; fewer where fewer follow."""
        while len(self._held) - self._used < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held, self._used = self._held[self._used :] + piece, 0
        return self._held[self._used : self._used + count]

    def pass_on(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes in pieces of at most ``PASSED``.

        Raises:
            Ended: Fewer follow.
        """
        while count > 0:
            if not self._more():
                raise Ended
            piece = self._held[self._used : self._used + min(count, PASSED)]
            self._used += len(piece)
            self.at += len(piece)
            count -= len(piece)
            yield piece

    def some(self) -> bytes:
        """Return some of the next bytes, at most ``PASSED``; none where nothing follows."""
        return b"".join(self.pass_on(min(len(self._held) - self._used, PASSED))) if self._more() else b""

    def drain(self) -> None:
        """Everything that follows is taken and forgotten."""
        self._held = b""
        for _ in self._pieces:
            pass
