"""Changes of who takes part: admission, removal, keys, weights, freezing (section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.roster import CLASS_WEIGHT, CLASSES, PARTIES, Registration, parties_of
from ledger.chain.rules import Ledger
from ledger.chain.state import ACTIVE, FROZEN, INSTITUTION, ONLY, REVOKED, ROSTER, InstitutionState
from ledger.chain.validators import institution_id
from ledger.contracts.change import Change, refused
from ledger.contracts.policy_text import is_line
from ledger.contracts.possession import NO_KEY, possesses
from ledger.encoding import PUBLIC_KEY, SHORT_ID, SIGNATURE, Reader, u8, u32, var
from ledger.errors import Malformed
from shangmi import MalformedInput, PublicKey

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,54}")
_TITLE: Final = 480


def _registered(ledger: Ledger, institution: bytes) -> Registration:
    found = ledger.roster.registration(institution)
    if found is None:
        raise refused("nobody of that id is registered")
    if found.standing == "revoked":
        raise refused(f"{found.name} was removed; admit it again, with a new key")
    return found


def _put(ledger: Ledger, registration: Registration, standing: int) -> None:
    """Roster and the institution's own entry say the same of its key and standing."""
    ledger.put(ROSTER, ONLY, ledger.roster.with_(registration).encode())
    value = ledger.get(INSTITUTION, registration.id)
    last = 0 if value is None else InstitutionState.decode(value).last_seq
    ledger.put(INSTITUTION, registration.id, InstitutionState(last, registration.key_id, standing).encode())


def _standing(ledger: Ledger, institution: bytes) -> int:
    value = ledger.get(INSTITUTION, institution)
    return ACTIVE if value is None else InstitutionState.decode(value).standing


def _check_new_key(ledger: Ledger, institution: bytes, public_key: bytes, replaced: bytes, proof: bytes) -> None:
    """Raise Refused unless the key is nobody's, was not removed with anybody, and its holder shows to have it."""
    try:
        PublicKey.from_bytes(public_key)
    except MalformedInput:
        raise refused("the key is no point of the SM2 curve") from None
    if any(one.public_key == public_key for one in ledger.roster):
        raise refused("the key is registered already, or was an institution's that was removed; make a new one")
    if not possesses(proof, ledger.chain_id, institution, replaced, public_key):
        raise refused("the new key did not sign the proof that its holder has it; see `xinglin governance key`")


@dataclass(frozen=True, slots=True)
class Admit(Change):
    """An institution is registered, or comes back after it was removed; its past credit stays.

    Attributes:
        name: Its id in the region's files.
        title: What people call it.
        class_: One of ``roster.CLASSES``.
        party: What it is to the rules, one that its class may be.
        public_key: x||y.
        proof: That it holds the key, see ``ledger.contracts.possession``.
    """

    KIND: ClassVar[int] = 16
    NAME: ClassVar[str] = "admission"

    name: str
    title: str
    class_: str
    party: str
    public_key: bytes
    proof: bytes

    @property
    def institution(self) -> bytes:
        """Its id on the chain."""
        return institution_id(self.name)

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        kinds = u8(CLASSES.index(self.class_)) + u8(PARTIES.index(self.party))
        return var(self.name.encode()) + var(self.title.encode()) + kinds + self.public_key + self.proof

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        name, title = reader.text(100), reader.text(_TITLE)
        class_, party = reader.one_of(CLASSES), reader.one_of(PARTIES)
        if party not in parties_of(class_):
            raise reader.wrong(f"class {class_} is no {party}")
        if not _NAME.fullmatch(name) or not is_line(title):
            raise reader.wrong("a name is a-z, 0-9 and dashes; a title one line that can be seen")
        found = {"name": name, "title": title, "class_": class_, "party": party}
        return found | {"public_key": reader.take(PUBLIC_KEY), "proof": reader.take(SIGNATURE)}

    def check(self, ledger: Ledger) -> None:
        """Return where it is not registered now, its key is new, and it holds the key."""
        known = ledger.roster.registration(self.institution)
        if known is not None and known.standing != "revoked":
            raise refused(f"{self.name} is registered already")
        _check_new_key(ledger, self.institution, self.public_key, known.key_id if known else NO_KEY, self.proof)
        self._roster_holds(ledger)

    def _roster_holds(self, ledger: Ledger) -> None:
        try:
            ledger.roster.with_(self._registration())
        except Malformed:
            raise refused("the roster is full") from None

    def _registration(self) -> Registration:
        return Registration(self.institution, self.name, self.title, self.class_, self.public_key, party=self.party)

    def apply(self, ledger: Ledger) -> None:
        """It is registered; a seat follows from credit at the epoch's end."""
        _put(ledger, self._registration(), ACTIVE)


@dataclass(frozen=True, slots=True)
class OfMember(Change):
    """A change that names one registered institution.

    Attributes:
        institution: Its id, 16 bytes.
    """

    institution: bytes

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return self.institution

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        return {"institution": reader.take(SHORT_ID)}


@dataclass(frozen=True, slots=True)
class Remove(OfMember):
    """An institution takes part no more; its records, its key's past signatures and its registration stay."""

    KIND: ClassVar[int] = 17
    NAME: ClassVar[str] = "removal"

    def check(self, ledger: Ledger) -> None:
        """Return where it is registered and not the last that may cosign."""
        _spare_last_auditor(ledger, _registered(ledger, self.institution))

    def deny_only(self, ledger: Ledger) -> bool:  # noqa: ARG002
        """It is: whoever is removed can do less, and nobody more."""
        return True

    def apply(self, ledger: Ledger) -> None:
        """Its transactions are refused from here on; its weight goes at the epoch's end."""
        _put(ledger, replace(_registered(ledger, self.institution), standing="revoked"), REVOKED)


@dataclass(frozen=True, slots=True)
class Freeze(OfMember):
    """An institution may do nothing until it is thawed."""

    KIND: ClassVar[int] = 18
    NAME: ClassVar[str] = "freeze"

    def check(self, ledger: Ledger) -> None:
        """Return where it is registered, active, and not the last that may cosign."""
        found = _registered(ledger, self.institution)
        if not found.active:
            raise refused(f"{found.name} is frozen already")
        _spare_last_auditor(ledger, found)

    def deny_only(self, ledger: Ledger) -> bool:  # noqa: ARG002
        """It is: whoever is frozen can do less, and nobody more."""
        return True

    def apply(self, ledger: Ledger) -> None:
        """Its transactions are refused from here on; a key revoked for double signing stays revoked."""
        found = replace(_registered(ledger, self.institution), standing="frozen")
        _put(ledger, found, max(FROZEN, _standing(ledger, self.institution)))


@dataclass(frozen=True, slots=True)
class Thaw(OfMember):
    """A frozen institution takes part again."""

    KIND: ClassVar[int] = 19
    NAME: ClassVar[str] = "thaw"

    def check(self, ledger: Ledger) -> None:
        """Return where it is frozen."""
        found = _registered(ledger, self.institution)
        if found.active:
            raise refused(f"{found.name} is not frozen")

    def apply(self, ledger: Ledger) -> None:
        """It is active; a key revoked for double signing stays revoked until it is rotated."""
        standing = _standing(ledger, self.institution)
        found = replace(_registered(ledger, self.institution), standing="active")
        _put(ledger, found, REVOKED if standing == REVOKED else ACTIVE)


@dataclass(frozen=True, slots=True)
class RotateKey(OfMember):
    """An institution is known by another key; the old one signs nothing any more.

    Attributes:
        public_key: The new key, x||y.
        proof: That it holds the key, see ``ledger.contracts.possession``.
    """

    KIND: ClassVar[int] = 20
    NAME: ClassVar[str] = "key"

    public_key: bytes
    proof: bytes

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return self.institution + self.public_key + self.proof

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        found = {"institution": reader.take(SHORT_ID), "public_key": reader.take(PUBLIC_KEY)}
        return found | {"proof": reader.take(SIGNATURE)}

    def check(self, ledger: Ledger) -> None:
        """Return where the institution is registered, the key is new, and it holds the key."""
        found = _registered(ledger, self.institution)
        _check_new_key(ledger, self.institution, self.public_key, found.key_id, self.proof)

    def apply(self, ledger: Ledger) -> None:
        """Transactions are signed with the new key from the next block on, votes from the next epoch on.

        A key revoked for double signing is renewed by it; a frozen institution stays frozen.
        """
        found = replace(_registered(ledger, self.institution), public_key=self.public_key)
        _put(ledger, found, ACTIVE if found.active else FROZEN)


@dataclass(frozen=True, slots=True)
class NewWeight(OfMember):
    """An institution casts another number of votes, at most its class's.

    Attributes:
        weight: 1 to the class's.
    """

    KIND: ClassVar[int] = 21
    NAME: ClassVar[str] = "weight"

    weight: int

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return self.institution + u32(self.weight)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        return {"institution": reader.take(SHORT_ID), "weight": reader.u32()}

    def check(self, ledger: Ledger) -> None:
        """Return where the institution's class votes, with so many votes or more, and has another number now."""
        found = _registered(ledger, self.institution)
        most = CLASS_WEIGHT[found.class_]
        if not 1 <= self.weight <= most:
            raise refused(f"class {found.class_} has {most} votes at most" if most else "its class has no votes")
        if self.weight == found.weight:
            raise refused(f"{found.name} has {found.weight} votes already")

    def apply(self, ledger: Ledger) -> None:
        """The weight is in the next validator set, as far as one epoch may move."""
        found = replace(_registered(ledger, self.institution), weight=self.weight)
        _put(ledger, found, _standing(ledger, self.institution))


def _spare_last_auditor(ledger: Ledger, going: Registration) -> None:
    auditors = [one for one in ledger.roster if one.class_ == "R" and one.active]
    if auditors == [going]:
        raise refused(f"{going.name} is the only regulator left, and nothing changes without a regulator's signature")
