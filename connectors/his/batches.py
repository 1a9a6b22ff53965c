"""The batch protocol's own count of messages and batches, held against what really stands in the file.

HL7 v2.5.1 section 2.10.3: ``[FHS] { [BHS] { message } [BTS] } [FTS]``; BTS-1 counts the messages of a batch,
FTS-1 the batches of the file. Both are optional; a batch that began and has no trailer was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.records import Refusal


class BatchCounts:
    """Counts as the segments pass, and says where the sender counted otherwise."""

    def __init__(self) -> None:
        self._messages = 0
        self._batches = 0
        self._in_batch = False
        self._in_file = False

    @property
    def is_open(self) -> bool:
        """Whether a trailer must still follow."""
        return self._in_batch or self._in_file

    def message(self) -> None:
        """Count one message, whatever becomes of it."""
        self._messages += 1

    def segment(self, line: bytes) -> Iterator[Refusal]:
        """Take in an FHS, BHS, BTS or FTS segment; yield what does not agree with it."""
        kind = line[:3]
        if kind != b"BTS" and self._in_batch:
            yield _missing("BTS")
            self._in_batch = False
        if kind == b"FHS":
            yield from self.finish()
            self._in_file, self._batches = True, 0
        elif kind == b"BHS":
            self._in_batch, self._messages = True, 0
            self._batches += 1
        elif kind == b"BTS":
            yield from _compare("BTS-1", line, self._messages, "messages")
            self._in_batch, self._messages = False, 0
        else:
            yield from _compare("FTS-1", line, self._batches, "batches")
            self._in_file, self._batches = False, 0

    def finish(self) -> Iterator[Refusal]:
        """Yield the trailers that never came."""
        if self._in_batch:
            yield _missing("BTS")
        if self._in_file:
            yield _missing("FTS")
        self._in_batch = self._in_file = False


def _missing(trailer: str) -> Refusal:
    return Refusal(
        "truncated",
        trailer,
        f"expected the trailer {trailer} of what began, it never came; compare with the sender",
    )


def _compare(where: str, line: bytes, counted: int, what: str) -> Iterator[Refusal]:
    """Yield a refusal where the trailer's count is no number or not ``counted``; it may be empty."""
    separator = line[3:4] or b"|"
    parts = line.split(separator)
    announced = parts[1].strip() if len(parts) > 1 else b""
    if not announced:
        return
    if not (announced.isdigit() and len(announced) <= 10):
        yield Refusal("bad_value", where, f"expected a number of {what}, came something else; compare with the sender")
    elif int(announced) > counted:
        yield Refusal("truncated", where, f"{int(announced)} {what} announced, {counted} came; send the file again")
    elif int(announced) < counted:
        yield Refusal("structure", where, f"{int(announced)} {what} announced, {counted} came; compare with the sender")
