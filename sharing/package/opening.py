"""A dataset opened by its recipient: files as streams that can be read from anywhere, nothing of them on a disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

from sharing.errors import Malformed
from sharing.package.container import MAX_PLAIN, Package
from sharing.package.manifest import Manifest
from sharing.package.sealing import buffered


class Opened:
    """An open dataset; close it, or use it in a ``with``.

    Args:
        package: The file.
        unwrap: Decrypts its wrapped secret.

    Attributes:
        manifest: What the holder signed about it. Whether the holder's key is the registered one, ``verify`` says.

    Raises:
        NotForThisKey: It is sealed to another key.
        Tampered: Its key commits to another secret.
    """

    def __init__(self, package: Package, unwrap: Callable[[bytes], bytes]) -> None:
        self.package = package
        self._key = package.unlock(unwrap)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file is closed."""
        self.package.close()

    @property
    def manifest(self) -> Manifest:
        """What the holder signed about it."""
        return self.package.manifest

    @property
    def names(self) -> tuple[str, ...]:
        """The files in it, in order."""
        return tuple(one.name for one in self.manifest.sections)

    def file(self, name: str) -> BinaryIO:
        """Return a file to read from anywhere; each chunk is verified before a byte of it is returned.

        Raises:
            Malformed: There is none of this name.
            Tampered: By its reads: a chunk was changed or moved.
        """
        if not self.package.section(name).sealed:
            return io.BytesIO(self.package.plain(name))
        reader = self.package.sealed(name, self._key)
        if not reader.size:
            reader.check()
        return buffered(reader)

    def read(self, name: str) -> bytes:
        """Return a small file whole.

        Raises:
            Malformed: There is none of this name, or it is large; read it with ``file``.
            Tampered: It was changed.
        """
        if self.package.section(name).size > MAX_PLAIN:
            raise Malformed(f"{name}: too large to be read whole")
        with self.file(name) as file:
            return file.read()


def open_package(path: Path, unwrap: Callable[[bytes], bytes]) -> Opened:
    """Return a dataset opened with the recipient's key.

    Its bytes are what somebody sealed to this key; that it was the holder, and was allowed to, is what ``verify`` says.

    Args:
        path: The package.
        unwrap: SM2-decrypts the wrapped key: a ``PrivateKey``'s ``decrypt``, or a node's.

    Raises:
        Malformed: The file is no package.
        Tampered: It was changed.
        NotForThisKey: It is sealed to another key.
        OSError: It cannot be read.
    """
    package = Package(path)
    try:
        return Opened(package, unwrap)
    except BaseException:
        package.close()
        raise
