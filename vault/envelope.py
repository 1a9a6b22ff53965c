"""The sealed form of one resource version: the bytes whose SM3 digest stands on the chain.

Layout and an example: ``docs/formats/envelope.md``; rules: ``docs/ledger.md`` section 15. Every encryption draws a
fresh data key and nonce; the data key travels beside the envelope, wrapped, so that it can be destroyed.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from shangmi import ShangmiError, hmac_sm3, sm4_gcm_open, sm4_gcm_seal
from vault import box
from vault.compression import compress, decompress
from vault.errors import Tampered

MAGIC: Final = b"XLE1"
SM4_GCM: Final = 1
#: magic, algorithm, codec, resource type, rid, version, key commitment
HEADER: Final = struct.Struct(">4sBBH16sI32s")
NONCE: Final = 12
TAG: Final = 16
_VERSION: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Context:
    """What an envelope is bound to besides its own header.

    Attributes:
        chain_id: The region's chain, 32 bytes.
        owner: Id of the institution that sealed it.
        policy_id: The policy it was sealed under.
    """

    chain_id: bytes
    owner: str
    policy_id: str

    def prefix(self, rid: bytes, version: int) -> bytes:
        """Return the additional data before the header: chain_id, rid, version, owner, policy_id."""
        owner, policy = self.owner.encode(), self.policy_id.encode()
        return b"".join(
            (
                b"XL/ENV/1\0",
                self.chain_id,
                rid,
                _VERSION.pack(version),
                len(owner).to_bytes(4, "big"),
                owner,
                len(policy).to_bytes(4, "big"),
                policy,
            )
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says of itself in the clear."""

    codec: int
    resource_type: int
    rid: bytes
    version: int
    key_commit: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """A fresh envelope, its data key and the commitment to that key."""

    envelope: bytes
    data_key: bytes
    key_commit: bytes


def commitment(data_key: bytes, rid: bytes, version: int) -> bytes:
    """Return HMAC-SM3(data key, "XL/KC/1" || rid || version): GCM alone lets one text open under two keys."""
    return hmac_sm3(data_key, b"XL/KC/1" + rid + _VERSION.pack(version))


def seal(plain: bytes, resource_type: int, rid: bytes, version: int, context: Context) -> Sealed:
    """Return ``plain`` compressed and sealed under a data key and nonce that never served before."""
    return _seal(plain, resource_type, rid, version, context, os.urandom(16), os.urandom(NONCE))


def _seal(
    plain: bytes, resource_type: int, rid: bytes, version: int, context: Context, key: bytes, nonce: bytes
) -> Sealed:
    codec, small = compress(plain)
    commit = commitment(key, rid, version)
    header = HEADER.pack(MAGIC, SM4_GCM, codec, resource_type, rid, version, commit)
    sealed = sm4_gcm_seal(key, nonce, small, context.prefix(rid, version) + header)
    return Sealed(b"".join((header, nonce, sealed)), key, commit)


def read_header(envelope: bytes) -> Header:
    """Return the header.

    Raises:
        Tampered: Too short, or not this format.
    """
    if len(envelope) < HEADER.size + NONCE + TAG:
        raise Tampered(f"envelope: expected at least {HEADER.size + NONCE + TAG} bytes, got {len(envelope)}")
    magic, algorithm, codec, resource_type, rid, version, commit = HEADER.unpack_from(envelope)
    if magic != MAGIC or algorithm != SM4_GCM:
        raise Tampered("envelope: does not begin with XLE1 and algorithm 1")
    return Header(codec, resource_type, rid, version, commit)


def open_(envelope: bytes, data_key: bytes, rid: bytes, version: int, context: Context) -> bytes:
    """Return the plaintext of the envelope that must be version ``version`` of ``rid``.

    Raises:
        Tampered: It is another resource's or version's, the data key is not the committed one, or a byte of
            header, nonce, ciphertext or tag was changed; the message says which check failed.
    """
    header = read_header(envelope)
    if (header.rid, header.version) != (rid, version):
        raise Tampered("envelope: is another record's or another version's")
    if header.key_commit != commitment(data_key, rid, version):
        raise Tampered("envelope: the key commitment does not fit the data key")
    head, nonce = envelope[: HEADER.size], envelope[HEADER.size : HEADER.size + NONCE]
    try:
        small = sm4_gcm_open(data_key, nonce, envelope[HEADER.size + NONCE :], context.prefix(rid, version) + head)
    except ShangmiError:
        raise Tampered("envelope: the tag does not fit header, nonce and ciphertext") from None
    return decompress(header.codec, small)


def wrap(kek: bytes, data_key: bytes, rid: bytes, version: int) -> bytes:
    """Return the data key sealed under a patient's key, 44 bytes."""
    return box.seal(kek, data_key, b"XL/DEK/1\0" + rid + _VERSION.pack(version))


def unwrap(kek: bytes, wrapped: bytes, rid: bytes, version: int) -> bytes:
    """Return the data key.

    Raises:
        Tampered: The wrapped key was changed or belongs to another record.
    """
    return box.open_(kek, wrapped, b"XL/DEK/1\0" + rid + _VERSION.pack(version), "wrapped data key")
