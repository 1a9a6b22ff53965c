r"""Messages cut out of a stream of bytes, in bounded memory, before anything is decoded.

A message begins with ``MSH`` and a delimiter at the beginning of a line and ends where the next one, or a
segment of the batch protocol (FHS, BHS, BTS, FTS; HL7 v2.5.1 section 2.10.3), begins. Carriage return and
line feed never occur inside a character of UTF-8, GBK or GB18030, so this holds whatever the charset. Line
ends, what stands before the first message (a byte order mark, MLLP's start block) and after the last are
taken as they come.

UTF-16 with its byte order mark is recoded to UTF-8 on the way; without the mark it is not HL7. A byte order
mark speaks for the whole stream, so each message cut out of it is given one.

A line that is no segment belongs to the message it follows: it is nearly always text with a line end inside
(OBX-5), and cutting it off would lose part of a finding in silence. Behind a blank line, MLLP's end block or
a batch segment it is refused as ``not_hl7``, by itself.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from connectors.contract import HEAD_BYTES, Digest, DigestFactory, oversize
from connectors.his.batches import BatchCounts
from schemas.records import Refusal

CHUNK_BYTES: Final = 1024 * 1024
#: Largest message where the caller sets no limit: the largest that a source file may set.
LARGEST_MESSAGE: Final = 8 * 1024 * 1024

_BOM: Final = codecs.BOM_UTF8
#: The letter leads and what must stand before it is looked at afterwards: so the search skips from letter to letter,
#: which takes a third of the time.
_HEADER: Final = re.compile(
    rb"[MFB](?:(?<=[\r\n\x0b\x1c].)|(?<=\xef\xbb\xbf.)|(?<=\A.))(?:(?<=M)SH|(?<=[FB])[HT]S)(?=[!-/:-@\[-`{-~\r\n]|\Z)"
)
#: More than a byte order mark, a header and the byte behind it: what the end of a chunk may cut.
_OVERLAP: Final = 8
#: Line ends that may follow a message of just the largest size.
_SLACK: Final = 1024
_SEGMENT: Final = re.compile(rb"(?:\A|[\r\n])[A-Z][A-Z0-9]{2}(?:[!-/:-@\[-`{-~]|[\r\n]|\Z)")
_BLANK_LINES: Final = re.compile(rb"\r\n(?:\r\n)+|\n\n+|\r\r+(?!\n)")
_MAY_BE_BLANK: Final = (b"\r\r", b"\n\n", b"\n\r")
#: What means nothing between messages: line ends, MLLP's block bytes, DOS's end of file, NUL.
_AROUND: Final = b"\r\n\x0b\x1c\x1a\x00"


@dataclass(frozen=True, slots=True)
class Framed:
    """One message, or something that is none.

    Attributes:
        content: The message's bytes without line ends around it; of what is refused, the first
            ``HEAD_BYTES``.
        number: Of messages, from 1 in the order of the stream; of what is no message, that of the one before.
        offset: Byte of the stream where it begins (of the recoded stream where it came as UTF-16).
        size: Bytes it has.
        refusal: Why it cannot go on, or None.
        digest: Digest in hex of all bytes of what is refused, ``""`` of a message.
    """

    content: bytes
    number: int
    offset: int
    size: int
    refusal: Refusal | None = None
    digest: str = ""


def split_messages(
    stream: BinaryIO, limit: int = LARGEST_MESSAGE, digest: DigestFactory = hashlib.sha256
) -> Iterator[Framed]:
    """Yield every message of ``stream`` and everything in it that is none; nothing but line ends is left out.

    Memory stays below three times ``limit`` and a few MiB, however long the stream, a line or a message. A
    stream without any message yields a refusal ``not_hl7``, so that an empty file does not pass in silence.

    Args:
        stream: Open for reading bytes, at its beginning.
        limit: Largest message in bytes; a larger one is refused as ``oversize``, the others go on.
        digest: Starts the digest of what is refused.
    """
    first = stream.read(CHUNK_BYTES)
    while len(first) < len(_BOM) and (more := stream.read(CHUNK_BYTES)):
        first += more
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from _Splitter(limit, digest, _BOM).split(_recoded(_chunks(stream, first)))
        return
    mark = _BOM if first.startswith(_BOM) else b""
    yield from _Splitter(limit, digest, mark, len(mark)).split(_chunks(stream, first[len(mark) :]))


def _chunks(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    yield first
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _recoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield UTF-16 as UTF-8; what is not UTF-16 becomes what is not UTF-8 either, and is refused later."""
    decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield b"\xff"


@dataclass(slots=True)
class _Skipped:
    """A block too large to hold: its head, and the digest and size of the rest."""

    head: bytes
    digest: Digest
    size: int


class _Splitter:
    """Cuts a stream into blocks, each from one header to the next; only the first may have none."""

    def __init__(self, limit: int, digest: DigestFactory, mark: bytes, start: int = 0) -> None:
        self._limit = limit
        self._start_digest = digest
        self._mark = mark
        self._counts = BatchCounts()
        self._number = 0
        self._offset = start  # of the open block
        self._in_mllp = False  # the open block stands behind MLLP's start byte
        self._empty = True

    def split(self, chunks: Iterator[bytes]) -> Iterator[Framed]:
        """Yield the blocks of the whole stream as messages and refusals."""
        data, scan = b"", 0
        skipped: _Skipped | None = None
        for chunk in chunks:
            data += chunk
            begin = 0
            while match := _HEADER.search(data, scan):
                scan = match.start()
                if match.end() == len(data):
                    break  # the byte behind the header comes with the next chunk
                yield from self._close(data[begin:scan], skipped)
                begin, skipped = scan, None
                scan += 1
            else:
                scan = max(scan, len(data) - 2)
            data, scan = data[begin:], scan - begin
            if len(data) > self._limit + _SLACK:
                skipped = self._skip(data[:-_OVERLAP], skipped)
                data, scan = data[-_OVERLAP:], scan - len(data) + _OVERLAP
        if scan and len(data) >= 3 and (match := _HEADER.search(data, scan)):
            # A header that the stream's end cuts off behind its name.
            yield from self._close(data[: match.start()], skipped)
            data, skipped = data[match.start() :], None
        yield from self._close(data, skipped, last=True)
        yield from (self._refuse(one, b"", self._offset) for one in self._counts.finish())
        if self._empty:
            yield self._refuse(_not_hl7(0, "nothing at all"), b"", 0)

    def _skip(self, data: bytes, skipped: _Skipped | None) -> _Skipped:
        if skipped is None:
            skipped = _Skipped(b"", self._start_digest(), 0)
        skipped.head += data[: HEAD_BYTES - len(skipped.head)]
        skipped.digest.update(data)
        skipped.size += len(data)
        return skipped

    def _close(self, block: bytes, skipped: _Skipped | None, last: bool = False) -> Iterator[Framed]:
        """Yield what one block is, and begin the next behind it."""
        size = len(block) + (skipped.size if skipped else 0)
        offset, self._offset = self._offset, self._offset + size
        in_mllp, self._in_mllp = self._in_mllp, block.endswith(b"\x0b")
        header = _HEADER.match(skipped.head if skipped else block)
        kind = header.group() if header else b""
        if kind == b"MSH":
            self._number += 1
            self._counts.message()
        if skipped is not None:
            yield self._too_large(kind, self._skip(block.removesuffix(_BOM).rstrip(_AROUND), skipped), offset)
        elif kind == b"MSH":
            yield from self._message(block, offset, in_mllp, last)
        elif kind:
            yield from self._batch(block, offset)
        else:
            yield from self._junk(block, offset)

    def _too_large(self, kind: bytes, skipped: _Skipped, offset: int) -> Framed:
        self._empty = False
        where = f"file byte {offset}"
        refusal = oversize(self._limit, where) if kind == b"MSH" else _not_hl7(offset, f"{skipped.size} other bytes")
        return Framed(skipped.head, self._number, offset, skipped.size, refusal, skipped.digest.hexdigest())

    def _message(self, block: bytes, offset: int, in_mllp: bool, last: bool) -> Iterator[Framed]:
        body, end, rest = block.removesuffix(_BOM).partition(b"\x1c")
        if not end:
            body, rest = _without_remarks(body)
        content = body.rstrip(_AROUND)
        self._empty = False
        if (in_mllp and not end) or (last and not end and self._is_cut(body)):
            yield self._refuse(_TRUNCATED, content, offset)
        elif len(content) > self._limit:
            yield self._refuse(oversize(self._limit, f"file byte {offset}"), content, offset)
        else:
            yield Framed(self._mark + content, self._number, offset, len(content))
        yield from self._junk(rest, offset + len(body) + len(end))

    def _is_cut(self, body: bytes) -> bool:
        """Whether the last message ends in mid-line: its batch is still open, or no segment is so short."""
        text = body.rstrip(b"\x00\x1a")
        left = len(text) - 1 - max(text.rfind(b"\r"), text.rfind(b"\n"))
        return left > 0 and (left < 3 or self._counts.is_open)

    def _batch(self, block: bytes, offset: int) -> Iterator[Framed]:
        self._empty = False
        line = re.split(rb"[\r\n\x0b\x1c]", block, maxsplit=1)[0]
        for refusal in self._counts.segment(line):
            yield self._refuse(refusal, line, offset)
        yield from self._junk(block[len(line) :], offset + len(line))

    def _junk(self, block: bytes, offset: int) -> Iterator[Framed]:
        rest = block.removeprefix(_BOM).removesuffix(_BOM)
        content = rest.lstrip(_AROUND + b" \t")
        begin = offset + len(block) - len(content) - (len(_BOM) if block.endswith(_BOM) and rest else 0)
        content = content.rstrip(_AROUND + b" \t")
        if content:
            self._empty = False
            yield self._refuse(_not_hl7(begin, f"{len(content)} other bytes"), content, begin)

    def _refuse(self, refusal: Refusal, content: bytes, offset: int) -> Framed:
        digest = self._start_digest()
        digest.update(content)
        return Framed(content[:HEAD_BYTES], self._number, offset, len(content), refusal, digest.hexdigest())


_TRUNCATED: Final = Refusal(
    "truncated", "", "expected the message's end, the file ends in mid-segment; send the message again"
)


def _not_hl7(offset: int, what: str) -> Refusal:
    return Refusal(
        "not_hl7",
        f"file byte {offset}",
        f"expected a segment MSH, FHS, BHS, BTS or FTS at a line's beginning, came {what}; see what wrote it",
    )


def _without_remarks(body: bytes) -> tuple[bytes, bytes]:
    """Return the message, and the lines behind a blank line at its end that hold no segment."""
    end = len(body)
    if not any(pair in body for pair in _MAY_BE_BLANK):
        return body, b""
    for gap in reversed(list(_BLANK_LINES.finditer(body))):
        if _SEGMENT.search(body, gap.end() - 1, end):
            break
        end = gap.start()
    return body[:end], body[end:]
