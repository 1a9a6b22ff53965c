"""The members of the consortium, their weights and the quorum (sections 6, 7 and 11)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ledger.chain.merkle import tree_root
from ledger.encoding import PUBLIC_KEY, SHORT_ID, Reader, listed, u8, u32
from ledger.errors import Malformed
from shangmi import MalformedInput, PublicKey, sm3

CLASSES = ("A", "B", "C", "R", "P")
ROLES = ("producer", "validator", "auditor", "member")
MAX_MEMBERS = 1_000
_VOTELESS = ("auditor", "member")
_DOMAIN = b"XL/VAL/1\0"


def institution_id(name: str) -> bytes:
    """Return the 16 bytes an institution is called on the chain: SM3 of its name behind a domain, cut."""
    return sm3(b"XL/INST/1\0" + name.encode())[:SHORT_ID]


def key_id(public_key: bytes) -> bytes:
    """Return the 16 bytes a public key is called."""
    return sm3(b"XL/KEYID/1\0" + public_key)[:SHORT_ID]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the validator set.

    Attributes:
        id: 16 bytes, from ``institution_id``.
        class_: ``A``, ``B``, ``C``, ``R``, or ``P`` for who takes part without a vote (insurer, research institution).
        role: ``producer``, ``validator``, ``auditor``, or ``member`` for who has no vote now.
        weight: Its votes; 0 does not vote.
        public_key: SM2 point x||y, 64 bytes.
    """

    id: bytes
    class_: str
    role: str
    weight: int
    public_key: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes: the leaf of ``validators_hash``."""
        return (
            _DOMAIN
            + self.id
            + u8(CLASSES.index(self.class_))
            + u8(ROLES.index(self.role))
            + u32(self.weight)
            + self.public_key
        )

    @classmethod
    def decode(cls, data: bytes) -> Member:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "member")
        reader.constant(_DOMAIN)
        id_, class_, role, weight, key = (
            reader.take(SHORT_ID), reader.one_of(CLASSES), reader.one_of(ROLES), reader.u32(), reader.take(PUBLIC_KEY),
        )  # fmt: skip
        reader.end()
        if (role in _VOTELESS) != (weight == 0):
            raise reader.wrong("producers and validators have a weight, and nobody else")
        try:
            PublicKey.from_bytes(key)
        except MalformedInput:
            raise reader.wrong("the public key is no point of the SM2 curve") from None
        return cls(id_, class_, role, weight, key)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Say whether the member signed the message."""
        return PublicKey.from_bytes(self.public_key).verify(signature, message)


class ValidatorSet:
    """Members in order of id, with what follows from them.

    Args:
        members: In any order.

    Raises:
        Malformed: Two members share an id or a key, or nobody may produce.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = tuple(sorted(members, key=lambda one: one.id))
        self.voters = tuple(one for one in self.members if one.weight)
        self.producers = tuple(one for one in self.members if one.role == "producer")
        self.total = sum(one.weight for one in self.voters)
        self._by_id = {one.id: one for one in self.members}
        if len(self._by_id) != len(self.members) or len({one.public_key for one in self.members}) != len(self.members):
            raise Malformed("validator set: an id or a key stands twice")
        if not self.producers or len(self.members) > MAX_MEMBERS:
            raise Malformed(f"validator set: {len(self.producers)} producers among {len(self.members)} members")

    @cached_property
    def hash(self) -> bytes:
        """Merkle root over the members."""
        return tree_root(one.encode() for one in self.members)

    def member(self, id_: bytes) -> Member | None:
        """Return the member with this id, if there is one."""
        return self._by_id.get(id_)

    def producer(self, height: int, round_: int) -> Member:
        """Return whose turn it is: ``schedule[(height + round) mod |schedule|]``."""
        return self.producers[(height + round_) % len(self.producers)]

    def has_quorum(self, weight: int) -> bool:
        """Say whether this weight is more than two thirds of all votes, in whole numbers."""
        return 3 * weight > 2 * self.total

    def encode(self) -> bytes:
        """Return the counted list of members."""
        return listed([one.encode() for one in self.members])

    @classmethod
    def decode(cls, data: bytes) -> ValidatorSet:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "validator set")
        encoded = reader.listed(MAX_MEMBERS, 256)
        reader.end()
        found = cls(map(Member.decode, encoded))
        if found.encode() != data:
            raise reader.wrong("members are not in order of id")
        return found
