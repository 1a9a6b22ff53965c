"""The facts of an epoch that credit is computed from: who built, who confirmed, who missed a turn (section 11).

Everything here follows from final blocks alone. A tally is a value: each step returns the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ledger.chain.validators import MAX_MEMBERS, ValidatorSet
from ledger.encoding import SHORT_ID, Reader, listed, u8, u32, u64
from ledger.errors import Refused

#: From so many timeout certificates in one height on, the network was at fault and nobody pays (section 9).
NETWORK_FAULT: Final = 3
_DOMAIN = b"XL/TALLY/1\0"
_MAX_OPEN = 100_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What the chain says of one institution in one epoch.

    Attributes:
        built: Final blocks it built.
        included: Certificates that hold its COMMIT, late votes and late votes it carried into its blocks.
        seats: Certificates that it could have been in.
        missed: Turns that ended in a timeout certificate, those of network faults left out.
        waived: Turns left out so.
        broken: Blocks it signed that break a rule by themselves (E5).
        violated: Points of confirmed violations of the data service.
        unanswered: Allowed requests that it let pass their deadline.
        convicted: Whether it signed two ways (E1, E3, E4).
    """

    built: int = 0
    included: int = 0
    seats: int = 0
    missed: int = 0
    waived: int = 0
    broken: int = 0
    violated: int = 0
    unanswered: int = 0
    convicted: bool = False

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        numbers = (
            self.built, self.included, self.seats, self.missed, self.waived, self.broken, self.violated,
            self.unanswered,
        )  # fmt: skip
        return b"".join(map(u32, numbers)) + u8(self.convicted)

    @classmethod
    def read(cls, reader: Reader) -> Facts:
        """Read the next facts of a reader."""
        built, included, seats, missed, waived, broken, violated, unanswered = (reader.u32() for _ in range(8))
        return cls(built, included, seats, missed, waived, broken, violated, unanswered, reader.flag())


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """What the state keeps for ever of a closed epoch: the facts that scores moved by, in order of institution."""

    facts: Mapping[bytes, Facts]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"XL/FACTS/1\0" + listed([id_ + one.encode() for id_, one in sorted(self.facts.items())])

    @classmethod
    def decode(cls, data: bytes) -> EpochFacts:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "facts of an epoch")
        reader.constant(b"XL/FACTS/1\0")
        found = cls(dict(_row(one) for one in reader.listed(MAX_MEMBERS, 64)))
        reader.end()
        if found.encode() != data:
            raise reader.wrong("institutions stand twice or are not in order of id")
        return found


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A final block that votes may still be added to.

    Attributes:
        height: Its height.
        epoch: Epoch of its voters.
        builder: Who built it.
        left_out: Voters whose COMMIT the chain does not have, in order of id.
    """

    height: int
    epoch: int
    builder: bytes
    left_out: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u64(self.height) + u32(self.epoch) + self.builder + listed(self.left_out)

    @classmethod
    def decode(cls, data: bytes) -> Confirmed:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "confirmed block")
        found = cls(reader.u64(), reader.u32(), reader.take(SHORT_ID), reader.listed(MAX_MEMBERS, SHORT_ID))
        reader.end()
        return found


@dataclass(frozen=True, slots=True, order=True)
class MissedTurn:
    """A producer's turn that ended in a timeout certificate."""

    height: int
    round: int
    producer: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """The facts since the epoch began, and what earlier heights still may add.

    Attributes:
        facts: By institution.
        confirmed: The last ``late_blocks`` final blocks, lowest first.
        missed: Turns missed in heights that are not settled yet, in order.
        carried: Late votes in the block that is being executed.
        carried_below: Late votes in the block below it, whose builder earns for them.
    """

    facts: Mapping[bytes, Facts] = field(default_factory=dict)
    confirmed: tuple[Confirmed, ...] = ()
    missed: tuple[MissedTurn, ...] = ()
    carried: int = 0
    carried_below: int = 0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = [id_ + one.encode() for id_, one in sorted(self.facts.items())]
        turns = [u64(one.height) + u32(one.round) + one.producer for one in self.missed]
        return (
            _DOMAIN + listed(rows) + listed([one.encode() for one in self.confirmed]) + listed(turns)
            + u32(self.carried) + u32(self.carried_below)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Tally:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "tally")
        reader.constant(_DOMAIN)
        facts = dict(_row(one) for one in reader.listed(MAX_MEMBERS, 64))
        confirmed = tuple(Confirmed.decode(one) for one in reader.listed(_MAX_OPEN, 1 << 16))
        missed = tuple(_turn(one) for one in reader.listed(_MAX_OPEN, 64))
        found = cls(facts, confirmed, missed, reader.u32(), reader.u32())
        reader.end()
        if found.encode() != data:
            raise reader.wrong("institutions stand twice or are not in order of id")
        return found

    def of(self, institution: bytes) -> Facts:
        """Return an institution's facts so far."""
        return self.facts.get(institution, Facts())

    def _with(self, institution: bytes, facts: Facts) -> Tally:
        return replace(self, facts={**self.facts, institution: facts})

    def find(self, height: int) -> Confirmed | None:
        """Return a final block that votes may still be added to."""
        return next((one for one in self.confirmed if one.height == height), None)

    def count(
        self, voters: ValidatorSet, epoch: int, builder: bytes, signers: Sequence[bytes], height: int, keep: int
    ) -> Tally:
        """Return the tally with one final block more.

        Args:
            voters: Who voted on it.
            epoch: Their epoch.
            builder: Who built it.
            signers: Whose COMMITs stand in its certificate on the chain.
            height: Its height.
            keep: Blocks for which late votes are taken.
        """
        facts, present = dict(self.facts), frozenset(signers)
        for one in voters.voters:
            before = facts.get(one.id, Facts())
            facts[one.id] = replace(before, seats=before.seats + 1, included=before.included + (one.id in present))
        before = facts.get(builder, Facts())
        facts[builder] = replace(before, built=before.built + 1, included=before.included + self.carried_below)
        left_out = tuple(one.id for one in voters.voters if one.id not in present)
        confirmed = (*self.confirmed, Confirmed(height, epoch, builder, left_out))[-keep:]
        return replace(self, facts=facts, confirmed=confirmed, carried=0, carried_below=self.carried)

    def add_late_vote(self, height: int, voter: bytes) -> Tally:
        """Return the tally with a voter counted whom the certificate of a height left out.

        Raises:
            Refused: The height is too old or not yet counted, or the voter is counted already.
        """
        found = self.find(height)
        if found is None:
            raise Refused("late vote", "11", f"height {height} is not among the {len(self.confirmed)} still open")
        if voter not in found.left_out:
            raise Refused("late vote", "11", f"the vote is counted already, or its voter has none at height {height}")
        rest = replace(found, left_out=tuple(one for one in found.left_out if one != voter))
        before = self.of(voter)
        confirmed = tuple(rest if one is found else one for one in self.confirmed)
        counted = replace(self, confirmed=confirmed, carried=self.carried + 1)
        return counted._with(voter, replace(before, included=before.included + 1))

    def add_missed(self, turn: MissedTurn) -> Tally:
        """Return the tally with a missed turn; each turn counts once.

        Raises:
            Refused: The height is too old or not yet counted, the turn is counted already, or its producer's block
                is the one that became final.
        """
        found = self.find(turn.height)
        if found is None:
            raise Refused("missed turn", "11", f"height {turn.height} is not among the {len(self.confirmed)} open")
        if any((one.height, one.round) == (turn.height, turn.round) for one in self.missed):
            raise Refused("missed turn", "11", f"round {turn.round} of height {turn.height} is counted already")
        if found.builder == turn.producer:
            raise Refused("missed turn", "11", "the block of that producer became final")
        return replace(self, missed=tuple(sorted((*self.missed, turn))))

    def add_broken(self, institution: bytes) -> Tally:
        """Return the tally with one more signed build that breaks a rule."""
        before = self.of(institution)
        return self._with(institution, replace(before, broken=before.broken + 1))

    def add_violation(self, institution: bytes, points: int) -> Tally:
        """Return the tally with a confirmed violation of the data service."""
        before = self.of(institution)
        return self._with(institution, replace(before, violated=before.violated + points))

    def add_unanswered(self, institution: bytes, requests: int) -> Tally:
        """Return the tally with requests that an institution was allowed to answer and did not."""
        before = self.of(institution)
        return self._with(institution, replace(before, unanswered=before.unanswered + requests))

    def add_conviction(self, institution: bytes) -> Tally:
        """Return the tally in which an institution is convicted of signing two ways."""
        return self._with(institution, replace(self.of(institution), convicted=True))

    def settle(self) -> tuple[dict[bytes, Facts], Tally]:
        """Return the epoch's facts and the tally that the next epoch begins with.

        A missed turn is judged once nobody can add to its height any more: whether three rounds of a height timed
        out must not depend on what was submitted first. Until then it is carried over.
        """
        open_heights = frozenset(one.height for one in self.confirmed)
        due = [one for one in self.missed if one.height not in open_heights]
        # A timeout certificate of a round says that every round before it timed out too: it was opened by theirs.
        faults = {one.height for one in due if one.round + 1 >= NETWORK_FAULT}
        facts = dict(self.facts)
        for one in due:
            before = facts.get(one.producer, Facts())
            waived = one.height in faults
            facts[one.producer] = replace(before, missed=before.missed + (not waived), waived=before.waived + waived)
        rest = tuple(one for one in self.missed if one.height in open_heights)
        return facts, replace(self, facts={}, missed=rest)


def _row(data: bytes) -> tuple[bytes, Facts]:
    reader = Reader(data, "facts")
    row = reader.take(SHORT_ID), Facts.read(reader)
    reader.end()
    return row


def _turn(data: bytes) -> MissedTurn:
    reader = Reader(data, "missed turn")
    found = MissedTurn(reader.u64(), reader.u32(), reader.take(SHORT_ID))
    reader.end()
    return found
