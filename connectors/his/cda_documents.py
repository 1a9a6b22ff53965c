"""CDA documents (C-CDA, WS/T 500) from a folder: one file is one document is one record.

A document is landed as it stands and judged when it is normalised, so that what is refused there can be replayed
after a mapping is mended. Refused here is only what cannot become a record: a file without content, and one over
the source's limit, of which no more than the limit is ever in memory.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final

from connectors.contract import HEAD_BYTES, Finding, Found, oversize
from connectors.folders import FolderConnector, FolderSettings, opened
from schemas.records import Refusal

_CHUNK: Final = 1 << 20
_ID: Final = re.compile(rb"<(?:[\w.-]+:)?id\b([^<>]{0,512}?)/?>")
_ROOT: Final = re.compile(rb"\broot\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_EXTENSION: Final = re.compile(rb"\bextension\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
_ENCODING: Final = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
#: Files of which `check` looks at the head.
_LOOKED_AT: Final = 20


@dataclass(frozen=True, slots=True)
class DocumentFolder(FolderSettings):
    """Settings of a folder of documents; stylesheets, checksums and pictures beside them are left alone."""

    pattern: tuple[str, ...] = ("*.xml", "*.XML", "*.cda", "*.ccda")


class DocumentsConnector(FolderConnector):
    """Pulls every new or changed document of a folder, oldest first."""

    media: ClassVar[str] = "cda"
    shape: ClassVar[type[FolderSettings]] = DocumentFolder

    def contents(self, stream: io.FileIO, name: str) -> Iterator[Found]:
        """Yield the file as one record, or why it is none."""
        limit, position = self.source.record_bytes, f"file {name}"
        content = _read(stream, limit + 1)
        if len(content) > limit:
            digest, size = self.digest(), len(content)
            digest.update(content)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
            yield Found(content[:HEAD_BYTES], position, "", oversize(limit, "file"), size, digest.hexdigest())
        elif content.strip():
            yield Found(content, position, native_id(content))
        else:
            message = "a document was expected, the file has no content; send it again"
            yield Found(content[:HEAD_BYTES], position, "", Refusal("truncated", "file", message), len(content))

    def check(self) -> tuple[Finding, ...]:
        """Return whether the folder can be read, and what its documents declare and are."""
        findings = super().check()
        if not all(one.ok for one in findings if one.aspect != "clock"):
            return findings
        heads = [_head(stream) for stream in self._streams()]
        if not heads:
            return findings
        declared = Counter(_declared(head) for head in heads)
        charsets = ", ".join(f"{name} {count}" for name, count in declared.most_common())
        cda = sum(b"ClinicalDocument" in head.replace(b"\0", b"") for head in heads)
        content = f"{cda} of the first {len(heads)} files begin as a ClinicalDocument" + (
            "" if cda == len(heads) else "; name only these in settings.pattern"
        )
        return (
            *findings,
            Finding("charset", True, f"the first {len(heads)} files declare: {charsets}"),
            Finding("content", cda > 0, content),
        )

    def _streams(self) -> Iterator[io.FileIO]:
        for file in islice(self.listed(), _LOOKED_AT):
            try:
                stream = opened(file.path)
            except OSError:
                continue  # taken away, or not readable, which `rights` has said
            with stream:
                yield stream


def native_id(content: bytes) -> str:
    """Return a digest of the document's own id (root and extension), or ``""`` where the head shows none.

    Read without parsing: the first ``id`` element of a ClinicalDocument is its own (CDA R2, POCD_RM000040).
    """
    head = content[:HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.replace(b"\0", b"")
    match = _ID.search(_COMMENT.sub(b"", head))
    root = _ROOT.search(match[1]) if match else None
    if match is None or root is None:
        return ""
    extension = _EXTENSION.search(match[1])
    parts = (root[1] or root[2] or b"", (extension[1] or extension[2] or b"") if extension else b"")
    return hashlib.sha256(b"\x1f".join(parts)).hexdigest()[:32] if parts[0] else ""


def _read(stream: io.FileIO, most: int) -> bytes:
    """Return the first ``most`` bytes; a raw file may give fewer at a time than it is asked for."""
    content = bytearray()
    while len(content) < most and (chunk := stream.read(min(_CHUNK, most - len(content)))):
        content += chunk
    return bytes(content)


def _head(stream: io.FileIO) -> bytes:
    return _read(stream, HEAD_BYTES)


def _declared(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    match = _ENCODING.match(head)
    return match[1].decode().upper() if match else "none (read as UTF-8, else GB18030)"
