"""Pseudonyms of one dataset: HMAC-SM3 under its secret; the same thing has the same one there, and nowhere else.

GB/T 37964-2019, annex A (pseudonyms by cryptography); 45 CFR 164.514(c) (a code not derived from what is known of the
individual, whose mechanism is not disclosed). Without the secret nobody can compute, compare or revert one.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Final

from shangmi import hmac_sm3

SECRET_BYTES: Final = 32
#: Pseudonyms remembered, of each kind; the ids of a batch repeat.
REMEMBERED: Final = 65_536


class Pseudonyms:
    """The pseudonyms and shifts of one dataset of one holder.

    Args:
        secret: 32 random bytes, one for each dataset and holder. Whoever has it can test guesses.

    Raises:
        ValueError: The secret has another length: a mistake of the caller.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a dataset's secret has {SECRET_BYTES} bytes, got {len(secret)}")
        self._keys = {use: hmac_sm3(secret, b"XL/DEID/1/" + use) for use in (b"id", b"value", b"uid", b"shift")}
        self.id = lru_cache(maxsize=REMEMBERED)(self._id)
        self.value = lru_cache(maxsize=REMEMBERED)(self._value)
        self.uuid = lru_cache(maxsize=REMEMBERED)(self._uuid)
        self.uid = lru_cache(maxsize=REMEMBERED)(self._uid)

    def _id(self, resource_type: str, id_: str) -> str:
        """Return the logical id of a resource: 32 hex digits, a FHIR id."""
        return self._hmac(b"id", resource_type, id_)[:16].hex()

    def _value(self, system: str, value: str) -> str:
        """Return what stands for a number, a code or an address of some system: 32 hex digits."""
        return self._hmac(b"value", system, value)[:16].hex()

    def _uuid(self, address: str) -> str:
        """Return ``urn:uuid:`` and a UUID of version 8 (RFC 9562) that stands for an address."""
        raw = bytearray(self._hmac(b"uid", "address", address)[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return uuid.UUID(bytes=bytes(raw)).urn

    def _uid(self, uid: str) -> str:
        """Return the DICOM UID that stands for another: ``2.25.`` and a decimal (PS3.5 B.2), at most 44 characters."""
        return f"2.25.{int.from_bytes(self._hmac(b'uid', 'dicom', uid)[:16], 'big')}"

    def shift(self, person: bytes, most: int) -> int:
        """Return a number of units by which everything of one person moves: -``most`` to ``most``, never 0.

        The same person gives the same number, in proportion, in every call; another dataset gives an unrelated one.
        """
        drawn = int.from_bytes(hmac_sm3(self._keys[b"shift"], most.to_bytes(4, "big") + person)[:16], "big")
        place = drawn % (2 * most) - most  # 128 bits: the bias of the remainder is below 2**-96
        return place + 1 if place >= 0 else place

    def _hmac(self, use: bytes, kind: str, text: str) -> bytes:
        # Lengths go before the parts, so that no two pairs give the same bytes; whatever a string holds is hashed.
        first = kind.encode("utf-8", "surrogatepass")
        second = text.encode("utf-8", "surrogatepass")
        return hmac_sm3(self._keys[use], len(first).to_bytes(4, "big") + first + second)
