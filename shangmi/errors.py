"""Errors of the SM2, SM3 and SM4 code, named by what the caller does next.

- ShangmiError
    - MalformedInput: set aside or refuse what came; its shape is not the one the standard asks for.
    - WrongKeyOrTampered: stop; the key or password is not the one that sealed it, or a byte was changed.

No other exception leaves this package for any bytes a caller passes in.
"""

from __future__ import annotations


class ShangmiError(Exception):
    """What was passed in cannot be used."""


class MalformedInput(ShangmiError):
    """A key, nonce, signature, ciphertext or file does not have its standard's shape."""


class WrongKeyOrTampered(ShangmiError):
    """Authentication failed: another key or password, or changed bytes. Which of them cannot be told."""


def check_length(what: str, value: bytes, length: int) -> None:
    """Raise MalformedInput unless ``value`` is exactly ``length`` bytes."""
    if len(value) != length:
        raise MalformedInput(f"{what}: expected {length} bytes, got {len(value)}")
