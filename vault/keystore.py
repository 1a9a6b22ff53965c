"""An institution's keys in two files: ``sm2.pem`` signs, ``vault.key`` seals. Formats: ``docs/formats/keys.md``.

Where the institution's node is a process of its own, ``sm2.pem`` lies with the node alone, and ``sm2.pub``, the public
half as 128 hex digits, in its place here.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from shangmi import (
    PrivateKey,
    PublicKey,
    ShangmiError,
    WrongKeyOrTampered,
    hkdf_sm3,
    pbkdf2_sm3,
    sm4_gcm_open,
    sm4_gcm_seal,
)
from vault.errors import KeystoreRefused

SIGNING_FILE: Final = "sm2.pem"
PUBLIC_FILE: Final = "sm2.pub"
VAULT_FILE: Final = "vault.key"
FORMAT: Final = "xinglin-vault-key/1"
ITERATIONS: Final = 65_536
MAX_ITERATIONS: Final = 10_000_000


class FileKeystore:
    """An opened keystore.

    Attributes:
        public_key: The key others verify this institution's signatures with.
        master: 32 bytes that every sealing key is derived from.
    """

    def __init__(self, key: PrivateKey | PublicKey, master: bytes, index: bytes) -> None:
        self._signing_key = key if isinstance(key, PrivateKey) else None
        self.public_key = key.public if isinstance(key, PrivateKey) else key
        self.master = master
        self._index = index

    @property
    def signing_key(self) -> PrivateKey:
        """The institution's SM2 key.

        Raises:
            KeystoreRefused: It lies with the institution's node; ask the node.
        """
        if self._signing_key is None:
            raise KeystoreRefused(f"the signing key is not here but with the institution's node; here is {PUBLIC_FILE}")
        return self._signing_key

    def sealing_secret(self, label: str, salt: bytes = b"", length: int = 16) -> bytes:
        """Return ``length`` bytes for one purpose, derived from the master key (HKDF-SM3)."""
        return hkdf_sm3(self.master, salt, label.encode() + b"\0", length)

    def index_secret(self, label: str) -> bytes:
        """Return 32 bytes for one kind of blind index; apart from the master, so that either can be replaced."""
        return hkdf_sm3(self._index, b"", label.encode() + b"\0", 32)

    @classmethod
    def create(cls, folder: Path, password: bytes) -> FileKeystore:
        """Return a fresh keystore, written to ``folder`` with mode 0600.

        Raises:
            KeystoreRefused: ``folder`` holds one already (or half of one), or the password is empty. Nothing is
                written.
        """
        return cls._written(
            cls(PrivateKey.generate(), secrets.token_bytes(32), secrets.token_bytes(32)), folder, password
        )

    @staticmethod
    def _written(store: FileKeystore, folder: Path, password: bytes) -> FileKeystore:
        if not password:
            raise KeystoreRefused("a keystore needs a password; got an empty one")
        for name in (SIGNING_FILE, VAULT_FILE):
            if (folder / name).exists():
                raise KeystoreRefused(f"the folder holds {name} already; open it, or move both files away")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(folder / VAULT_FILE, _seal(store, password))
        _write_new(folder / SIGNING_FILE, store.signing_key.to_pem(password))
        return store

    def renew(self, folder: Path, password: bytes) -> FileKeystore:
        """Return a keystore with a fresh signing key and the same secrets, written to another folder.

        Raises:
            KeystoreRefused: ``folder`` holds one already, or the password is empty. Nothing is written.
        """
        return self._written(type(self)(PrivateKey.generate(), self.master, self._index), folder, password)

    @classmethod
    def open(cls, folder: Path, password: bytes) -> FileKeystore:
        """Return the keystore in ``folder``.

        Raises:
            KeystoreRefused: A file is missing, the password does not open it, it was changed, or the two files
                come from two keystores. Nothing is written.
        """
        apart = not (folder / SIGNING_FILE).exists() and (folder / PUBLIC_FILE).exists()
        pem, sealed = (_read(folder, name) for name in (PUBLIC_FILE if apart else SIGNING_FILE, VAULT_FILE))
        try:
            key = _public(pem) if apart else PrivateKey.from_pem(pem, password)
            master, index = _open(sealed, password, key if isinstance(key, PublicKey) else key.public)
        except WrongKeyOrTampered:
            raise KeystoreRefused(
                "the password does not open the keystore, or one of its files was changed or replaced"
            ) from None
        except ShangmiError as error:
            raise KeystoreRefused(f"the keystore is damaged: {error}") from None
        return cls(key, master, index)

    def __repr__(self) -> str:
        return f"FileKeystore(public={self.public_key.bytes.hex()})"


def _public(content: bytes) -> PublicKey:
    try:
        return PublicKey.from_bytes(bytes.fromhex(content.decode("ascii").strip()))
    except (ValueError, ShangmiError):
        raise KeystoreRefused(f"{PUBLIC_FILE} is damaged: expected 128 hex digits of a public key") from None


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise KeystoreRefused(f"the keystore has no readable {name} ({type(error).__name__})") from None


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _aad(salt: bytes, iterations: int, public: PublicKey) -> bytes:
    return FORMAT.encode() + b"\0" + salt + iterations.to_bytes(4, "big") + public.bytes


def _seal(store: FileKeystore, password: bytes) -> bytes:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    key = pbkdf2_sm3(password, salt, ITERATIONS, 16)
    sealed = sm4_gcm_seal(key, nonce, store.master + store._index, _aad(salt, ITERATIONS, store.public_key))
    document = {
        "format": FORMAT,
        "kdf": "PBKDF2-HMAC-SM3",
        "iterations": ITERATIONS,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _open(content: bytes, password: bytes, public: PublicKey) -> tuple[bytes, bytes]:
    try:
        document: dict[str, Any] = json.loads(content)
        iterations = int(document["iterations"])
        salt, nonce, sealed = (bytes.fromhex(document[name]) for name in ("salt", "nonce", "sealed"))
        known = document["format"] == FORMAT and document["kdf"] == "PBKDF2-HMAC-SM3"
    except (ValueError, KeyError, TypeError):
        raise KeystoreRefused(f"{VAULT_FILE} is damaged: expected JSON of format {FORMAT}") from None
    if not known or not 1 <= iterations <= MAX_ITERATIONS:
        raise KeystoreRefused(f"{VAULT_FILE}: expected format {FORMAT} and at most {MAX_ITERATIONS} iterations")
    key = pbkdf2_sm3(password, salt, iterations, 16)
    secret = sm4_gcm_open(key, nonce, sealed, _aad(salt, iterations, public))
    if len(secret) != 64:
        raise KeystoreRefused(f"{VAULT_FILE}: expected 64 sealed bytes, got {len(secret)}")
    return secret[:32], secret[32:]
