"""Lines of a stream that may be of any size, of which at most one limit's worth is in memory."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.contract import HEAD_BYTES, DigestFactory, Found


class Lines:
    """The lines of a stream of chunks; one over the limit is a :class:`Found` of its head, its size and its digest."""

    def __init__(self, chunks: Iterator[bytes], limit: int, digest: DigestFactory) -> None:
        self._chunks, self._limit, self._digest = chunks, limit, digest

    def __iter__(self) -> Iterator[Found | bytes]:
        held = b""
        for chunk in self._chunks:
            *lines, held = (held + chunk).split(b"\n")
            yield from map(self._line, lines)
            if len(held) > self._limit:
                found, rest = self._overlong(held)
                yield found
                *lines, held = rest.split(b"\n")
                yield from map(self._line, lines)
        if held:
            yield self._line(held)

    def _line(self, line: bytes) -> Found | bytes:
        line = line.removesuffix(b"\r")
        if len(line) <= self._limit:
            return line
        running = self._digest()
        running.update(line)
        return Found(line[:HEAD_BYTES], "", size=len(line), digest=running.hexdigest())

    def _overlong(self, held: bytes) -> tuple[Found, bytes]:
        """Read on to the end of the line without keeping it; return what is kept of it, and what stands behind."""
        running, size, head = self._digest(), 0, held[:HEAD_BYTES]
        chunk, rest = held, b""
        while True:
            line, newline, rest = chunk.partition(b"\n")
            running.update(line)
            size += len(line)
            if newline:
                break
            following = next(self._chunks, None)
            if following is None:
                break
            chunk = following
        return Found(head, "", size=size, digest=running.hexdigest()), rest
