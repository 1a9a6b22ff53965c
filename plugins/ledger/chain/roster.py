"""Every institution registered on the chain, with or without a vote: one canonical list (sections 11 and 14).

The validator set of an epoch is computed from it and from credit; governance alone changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from ledger.encoding import PUBLIC_KEY, SHORT_ID, Reader, listed, u8, u32, var
from ledger.errors import Malformed
from shangmi import MalformedInput, PublicKey, sm3

#: A grade III-A hospital or data centre, B grade II-B hospital, C nursing home, R regulator, P takes part without vote.
CLASSES: Final = ("A", "B", "C", "R", "P")
CLASS_WEIGHT: Final[Mapping[str, int]] = {"A": 3, "B": 2, "C": 1, "R": 0, "P": 0}
STANDINGS: Final = ("active", "frozen", "revoked")
#: What an institution is to the rules of ``schemas/policies``; a participant may ask for nothing until it is named.
PARTIES: Final = ("hospital", "nursing-home", "regulator", "insurer", "research", "participant")
CLASS_PARTY: Final[Mapping[str, str]] = {
    "A": "hospital", "B": "hospital", "C": "nursing-home", "R": "regulator", "P": "participant",
}  # fmt: skip
MAX_REGISTRATIONS = 1_000
_NAME, _TITLE = 100, 1_000
_DOMAIN = b"XL/ROSTER/1\0"


def parties_of(class_: str) -> tuple[str, ...]:
    """Return what an institution of a class may be to the rules."""
    return ("insurer", "research", "participant") if class_ == "P" else (CLASS_PARTY[class_],)


class GenesisMember(Protocol):
    """What a member of the first validator set is, as far as the roster takes it over."""

    @property
    def id(self) -> bytes:
        """Its 16 bytes."""
        ...

    @property
    def class_(self) -> str:
        """Its class."""
        ...

    @property
    def weight(self) -> int:
        """Its votes."""
        ...

    @property
    def public_key(self) -> bytes:
        """Its key."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """One institution as the consortium knows it.

    Attributes:
        id: 16 bytes: ``institution_id(name)``.
        name: Its id in the region's files.
        title: What people call it.
        class_: One of ``CLASSES``.
        public_key: SM2 point x||y, 64 bytes.
        standing: ``active``, ``frozen`` (acts no more until thawed) or ``revoked`` (removed).
        weight: Votes it casts while it has a voting role; the class's own unless genesis or governance says less.
        party: One of ``PARTIES``; the class's own, or for class P ``insurer`` or ``research``.
    """

    id: bytes
    name: str
    title: str
    class_: str
    public_key: bytes
    standing: str = "active"
    weight: int = -1
    party: str = ""

    def __post_init__(self) -> None:
        """Fill in the class's weight and party where none was given."""
        if self.weight < 0:
            object.__setattr__(self, "weight", CLASS_WEIGHT[self.class_])
        if not self.party:
            object.__setattr__(self, "party", CLASS_PARTY[self.class_])

    @property
    def active(self) -> bool:
        """Whether it may sign transactions."""
        return self.standing == "active"

    @property
    def key_id(self) -> bytes:
        """The 16 bytes its key is called."""
        return sm3(b"XL/KEYID/1\0" + self.public_key)[:SHORT_ID]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return (
            self.id
            + var(self.name.encode())
            + var(self.title.encode())
            + u8(CLASSES.index(self.class_))
            + self.public_key
            + u8(STANDINGS.index(self.standing))
            + u32(self.weight)
            + u8(PARTIES.index(self.party))
        )

    @classmethod
    def decode(cls, data: bytes) -> Registration:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "registration")
        id_, name, title = reader.take(SHORT_ID), reader.text(_NAME), reader.text(_TITLE)
        class_, key, standing = reader.one_of(CLASSES), reader.take(PUBLIC_KEY), reader.one_of(STANDINGS)
        weight, party = reader.u32(), reader.one_of(PARTIES)
        reader.end()
        if party not in parties_of(class_):
            raise reader.wrong(f"class {class_} is no {party}")
        if id_ != sm3(b"XL/INST/1\0" + name.encode())[:SHORT_ID]:
            raise reader.wrong("the id is not that of the name")
        if bool(weight) != bool(CLASS_WEIGHT[class_]):
            raise reader.wrong("classes A, B and C have votes, R and P have none")
        try:
            PublicKey.from_bytes(key)
        except MalformedInput:
            raise reader.wrong("the public key is no point of the SM2 curve") from None
        return cls(id_, name, title, class_, key, standing, weight, party)


class Roster:
    """Registrations in order of id.

    Args:
        registrations: In any order.

    Raises:
        Malformed: Two share an id or a key.
    """

    def __init__(self, registrations: Iterable[Registration]) -> None:
        self.registrations = tuple(sorted(registrations, key=lambda one: one.id))
        self._by_id = {one.id: one for one in self.registrations}
        keys = {one.public_key for one in self.registrations}
        if not len(self._by_id) == len(keys) == len(self.registrations) <= MAX_REGISTRATIONS:
            raise Malformed("roster: an id or a key stands twice, or there are more than 1,000 institutions")

    @classmethod
    def from_members(cls, members: Iterable[GenesisMember], names: Mapping[bytes, tuple[str, str, str]]) -> Roster:
        """Return the roster of genesis.

        Args:
            members: The first validator set.
            names: Name, title and party of each institution by id.
        """
        found = []
        for one in members:
            name, title, party = names[one.id]
            found.append(Registration(one.id, name, title, one.class_, one.public_key, weight=one.weight, party=party))
        return cls(found)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self.registrations)

    def __len__(self) -> int:
        return len(self.registrations)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and self.registrations == other.registrations

    def __hash__(self) -> int:
        return hash(self.registrations)

    def registration(self, id_: bytes) -> Registration | None:
        """Return the institution with this id, if it is registered."""
        return self._by_id.get(id_)

    def with_(self, registration: Registration) -> Roster:
        """Return the roster in which this registration stands in place of the same id's, or is added."""
        return Roster([*(one for one in self.registrations if one.id != registration.id), registration])

    @cached_property
    def _encoded(self) -> bytes:
        return _DOMAIN + listed([one.encode() for one in self.registrations])

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Roster:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "roster")
        reader.constant(_DOMAIN)
        encoded = reader.listed(MAX_REGISTRATIONS, 2_048)
        reader.end()
        found = cls(map(Registration.decode, encoded))
        if found.encode() != data:
            raise reader.wrong("institutions are not in order of id")
        return found
