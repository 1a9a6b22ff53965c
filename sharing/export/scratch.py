"""Where an export keeps what it has done so far: sealed files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from shangmi import ShangmiError, sm4_gcm_open, sm4_gcm_seal

_SUFFIX: Final = ".sealed"
_NONCE: Final = 12


class Scratch:
    """A folder of sealed files; what does not open under this key is as if it were not there.

    Args:
        folder: Made with its first file, for this user alone.
        key: SM4 key, of this export and no other.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder, self._key = folder, key

    def write(self, name: str, content: bytes) -> None:
        """The content stands under a name, sealed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        nonce = os.urandom(_NONCE)
        sealed = nonce + sm4_gcm_seal(self._key, nonce, content, name.encode())
        path = self.folder / (name + _SUFFIX)
        draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(sealed)
                stream.flush()
                os.fsync(stream.fileno())
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return what stands under a name; None where nothing does, or where it was changed."""
        try:
            sealed = (self.folder / (name + _SUFFIX)).read_bytes()
            return sm4_gcm_open(self._key, sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (FileNotFoundError, ShangmiError):
            return None

    def clear(self) -> None:
        """The folder and all in it are gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
