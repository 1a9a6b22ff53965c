"""SM4 (GB/T 32907) in the modes GCM (NIST SP 800-38D, RFC 8998) and CTR, one shot and in pieces."""

from __future__ import annotations

from typing import Final

from shangmi import engine
from shangmi.errors import WrongKeyOrTampered, check_length

KEY_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_SMALL: Final = 256


def sm4_gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ciphertext||tag, 16 bytes longer than the plaintext.

    A nonce must never serve twice under one key: it would give away both plaintexts and the power to forge.

    Raises:
        MalformedInput: The key is not 16 bytes or the nonce not 12.
    """
    if 0 < len(plaintext) <= _SMALL and engine.small_gcm is not None:  # it refuses an empty one
        _check(key, nonce)
        return engine.small_gcm(key, nonce, plaintext, aad)
    sealer = GcmSealer(key, nonce, aad)
    return sealer.update(plaintext) + sealer.finalise()


def sm4_gcm_open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext of ciphertext||tag.

    Raises:
        MalformedInput: The key is not 16 bytes or the nonce not 12.
        WrongKeyOrTampered: Key, nonce, ``aad`` or a byte of ``sealed`` differs from what was sealed, or
            ``sealed`` is shorter than a tag.
    """
    opener = GcmOpener(key, nonce, aad)
    plaintext = opener.update(sealed[:-TAG_BYTES])
    opener.finalise(sealed[-TAG_BYTES:])
    return plaintext


class GcmSealer:
    """Seals what is too large for memory: ciphertext comes out of `update`, the tag out of `finalise`.

    Raises:
        MalformedInput: The key is not 16 bytes or the nonce not 12.
    """

    __slots__ = ("_state",)

    def __init__(self, key: bytes, nonce: bytes, aad: bytes) -> None:
        _check(key, nonce)
        self._state = engine.sm4.GcmEncryptor(key, nonce, aad)

    def update(self, plaintext: bytes) -> bytes:
        """Return the ciphertext of the next bytes, as many as came."""
        return bytes(self._state.update(plaintext))

    def finalise(self) -> bytes:
        """Return the 16-byte tag; the sealer is used up."""
        return bytes(self._state.tag())


class GcmOpener:
    """Opens what `GcmSealer` sealed.

    The rule: what `update` returns is not verified. Keep it where nobody reads it (a buffer, a private file)
    until `finalise` returns, and destroy it where `finalise` raises.

    Raises:
        MalformedInput: The key is not 16 bytes or the nonce not 12.
    """

    __slots__ = ("_state",)

    def __init__(self, key: bytes, nonce: bytes, aad: bytes) -> None:
        _check(key, nonce)
        self._state = engine.sm4.GcmDecryptor(key, nonce, aad)

    def update(self, ciphertext: bytes) -> bytes:
        """Return the plaintext, not verified yet, of the next bytes."""
        return bytes(self._state.update(ciphertext))

    def finalise(self, tag: bytes) -> None:
        """Return where everything given to `update` is what was sealed.

        Raises:
            WrongKeyOrTampered: It is not, or the tag is not 16 bytes.
        """
        if len(tag) != TAG_BYTES or not self._state.check(tag):
            raise WrongKeyOrTampered("SM4-GCM: the tag does not fit; another key sealed this, or it was changed")


def sm4_ctr(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Return ``data`` under the SM4-CTR key stream from the 16-byte counter ``nonce``; its own inverse.

    It hides and does not protect: whoever changes a byte changes the plaintext's byte unnoticed. Use GCM.

    Raises:
        MalformedInput: Key or counter is not 16 bytes.
    """
    check_length("SM4 key", key, KEY_BYTES)
    check_length("SM4-CTR counter", nonce, 16)
    return bytes(engine.sm4.ctr(key, nonce, data))


def _check(key: bytes, nonce: bytes) -> None:
    check_length("SM4 key", key, KEY_BYTES)
    check_length("SM4-GCM nonce", nonce, NONCE_BYTES)
