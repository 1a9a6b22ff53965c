"""Small sealed values of the vault's own collections: nonce || ciphertext || tag under one key."""

from __future__ import annotations

import os
from typing import Final

from shangmi import ShangmiError, sm4_gcm_open, sm4_gcm_seal
from vault.compression import compress, decompress
from vault.errors import Tampered

NONCE: Final = 12


def seal(key: bytes, plain: bytes, aad: bytes) -> bytes:
    """Return ``plain`` sealed under a fresh nonce, 28 bytes longer."""
    nonce = os.urandom(NONCE)
    return nonce + sm4_gcm_seal(key, nonce, plain, aad)


def open_(key: bytes, sealed: bytes, aad: bytes, what: str) -> bytes:
    """Return the plaintext.

    Raises:
        Tampered: Another key or context, or changed bytes; the message begins with ``what``.
    """
    try:
        return sm4_gcm_open(key, sealed[:NONCE], sealed[NONCE:], aad)
    except ShangmiError:
        raise Tampered(f"{what}: the stored bytes are not the ones that were sealed, or the key is another") from None


def seal_packed(key: bytes, plain: bytes, aad: bytes) -> bytes:
    """Return ``plain`` compressed, with its codec, and sealed."""
    codec, small = compress(plain)
    return seal(key, bytes((codec,)) + small, aad)


def open_packed(key: bytes, sealed: bytes, aad: bytes, what: str) -> bytes:
    """Return what `seal_packed` was given; raises as `open_`."""
    plain = open_(key, sealed, aad, what)
    return decompress(plain[0], plain[1:]) if plain else plain
