"""SM3, PBKDF2 and SM4 by OpenSSL (``cryptography``): preferred for SM4 and for hashing in pieces."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

_SM3 = hashes.SM3()


class Hasher:
    """SM3 in pieces."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = hashes.Hash(_SM3)

    def update(self, data: bytes) -> None:
        """Take more bytes in."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the digest of what was taken in so far."""
        return self._state.copy().finalize()

    def copy(self) -> Hasher:
        """Return a second hasher that goes on from here."""
        other = Hasher.__new__(Hasher)
        other._state = self._state.copy()
        return other


def sm3(data: bytes) -> bytes:
    """Return the SM3 digest."""
    state = hashes.Hash(_SM3)
    state.update(data)
    return state.finalize()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SM3."""
    state = HMAC(key, _SM3)
    state.update(data)
    return state.finalize()


def pbkdf2(password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Return PBKDF2-HMAC-SM3."""
    return PBKDF2HMAC(_SM3, length, salt, iterations).derive(password)


class GcmEncryptor:
    """SM4-GCM in pieces; every plaintext byte gives a ciphertext byte at once."""

    __slots__ = ("_state",)

    def __init__(self, key: bytes, nonce: bytes, aad: bytes) -> None:
        self._state = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
        self._state.authenticate_additional_data(aad)

    def update(self, data: bytes) -> bytes:
        """Return the ciphertext of the next bytes."""
        return self._state.update(data)

    def tag(self) -> bytes:
        """Return the tag over everything; nothing can follow."""
        self._state.finalize()
        return self._state.tag


class GcmDecryptor:
    """SM4-GCM in pieces, backwards."""

    __slots__ = ("_state",)

    def __init__(self, key: bytes, nonce: bytes, aad: bytes) -> None:
        self._state = Cipher(algorithms.SM4(key), modes.GCM(nonce)).decryptor()
        self._state.authenticate_additional_data(aad)

    def update(self, data: bytes) -> bytes:
        """Return the plaintext, not yet verified, of the next bytes."""
        return self._state.update(data)

    def check(self, tag: bytes) -> bool:
        """Whether the tag fits everything."""
        try:
            self._state.finalize_with_tag(tag)
        except InvalidTag:
            return False
        return True


def ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    """Return ``data`` under the SM4-CTR key stream."""
    state = Cipher(algorithms.SM4(key), modes.CTR(counter)).encryptor()
    return state.update(data) + state.finalize()


def cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Return SM4-CBC of whole blocks."""
    state = Cipher(algorithms.SM4(key), modes.CBC(iv)).encryptor()
    return state.update(data) + state.finalize()


def cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Return the whole blocks that SM4-CBC gave."""
    state = Cipher(algorithms.SM4(key), modes.CBC(iv)).decryptor()
    return state.update(data) + state.finalize()
