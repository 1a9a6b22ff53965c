"""What a holder signs of a dataset: the digest of its manifest, for one request on one chain (section 14)."""

from __future__ import annotations

from typing import Final

_DOMAIN: Final = b"XL/MANIFEST/1\0"


def manifest_message(chain_id: bytes, holder: bytes, request: bytes, digest: bytes) -> bytes:
    """Return the bytes that a holder signs, 126 of them.

    Args:
        chain_id: The chain, 32 bytes.
        holder: The holder by id, 16 bytes.
        request: Id of the ACCESS_REQ that the dataset answers, 32 bytes.
        digest: SM3 of the manifest, 32 bytes.
    """
    return _DOMAIN + chain_id + holder + request + digest
