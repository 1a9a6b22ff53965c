"""What an institution signs of its catalogue: the digest of what may be asked for there, on one chain (section 14)."""

from __future__ import annotations

from typing import Final

_DOMAIN: Final = b"XL/CATALOGUE/1\0"


def catalogue_message(chain_id: bytes, institution: bytes, digest: bytes) -> bytes:
    """Return the bytes that an institution signs, 95 of them.

    Args:
        chain_id: The chain, 32 bytes.
        institution: The institution by id, 16 bytes.
        digest: SM3 of the catalogue, 32 bytes.
    """
    return _DOMAIN + chain_id + institution + digest
