"""One DICOM object as it arrives becomes one record; its pixel data go sealed into the bulk store on the way.

The record is a DICOM file (PS3.10) in Explicit VR Little Endian without pixel data and other large binary values.
What was taken out stands in a private block at its end, group FFFB, creator ``XINGLIN BULK 1``: (FFFB,xx01) the tags,
(FFFB,xx02) their VRs, (FFFB,xx03) lengths in bytes, (FFFB,xx04) digests (SM3, hex), (FFFB,xx05) the transfer syntax
they are in, (FFFB,xx06) the names' beginning; a name is that beginning and the tag, eight hex digits.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from connectors.contract import BulkStore, DigestFactory, Found
from connectors.pacs.elements import Fault, Transcriber, element
from connectors.pacs.streams import PASSED, Ended, Stream
from schemas.records import Refusal

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
CREATOR: Final = b"XINGLIN BULK 1"
#: Longest value of the file meta information that is read, bytes.
_META_BYTES: Final = 64 * 1024
_BLOCK: Final = 0xFFFB0000


def derived_uid(*parts: str) -> str:
    """Return the UID that these parts always give (PS3.5 annex B.2)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(chr(31).join(parts).encode()).digest()[:16], 'big')}"


_IMPLEMENTATION: Final = derived_uid("xinglin", "implementation", "1")


@dataclass(frozen=True, slots=True)
class Taking:
    """How objects of one source are taken.

    Attributes:
        source: Id of the source; begins the names of its large values.
        limit: Bytes that a record may have.
        digest: Starts a digest.
        bulk: Where large values go; None measures and forgets them (a preview).
        position: Where the object stands at the archive, without patient data.
        wait: Returns when the next object may pass.
    """

    source: str
    limit: int
    digest: DigestFactory
    bulk: BulkStore | None
    position: str = ""
    wait: Callable[[], None] = lambda: None


class _Large:
    """Puts an object's large values away and remembers what they were."""

    def __init__(self, taking: Taking, uid: str) -> None:
        self._taking = taking
        self.prefix = f"{taking.source}/{uid}/"
        self.tags: list[int] = []
        self.vrs: list[str] = []
        self.sizes: list[int] = []
        self.digests: list[str] = []

    def __call__(self, tag: int, vr: str, pieces: Iterator[bytes]) -> None:
        digest, size = self._taking.digest(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece

        if self._taking.bulk is not None:
            self._taking.bulk.put(f"{self.prefix}{tag:08X}", measured())
        else:
            for _ in measured():
                pass
        self.tags.append(tag)
        self.vrs.append(vr)
        self.sizes.append(size)
        self.digests.append(digest.hexdigest())

    @property
    def names(self) -> tuple[str, ...]:
        """The names they lie under."""
        return () if self._taking.bulk is None else tuple(f"{self.prefix}{tag:08X}" for tag in self.tags)

    def block(self, syntax: str) -> bytes:
        """Return the private block that says where they are; nothing where there are none."""
        if not self.tags:
            return b""
        tags = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in self.tags)
        return b"".join(
            (
                element(_BLOCK | 0x0010, "LO", CREATOR),
                element(_BLOCK | 0x1001, "AT", tags),
                element(_BLOCK | 0x1002, "CS", "\\".join(self.vrs).encode()),
                element(_BLOCK | 0x1003, "UV", struct.pack(f"<{len(self.sizes)}Q", *self.sizes)),
                element(_BLOCK | 0x1004, "LO", "\\".join(self.digests).encode()),
                element(_BLOCK | 0x1005, "UI", syntax.encode()),
                element(_BLOCK | 0x1006, "UR", f"urn:xinglin:bulk:{self.prefix}".encode()),
            )
        )


def take_file(pieces: Iterator[bytes], uid: str, taking: Taking) -> Found:
    """Return the record of an object that arrives as a DICOM file (PS3.10 section 7); see `take`."""
    stream = Stream(pieces)
    try:
        syntax = _meta(stream)
    except Ended:
        return refused("truncated", "(0002,0010)", "The file ends inside its meta information.", b"", uid, taking)
    except Fault as fault:
        stream.drain()
        return _refused(fault.refusal, b"", uid, taking)
    return take(stream, syntax, uid, taking)


def _meta(stream: Stream) -> str:
    """Read preamble and meta information; returns the transfer syntax."""
    if stream.read(132)[128:] != b"DICM":
        raise Fault("structure", "byte 128", "Expected DICM: this is no DICOM file.")
    syntax = b""
    while stream.peek(2) == b"\2\0":
        group, number, vr, length = struct.unpack("<HH2sH", stream.read(8))
        if vr in (b"OB", b"UN", b"OW", b"UT", b"SQ"):
            (length,) = struct.unpack("<I", stream.read(4))
        if length > _META_BYTES:
            raise Fault("structure", group << 16 | number, f"Expected at most {_META_BYTES} bytes in the file's meta.")
        value = stream.read(length)
        if number == 0x0010:
            syntax = value
    if not syntax:
        raise Fault("required", "(0002,0010)", "The transfer syntax is missing.")
    return syntax.rstrip(b"\0 ").decode("ascii", "replace")


def take(stream: Stream, syntax: str, uid: str, taking: Taking) -> Found:
    """Return the record that an arriving object becomes, once its large values are durable.

    Args:
        stream: Its dataset; read to the end whatever happens.
        syntax: The transfer syntax it is in.
        uid: The SOPInstanceUID that was asked for.
        taking: How this source's objects are taken.

    Returns:
        The record; or a refusal with the DICOM coordinates of what is wrong. What the bulk store raises, or the
        stream, is let through.
    """
    large = _Large(taking, uid)
    reader: Transcriber | None = None
    try:
        stream, implicit = _opened(stream, syntax)
        reader = Transcriber(stream, implicit, taking.limit, large)
        reader.run()
        body = _file(reader, uid, large.block(EXPLICIT if syntax == DEFLATED else syntax))
    except Fault as fault:
        stream.drain()
        return _refused(fault.refusal, bytes(reader.out) if reader else b"", uid, taking)
    return Found(body, taking.position, uid, media="dicom", bulk=large.names)


def _opened(stream: Stream, syntax: str) -> tuple[Stream, bool]:
    if syntax == BIG_ENDIAN or not syntax.startswith(IMPLICIT):
        raise Fault(
            "bad_value", "(0002,0010)",
            "Expected Implicit or Explicit VR Little Endian, deflated or with compressed pixels; "
            "have the archive convert it.",
        )  # fmt: skip
    if syntax == DEFLATED:
        return Stream(_inflated(stream)), False
    return stream, syntax == IMPLICIT


def _inflated(stream: Stream) -> Iterator[bytes]:
    """Yield what a deflated dataset holds (PS3.5 A.5), never more than ``PASSED`` bytes at a time."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while (held := stream.some()) and not inflater.eof:
        while held and not inflater.eof:  # what follows the end stays unconsumed for ever
            try:
                yield inflater.decompress(held, PASSED)
            except zlib.error:
                raise Fault("structure", "(0002,0010)", "The dataset is not deflated as it says it is.") from None
            held = inflater.unconsumed_tail
    stream.drain()


def _file(reader: Transcriber, uid: str, block: bytes) -> bytes:
    """Return the record's bytes; the object must be the one that was asked for."""
    sop_class, own = (reader.values.get(tag, b"").rstrip(b"\0 ") for tag in (0x00080016, 0x00080018))
    for tag, value in ((0x00080016, sop_class), (0x00080018, own)):
        if not value:
            raise Fault("required", tag, "The object does not say what it is; the modality or archive must.")
    if own != uid.encode():
        raise Fault("bad_value", 0x00080018, "Another object came than was asked for; the archive mixes them up.")
    return file_of(sop_class, own, bytes(reader.out) + block)


def file_of(sop_class: bytes, uid: bytes, dataset: bytes) -> bytes:
    """Return a DICOM file of a dataset in Explicit VR Little Endian (PS3.10 section 7.1)."""
    meta = b"".join(
        (
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", sop_class),
            element(0x00020003, "UI", uid),
            element(0x00020010, "UI", EXPLICIT.encode()),
            element(0x00020012, "UI", _IMPLEMENTATION.encode()),
        )
    )
    length = element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return b"".join((bytes(128), b"DICM", length, meta, dataset))


def refused(code: str, tag: int | str, message: str, head: bytes, uid: str, taking: Taking) -> Found:
    """Return what is set aside in an object's stead.

    Args:
        code: Key of ``schemas.reasons.REASONS``.
        tag: The element at fault, or where else.
        message: What was expected and what to do.
        head: What was read of it.
        uid: Its SOPInstanceUID.
        taking: How this source's objects are taken.
    """
    return _refused(Fault(code, tag, message).refusal, head, uid, taking)


def _refused(refusal: Refusal, head: bytes, uid: str, taking: Taking) -> Found:
    digest = taking.digest()
    digest.update(uid.encode() + b"\0" + head)
    return Found(head, taking.position, uid, refusal, len(head), digest.hexdigest())
