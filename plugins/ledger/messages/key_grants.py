"""Secrets that every member of the region may have, wrapped to each one's SM2 key (section 18).

A grant holds no secret in the clear: it can lie in the exchange, in a file, in a backup. There are two kinds: an
institution's summary key, and the region's key for pseudonyms, made and forgotten by who founds the region. A grant
needs no signature: sealed summaries, whose digests their publisher signed in a batch, name the key by its commitment,
and no other secret opens to that. Bytes: ``docs/formats/summary.md``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.chain.roster import MAX_REGISTRATIONS
from ledger.chain.validators import institution_id, key_id
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u32, var
from ledger.errors import Refused
from shangmi import MalformedInput, PublicKey, WrongKeyOrTampered, hmac_sm3

MAX_GRANT: Final = 1 << 19
#: Who grants the region's key: nobody.
NOBODY: Final = ""
REGION_SECRET: Final = 32
_MAX_WRAPPED: Final = 512
_DOMAIN = b"XL/GRANT/1\0"


class Decrypts(Protocol):
    """An SM2 private key, wherever it is kept."""

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        ...

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to it."""
        ...


class Recipient(Protocol):
    """A member that is to have a secret: a registration, a member of genesis."""

    @property
    def id(self) -> bytes:
        """Its 16 bytes."""
        ...

    @property
    def public_key(self) -> bytes:
        """Its key."""
        ...


@dataclass(frozen=True, slots=True)
class Wrap:
    """The secret for one member: its id, the id of its key, and the secret encrypted to that key."""

    member: bytes
    key_id: bytes
    wrapped: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.member + self.key_id + var(self.wrapped)

    @classmethod
    def read(cls, data: bytes) -> Wrap:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "wrapped key")
        found = cls(reader.take(SHORT_ID), reader.take(SHORT_ID), reader.var(_MAX_WRAPPED))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """A secret for many.

    Attributes:
        chain_id: The region's chain.
        granter: Id in the region's files of who made it; ``NOBODY`` for the region's key.
        number: Which one of the granter's, from 1; 0 for the region's key.
        commitment: HMAC-SM3 of its name under the secret itself.
        wraps: One for each member, in order of id.
    """

    chain_id: bytes
    granter: str
    number: int
    commitment: bytes
    wraps: tuple[Wrap, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            _DOMAIN + self.chain_id + var(self.granter.encode()) + u32(self.number) + self.commitment
            + listed([one.encode() for one in self.wraps])
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> KeyGrant:
        """Read what ``encode`` wrote, or raise Malformed; whether it opens is not known yet."""
        reader = Reader(data, "key grant")
        reader.constant(_DOMAIN)
        chain_id, granter, number, commitment = reader.take(DIGEST), reader.text(100), reader.u32(), reader.take(DIGEST)
        wraps = tuple(map(Wrap.read, reader.listed(MAX_REGISTRATIONS, _MAX_WRAPPED + 64)))
        found = cls(chain_id, granter, number, commitment, wraps)
        reader.end()
        members = [one.member for one in wraps]
        if members != sorted(set(members)) or (granter == NOBODY) != (number == 0):
            raise reader.wrong("members are not in order, stand twice, or nobody grants what is numbered")
        return found

    @property
    def id(self) -> bytes:
        """What sealed summaries name the key by, 16 bytes."""
        return self.commitment[:SHORT_ID]

    def open(self, member: bytes, key: Decrypts) -> bytes | None:
        """Return the secret for a member, or None where it was not granted to this key of the member's.

        Raises:
            Refused: What was wrapped is not the secret that the grant commits to.
        """
        mine = next((one for one in self.wraps if one.member == member), None)
        if mine is None or mine.key_id != key_id(key.public.bytes):
            return None
        try:
            secret = key.decrypt(mine.wrapped)
        except (MalformedInput, WrongKeyOrTampered):
            raise Refused("key grant", "18", "what was wrapped for this key cannot be opened with it") from None
        if commitment(secret, self.chain_id, self.granter) != self.commitment:
            raise Refused("key grant", "18", "the wrapped secret is not the one the grant commits to")
        return secret


def commitment(secret: bytes, chain_id: bytes, granter: str) -> bytes:
    """Return what a secret is bound to and known by."""
    return hmac_sm3(secret, b"XL/SUMKC/1\0" + chain_id + var(granter.encode()))


def grant(secret: bytes, chain_id: bytes, granter: str, number: int, members: Iterable[Recipient]) -> KeyGrant:
    """Return a secret wrapped to each of these members.

    Args:
        secret: 1 to 255 bytes.
        chain_id: The region's chain.
        granter: Who made it, or ``NOBODY``.
        number: Which one of the granter's.
        members: Who is to have it.
    """
    wraps = [
        Wrap(one.id, key_id(one.public_key), PublicKey.from_bytes(one.public_key).encrypt(secret))
        for one in sorted(members, key=lambda one: one.id)
    ]
    return KeyGrant(chain_id, granter, number, commitment(secret, chain_id, granter), tuple(wraps))


def make_region_grant(chain_id: bytes, members: Iterable[Recipient]) -> bytes:
    """Return the region's key for pseudonyms, made now, wrapped to every member and kept by nobody else."""
    return grant(secrets.token_bytes(REGION_SECRET), chain_id, NOBODY, 0, members).encode()


def region_key(data: bytes, chain_id: bytes, institution: str, key: Decrypts) -> bytes | None:
    """Return the region's key for pseudonyms, or None where the grant has none for this institution's key.

    Raises:
        Refused: It is another chain's grant, or no region's.
    """
    found = KeyGrant.decode(data)
    if found.chain_id != chain_id or found.granter != NOBODY:
        raise Refused("key grant", "18", "expected the region's key of this chain")
    return found.open(institution_id(institution), key)
