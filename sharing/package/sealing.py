"""The key of one dataset, and the chunks that each of its files is sealed in (docs/formats/dataset.md).

STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over SM4-GCM: a chunk's number and whether it is the last stand in its
nonce, and every file has a key of its own. A chunk that was changed, moved, doubled or taken from another file or
dataset does not open, and a file whose end is missing has no last chunk.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final

from ledger.chain.validators import institution_id
from ledger.encoding import u8, u64, var
from shangmi import WrongKeyOrTampered, hkdf_sm3, hmac_sm3, sm4_gcm_open, sm4_gcm_seal
from sharing.errors import Malformed, Tampered

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

#: Bytes of plaintext in a chunk; the last one of a file has fewer or as many, and none only where the file is empty.
CHUNK: Final = 1 << 20
TAG: Final = 16
SEALED_CHUNK: Final = CHUNK + TAG
SECRET_BYTES: Final = 32
SALT_BYTES: Final = 32
_AAD: Final = b"XL/DATASET/CHUNK/1\0"
#: Opened chunks that a file keeps: Parquet reads a column here and the next one there.
_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class DatasetKey:
    """The secret of one dataset, bound to what it was made for.

    Attributes:
        secret: 32 random bytes; only the recipient's key unwraps them.
        salt: 32 random bytes of this dataset, in the clear.
        request: Id of the ACCESS_REQ, 32 bytes.
        holder: Whose records they are, by its id in region.yaml.
    """

    secret: bytes
    salt: bytes
    request: bytes
    holder: str

    @property
    def _context(self) -> bytes:
        return self.salt + self.request + institution_id(self.holder)

    @property
    def commitment(self) -> bytes:
        """What no other secret gives: GCM alone would let one ciphertext open to two texts under two keys."""
        return hmac_sm3(self.secret, b"XL/DATASET/KC/1\0" + self._context)

    def of_file(self, name: str) -> bytes:
        """Return the SM4 key of one file, 16 bytes."""
        return hkdf_sm3(self.secret, self.salt, b"XL/DATASET/FILE/1\0" + self._context + var(name.encode()), 16)


def nonce(number: int, *, last: bool) -> bytes:
    """Return the nonce of a chunk: number u64, three zero bytes, 1 for the last one."""
    return u64(number) + bytes(3) + u8(last)


class SealedWriter(io.RawIOBase):
    """A file that takes plaintext and writes sealed chunks; it holds one chunk.

    Args:
        sink: Where they go; it is left open.
        key: The file's key.
    """

    def __init__(self, sink: Callable[[bytes], object], key: bytes) -> None:
        self._sink, self._key = sink, key
        self._held = bytearray()
        self._number = 0

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def tell(self) -> int:
        """Return how many bytes of plaintext were written."""
        return self._number * CHUNK + len(self._held)

    def write(self, data: ReadableBuffer, /) -> int:
        """Take plaintext; a chunk is sealed when more comes, since the last one is sealed as the last."""
        if self.closed:
            raise ValueError("a sealed file is written after it was closed")
        plain = memoryview(data).cast("B")
        for at in range(0, len(plain), CHUNK):
            self._held += plain[at : at + CHUNK]
            if len(self._held) > CHUNK:
                self._seal(bytes(self._held[:CHUNK]), last=False)
                del self._held[:CHUNK]
        return len(plain)

    def finish(self) -> None:
        """Seal what is held as the last chunk; nothing can follow."""
        self._seal(bytes(self._held), last=True)
        self._held.clear()
        self.close()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        self._sink(sm4_gcm_seal(self._key, nonce(self._number, last=last), plain, _AAD))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Plaintext of a sealed file, readable from anywhere in it; every chunk is verified before a byte of it is seen.

    Args:
        read: Returns ``n`` sealed bytes from a place in the file.
        size: Sealed bytes of the file.
        key: The file's key.
        what: The file, for messages.

    Raises:
        Malformed: No sealed file has this size.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, key: bytes, what: str) -> None:
        self._read, self._key, self._what = read, key, what
        self._chunks = chunks_in(size, what)
        self._sealed, self.size = size, size - TAG * self._chunks
        self._at = 0
        self._open: OrderedDict[int, bytes] = OrderedDict()
        self._turn = Lock()

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from anywhere: always."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; beyond the end there is nothing to read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer as far as one chunk goes.

        Raises:
            Tampered: The chunk was changed, moved, or is another file's.
        """
        if self.closed:
            raise ValueError("a sealed file is read after it was closed")
        target = memoryview(buffer).cast("B")
        if self._at >= self.size:
            return 0
        number, within = divmod(self._at, CHUNK)
        piece = self._chunk(number)[within : within + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def check(self) -> None:
        """Return once every chunk was opened; where a file has no bytes this is what verifies that."""
        for number in range(self._chunks):
            self._chunk(number)

    def _chunk(self, number: int) -> bytes:
        with self._turn:
            found = self._open.get(number)
            if found is None:
                found = self._open[number] = self._opened(number)
                if len(self._open) > _KEPT:
                    self._open.popitem(last=False)
            self._open.move_to_end(number)
            return found

    def _opened(self, number: int) -> bytes:
        last = number == self._chunks - 1
        start = number * SEALED_CHUNK
        sealed = self._read(start, min(SEALED_CHUNK, self._sealed - start))
        try:
            return sm4_gcm_open(self._key, nonce(number, last=last), sealed, _AAD)
        except WrongKeyOrTampered:
            raise Tampered(f"{self._what}: chunk {number} is not what was sealed there") from None


def chunks_in(size: int, what: str) -> int:
    """Return how many chunks a sealed file of this size has; Malformed where no file has it."""
    count, rest = divmod(size, SEALED_CHUNK)
    if size < TAG or 0 < rest < TAG or (rest == TAG and count):
        raise Malformed(f"{what}: {size} bytes are no whole number of sealed chunks")
    return count + (rest > 0)


def buffered(reader: SealedReader) -> BinaryIO:
    """Return the file with reads of any length."""
    return io.BufferedReader(reader, 1 << 16)
