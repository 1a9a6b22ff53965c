"""SM3 (GB/T 32905), HMAC-SM3 (RFC 2104), HKDF-SM3 (RFC 5869) and PBKDF2-HMAC-SM3 (RFC 8018)."""

from __future__ import annotations

from shangmi import engine
from shangmi.errors import MalformedInput

#: Returns the 32-byte SM3 digest of some bytes. The library's own function: a wrapper would cost time.
sm3 = engine.sm3

#: Returns HMAC-SM3(key, data), 32 bytes; the key may have any length.
hmac_sm3 = engine.hmac_sm3


class Sm3:
    """SM3 in pieces, with the interface of ``hashlib``."""

    name = "sm3"
    block_size = 64
    digest_size = 32

    __slots__ = ("_state",)

    def __init__(self, data: bytes = b"") -> None:
        self._state = engine.pieces.Hasher()
        if data:
            self._state.update(data)

    def update(self, data: bytes) -> None:
        """Take more bytes in."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the 32-byte digest of what was taken in so far; more may follow."""
        return bytes(self._state.digest())

    def hexdigest(self) -> str:
        """Return the digest as 64 hex digits."""
        return self.digest().hex()

    def copy(self) -> Sm3:
        """Return a second one that goes on from here."""
        other = Sm3()
        other._state = self._state.copy()
        return other


def hkdf_sm3(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return ``length`` bytes derived by HKDF-SM3 (RFC 5869); an empty salt means 32 zero bytes.

    Raises:
        MalformedInput: ``length`` is not 1 to 8,160.
    """
    if not 1 <= length <= 255 * 32:
        raise MalformedInput(f"HKDF-SM3: expected a length of 1 to 8160 bytes, got {length}")
    prk = hmac_sm3(salt, key)
    out = block = b""
    for index in range(1, -(-length // 32) + 1):
        block = hmac_sm3(prk, block + info + bytes((index,)))
        out += block
    return out[:length]


def pbkdf2_sm3(password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Return ``length`` bytes derived from a password by PBKDF2-HMAC-SM3 (RFC 8018 5.2).

    Raises:
        MalformedInput: ``iterations`` or ``length`` is below 1.
    """
    if iterations < 1 or length < 1:
        raise MalformedInput(f"PBKDF2: expected iterations and length from 1, got {iterations} and {length}")
    return engine.pbkdf2(password, salt, iterations, length)
