"""Bytes made smaller before they are sealed; the codec's number stands beside them."""

from __future__ import annotations

import threading
import zlib
from typing import Any, Final

from vault.errors import Tampered

STORED: Final = 0
ZLIB: Final = 1
ZSTD: Final = 2
#: Refused above: nothing this house seals in one piece is larger.
MAX_BYTES: Final = 256 * 1024 * 1024

try:
    import zstandard
except ImportError:  # written with zlib then; what zstd wrote needs the library to be read
    zstandard = None  # type: ignore[assignment]

_FAULTS: Final[tuple[type[Exception], ...]] = (zlib.error, *((zstandard.ZstdError,) if zstandard else ()))
_local = threading.local()


def _machines() -> Any:
    """One compressor and decompressor a thread: they keep state and cost more to make than to use."""
    if not hasattr(_local, "pair"):
        _local.pair = (zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor())
    return _local.pair


def compress(data: bytes) -> tuple[int, bytes]:
    """Return codec and bytes, never larger than ``data``."""
    if zstandard is None:
        codec, small = ZLIB, zlib.compress(data, 6)
    else:
        codec, small = ZSTD, _machines()[0].compress(data)
    return (codec, small) if len(small) < len(data) else (STORED, data)


def decompress(codec: int, data: bytes) -> bytes:
    """Return what `compress` was given.

    Raises:
        Tampered: An unknown codec, or bytes it cannot read.
    """
    if codec == STORED:
        return data
    try:
        if codec == ZSTD and zstandard is not None:
            return bytes(_machines()[1].decompress(data, max_output_size=MAX_BYTES))
        if codec == ZLIB:
            machine = zlib.decompressobj()
            plain = machine.decompress(data, MAX_BYTES)
            if machine.eof and not machine.unused_data:
                return plain
    except _FAULTS:
        pass
    raise Tampered(f"sealed content cannot be decompressed (codec {codec}); zstd needs the package zstandard")
