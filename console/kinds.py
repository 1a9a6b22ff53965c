"""What `xinglin convert` reads: which kind of file it is, and the records that stand in one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from schemas.records import Refusal, SourceContext

KINDS: Final = ("hl7v2", "cda", "fhir", "dicom", "row", "omh", "apple-health", "fit", "wearable-api")
#: First bytes that tell a kind.
HEAD_BYTES: Final = 4096
#: Largest file of a kind that is one record, bytes; a study's pixel data are not read into memory by the region.
WHOLE_BYTES: Final = 1 << 30
_RECORD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One record of a file, or what stands in its place.

    Attributes:
        number: From 1; 0 for what belongs to no record.
        content: Its bytes.
        media: What they are.
        refusal: Why it is no record, or None.
    """

    number: int
    content: bytes
    media: str
    refusal: Refusal | None = None


def guess(head: bytes) -> str:
    """Return the kind of a file by its first bytes; hl7v2, which names what is wrong, where none fits."""
    if head[128:132] == b"DICM":
        return "dicom"
    if head[8:12] == b".FIT":
        return "fit"
    if head.startswith(b"PK\x03\x04"):
        return "apple-health"
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if text.startswith(b"<"):
        return "apple-health" if b"<HealthData" in text or b"<!DOCTYPE HealthData" in text else "cda"
    if text[:1] in (b"{", b"["):
        return _json(text)
    return "hl7v2"


def _json(text: bytes) -> str:
    if b'"resourceType"' in text:
        return "fhir"
    if b'"table"' in text and b'"row"' in text:
        return "row"
    return "omh" if b'"schema_id"' in text or b'"header"' in text else "wearable-api"


def parts(stream: BinaryIO, kind: str, context: SourceContext) -> Iterator[Part]:
    """Yield the records of a file, in order.

    Args:
        stream: The file; one that cannot seek is read into memory unless its kind is hl7v2 or row.
        kind: One of ``KINDS``, or ``auto``.
        context: The source.
    """
    if kind == "auto":
        stream = stream if stream.seekable() else io.BytesIO(stream.read())
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        kind = guess(head)
    yield from _READERS.get(kind, _whole)(stream, kind, context)


def _messages(stream: BinaryIO, kind: str, _: SourceContext) -> Iterator[Part]:
    from connectors.his.framing import split_messages

    last = 0
    for framed in split_messages(stream):
        if framed.refusal is None:
            yield Part(framed.number, framed.content, kind)
        else:
            yield Part(framed.number if framed.number > last else 0, b"", kind, framed.refusal)
        last = framed.number


def _whole(stream: BinaryIO, kind: str, _: SourceContext) -> Iterator[Part]:
    content = stream.read(WHOLE_BYTES + 1)
    refusal = None
    if len(content) > WHOLE_BYTES:
        refusal = Refusal("oversize", "file", f"Expected at most {WHOLE_BYTES} bytes in one record.")
    yield Part(0 if refusal else 1, content, kind, refusal)


def _lines(stream: BinaryIO, kind: str, context: SourceContext) -> Iterator[Part]:
    """One resource or row a line; a file that is one JSON value over several lines is one record."""
    first = stream.readline(_RECORD_BYTES)
    if not _is_value(first):
        yield from _whole(io.BytesIO(first + stream.read(WHOLE_BYTES)), kind, context)
        return
    number, line = 0, first
    while line:
        if line.strip():
            number += 1
            yield Part(number, line.strip(), kind)
        line = stream.readline(_RECORD_BYTES)


def _is_value(line: bytes) -> bool:
    import orjson

    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _wearables(stream: BinaryIO, kind: str, context: SourceContext) -> Iterator[Part]:
    from connectors.wearables.files import WearableFilesConnector
    from schemas.source import Source

    media = kind if kind in ("omh", "wearable-api") else "auto"
    source = Source(
        id=context.source, title="", institution=context.institution, kind="wearables.files", enabled=False,
        time_zone=context.time_zone, charset=context.charset, schedule=None, batch_records=1,
        record_bytes=_RECORD_BYTES, suite="wearables", failure_threshold=1.0, failure_minimum=1, drift="evolve",
        silence_minutes=None, mapping=None, mapping_document={}, settings={"folder": ".", "media": media},
    )  # fmt: skip
    raw = stream if stream.seekable() else io.BytesIO(stream.read())
    found = WearableFilesConnector(source, Path()).contents(raw, "file")  # type: ignore[arg-type]  # reads and seeks
    for number, one in enumerate(found, 1):
        yield Part(number, one.content, one.media or kind, one.refusal)


_Reader = Callable[[BinaryIO, str, SourceContext], Iterator[Part]]
_READERS: Final[dict[str, _Reader]] = {
    "hl7v2": _messages,
    "fhir": _lines,
    "row": _lines,
    "omh": _wearables,
    "apple-health": _wearables,
    "fit": _wearables,
    "wearable-api": _wearables,
}
