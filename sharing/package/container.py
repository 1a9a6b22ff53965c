"""A package file taken apart: header, files, manifest, signature; every byte is accounted for.

Nothing here needs a key. ``docs/formats/dataset.md`` has the bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from ledger.encoding import SIGNATURE
from shangmi import PublicKey, ShangmiError, Sm3, sm3
from sharing.errors import Malformed, NotForThisKey, Tampered
from sharing.package.manifest import MAX_MANIFEST, Manifest, Section
from sharing.package.sealing import SALT_BYTES, SECRET_BYTES, DatasetKey, SealedReader, chunks_in

HEADER_MAGIC: Final = b"XLDATA1\0"
FOOTER_MAGIC: Final = b"XLDATEND"
HEADER_BYTES: Final = len(HEADER_MAGIC) + SALT_BYTES
FOOTER_BYTES: Final = 8 + 4 + SIGNATURE + len(FOOTER_MAGIC)
#: A file that is readable without a key; it is read whole.
MAX_PLAIN: Final = 256 << 20
_PIECE: Final = 1 << 20


class Package:
    """An open package file; its manifest is signed by the key that it names, and is nobody's word yet.

    Args:
        path: The file.

    Attributes:
        manifest: What it says.
        manifest_digest: SM3 of it.
        size: Bytes of the file.

    Raises:
        Malformed: The file is no package.
        Tampered: Its manifest was changed.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._file).st_size
            encoded, signature = self._ends()
            self.manifest, self.manifest_digest = Manifest.decode(encoded), sm3(encoded)
            self._check_places(self.size - FOOTER_BYTES - len(encoded))
            manifest = self.manifest
            if not PublicKey.from_bytes(manifest.holder_key).verify(signature, manifest.message(self.manifest_digest)):
                raise Tampered("manifest: it is not what the holder signed")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file is closed; files opened from it cannot be read any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _ends(self) -> tuple[bytes, bytes]:
        """Return the manifest's bytes and the signature."""
        if self.size < HEADER_BYTES + FOOTER_BYTES:
            raise Malformed(f"package: {self.size} bytes are too few for one; it was cut off, or is something else")
        if self.read_at(0, len(HEADER_MAGIC)) != HEADER_MAGIC:
            raise Malformed("package: the file does not begin as one")
        footer = self.read_at(self.size - FOOTER_BYTES, FOOTER_BYTES)
        offset, length = int.from_bytes(footer[:8], "big"), int.from_bytes(footer[8:12], "big")
        if not footer.endswith(FOOTER_MAGIC) or offset + length + FOOTER_BYTES != self.size or offset < HEADER_BYTES:
            raise Malformed("package: it does not end as one; it was cut off, or something was appended")
        if length > MAX_MANIFEST:
            raise Malformed(f"package: a manifest of {length} bytes, at most {MAX_MANIFEST}")
        return self.read_at(offset, length), footer[12 : 12 + SIGNATURE]

    def _check_places(self, end: int) -> None:
        """Raise unless the files lie one behind the other, from the header to the manifest."""
        manifest, offset = self.manifest, HEADER_BYTES
        if self.read_at(len(HEADER_MAGIC), SALT_BYTES) != manifest.salt:
            raise Tampered("package: its header and its manifest are of different datasets")
        for one in manifest.sections:
            if one.offset != offset:
                raise Malformed(f"package: {one.name} does not begin where the file before it ends")
            if one.sealed:
                chunks_in(one.size, one.name)
            elif one.size > MAX_PLAIN:
                raise Malformed(f"package: {one.name} has {one.size} bytes; a readable file has at most {MAX_PLAIN}")
            offset += one.size
        if offset != end:
            raise Malformed("package: the manifest does not begin where the last file ends")

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes; safe for threads.

        Raises:
            Tampered: The file became shorter since it was opened.
        """
        pieces = list[bytes]()
        while length:
            piece = os.pread(self._file, length, offset)
            if not piece:
                raise Tampered("package: the file became shorter while it was read")
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    def plain(self, name: str) -> bytes:
        """Return a file that is readable without a key.

        Raises:
            Malformed: There is none of this name, or it is sealed.
            Tampered: It was changed.
        """
        section = self.section(name)
        if section.sealed:
            raise Malformed(f"{name}: only the recipient can read this file")
        content = self.read_at(section.offset, section.size)
        if sm3(content) != section.digest:
            raise Tampered(f"{name}: it is not what the manifest names")
        return content

    def section(self, name: str) -> Section:
        """Return a file's place; Malformed where the package has none of this name."""
        try:
            return self.manifest.section(name)
        except KeyError:
            raise Malformed(f"package: it has no file {name}") from None

    def check_digests(self, seen: Callable[[int], None] = lambda _: None) -> bytes:
        """Return SM3 of the whole file after every file in it was found to be what the manifest names.

        Args:
            seen: Told of bytes that were read, for a bar.

        Raises:
            Tampered: One is not.
        """
        whole, offset = Sm3(self.read_at(0, HEADER_BYTES)), HEADER_BYTES
        for section in self.manifest.sections:
            own, end = Sm3(), section.offset + section.size
            while offset < end:
                piece = self.read_at(offset, min(_PIECE, end - offset))
                own.update(piece)
                whole.update(piece)
                offset += len(piece)
                seen(len(piece))
            if own.digest() != section.digest:
                raise Tampered(f"{section.name}: it is not what the manifest names")
        whole.update(self.read_at(offset, self.size - offset))
        return whole.digest()

    def unlock(self, unwrap: Callable[[bytes], bytes]) -> DatasetKey:
        """Return the dataset's key.

        Args:
            unwrap: Decrypts the wrapped secret by SM2: a ``PrivateKey``'s ``decrypt``, or a node's.

        Raises:
            NotForThisKey: It is sealed to another key.
            Tampered: The key commits to another secret.
        """
        from ledger.errors import Refused

        manifest = self.manifest
        try:
            secret = unwrap(manifest.wrapped)
        except (ShangmiError, Refused):
            raise NotForThisKey(
                f"the dataset is sealed to another key than this one: to {manifest.recipient.hex()[:16]}…; "
                "open it with the key that the request named, or ask the holder for a new one"
            ) from None
        key = DatasetKey(secret, manifest.salt, manifest.request, manifest.holder)
        if len(secret) != SECRET_BYTES or key.commitment != manifest.commitment:
            raise Tampered("key: the manifest commits to another secret than it wraps")
        return key

    def sealed(self, name: str, key: DatasetKey) -> SealedReader:
        """Return a file that only the recipient can read."""
        section = self.section(name)
        if not section.sealed:
            raise Malformed(f"{name}: this file is not sealed")

        def read(at: int, length: int) -> bytes:
            return self.read_at(section.offset + at, length)

        return SealedReader(read, section.size, key.of_file(name), name)
