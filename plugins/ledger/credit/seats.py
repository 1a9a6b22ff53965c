"""Who sits in the next epoch's validator set, with what weight (section 11).

Roles come from credit, weights from the class, never from credit. Three bounds hold whatever the facts are: at least
4 voters and 3 producers while the roster has them, nobody above ⌊(W-1)/3⌋, and less than a third of the old weight
moves in one epoch. Where a bound and what was earned disagree the bound wins, and an alarm says so on the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.chain.validators import MAX_MEMBERS, Member, ValidatorSet
from ledger.credit.scoring import VOTING
from ledger.encoding import SHORT_ID, Reader, listed, u8, u32

MIN_VOTERS: Final = 4
MIN_PRODUCERS: Final = 3
#: Why an institution's seat is not the one it earned, in the order of their codes from 1.
ALARMS: Final = ("kept as a voter", "kept as a producer", "weight follows later", "too few voters")
KEPT_VOTER, KEPT_PRODUCER, DELAYED, TOO_FEW = ALARMS
FREE, JAILED, BARRED = 0, 1, 2
_DOMAIN = b"XL/SEATS/1\0"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An institution as far as seats go.

    Attributes:
        id: Its 16 bytes.
        class_: Its class.
        public_key: Its present key.
        weight: Votes of its class.
        score: Its credit.
        role: What it earned.
        bar: ``FREE``, ``JAILED`` by evidence, or ``BARRED`` by governance.
    """

    id: bytes
    class_: str
    public_key: bytes
    weight: int
    score: int
    role: str
    bar: int = FREE

    @property
    def votes(self) -> bool:
        """Whether it earned a vote."""
        return self.bar == FREE and self.role in VOTING and self.weight > 0


@dataclass(frozen=True, slots=True)
class Seats:
    """The next set, and where it is not what was earned.

    Attributes:
        members: The set.
        alarms: Reason and institution of each departure, in order.
    """

    members: ValidatorSet
    alarms: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Alarms:
    """What the state holds of the last change of seats: epoch it was made in, reason and institution of each alarm."""

    epoch: int
    alarms: tuple[tuple[str, bytes], ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _DOMAIN + u32(self.epoch) + listed([u8(ALARMS.index(reason) + 1) + id_ for reason, id_ in self.alarms])

    @classmethod
    def decode(cls, data: bytes) -> Alarms:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "alarms")
        reader.constant(_DOMAIN)
        epoch, rows = reader.u32(), reader.listed(2 * MAX_MEMBERS, 1 + SHORT_ID)
        reader.end()
        if any(len(one) != 1 + SHORT_ID or not 0 < one[0] <= len(ALARMS) for one in rows):
            raise reader.wrong("an alarm is none")
        return cls(epoch, tuple((ALARMS[one[0] - 1], one[1:]) for one in rows))


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates in the order of section 11: credit descending, id ascending; the barred behind the free."""
    return sorted(candidates, key=lambda one: (one.bar, -one.score, one.id))


def assign(candidates: Sequence[Candidate], present: ValidatorSet) -> Seats:
    """Return the next epoch's seats.

    Args:
        candidates: Everyone registered.
        present: The set in force; who is in it and not a candidate leaves it.
    """
    gone = [_leaving(one) for one in present.members if all(one.id != other.id for other in candidates)]
    everyone = best_first([*candidates, *gone])
    voters = [one for one in everyone if one.votes]
    kept = [one for one in everyone if one.weight and one not in voters][: max(MIN_VOTERS - len(voters), 0)]
    goal = capped({one.id: one.weight for one in (*voters, *kept)})
    if len(goal) < MIN_VOTERS or not all(goal.values()):
        return Seats(present, ((TOO_FEW, bytes(SHORT_ID)),))
    weights = approach({one.id: one.weight for one in present.voters}, goal, [one.id for one in everyone])
    producers, acting = _producers([one for one in everyone if weights.get(one.id)])
    members = [_seat(one, weights.get(one.id, 0), producers) for one in everyone]
    alarms = [
        *((KEPT_VOTER, one.id) for one in kept),
        *((KEPT_PRODUCER, one.id) for one in acting),
        *((DELAYED, one.id) for one in everyone if weights.get(one.id, 0) != goal.get(one.id, 0)),
    ]
    return Seats(ValidatorSet(one for one in members if one.weight or one.id not in {two.id for two in gone}),
                 tuple(alarms))  # fmt: skip


def _leaving(member: Member) -> Candidate:
    return Candidate(member.id, member.class_, member.public_key, 0, 0, "member", BARRED)


def _producers(voters: Sequence[Candidate]) -> tuple[frozenset[bytes], list[Candidate]]:
    """Return who produces, and who of them only so that there are enough.

    The best take empty turns: class A first, then others that vote; who was convicted only where nobody else is left.
    """
    earned = [one for one in voters if one.votes and one.role == "producer"]
    others = [one for one in voters if one not in earned]
    others.sort(key=lambda one: (one.bar, one.class_ != "A"))  # stable: best first among equals
    acting = others[: max(MIN_PRODUCERS - len(earned), 0)]
    return frozenset(one.id for one in (*earned, *acting)), acting


def _seat(one: Candidate, weight: int, producers: frozenset[bytes]) -> Member:
    if weight:
        role = "producer" if one.id in producers else "validator"
    else:
        role = "auditor" if one.class_ == "R" and one.bar == FREE else "member"
    return Member(one.id, one.class_, role, weight, one.public_key)


def capped(weights: Mapping[bytes, int]) -> dict[bytes, int]:
    """Return the weights with nobody above ⌊(W-1)/3⌋ of their own sum; some are 0 where fewer than 4 have any."""
    found = dict(weights)
    while found:
        cap = (sum(found.values()) - 1) // 3
        if max(found.values()) <= cap or cap < 1:
            return found if cap >= 1 else dict.fromkeys(found, 0)
        found = {id_: min(weight, cap) for id_, weight in found.items()}
    return found


def approach(present: Mapping[bytes, int], goal: Mapping[bytes, int], order: Sequence[bytes]) -> dict[bytes, int]:
    """Return the weights nearest to ``goal`` that one epoch may reach from ``present``.

    Less than a third of the present weight moves, nobody is above the cap of the new sum, and at least 4 vote. Who
    leaves goes first, the last in ``order`` before others; then come those whom the cap holds down, then who gains.

    Args:
        present: Weights in force.
        goal: Weights to reach, 0 left out.
        order: Everyone, best first.
    """
    best = {id_: weight for id_, weight in present.items() if weight}
    for cap in range(1, max((*present.values(), *goal.values())) + 1):
        found = _under_cap(present, goal, order, cap)
        if found is not None and _distance(found, goal) <= _distance(best, goal):
            best = found
    return best


def _distance(weights: Mapping[bytes, int], goal: Mapping[bytes, int]) -> tuple[int, int]:
    """Return how far weights are from their goal: weight that ought to leave first, then any."""
    leaving = sum(weight for id_, weight in weights.items() if not goal.get(id_))
    return leaving, sum(abs(weights.get(id_, 0) - goal.get(id_, 0)) for id_ in weights.keys() | goal.keys())


def _under_cap(
    present: Mapping[bytes, int], goal: Mapping[bytes, int], order: Sequence[bytes], cap: int
) -> dict[bytes, int] | None:
    """Return the weights nearest to the goal with nobody above ``cap``, or None where one epoch cannot reach any."""
    now = {id_: min(present.get(id_, 0), cap) for id_ in order}
    budget = (sum(present.values()) - 1) // 3 - sum(present.get(id_, 0) - now[id_] for id_ in order)
    if budget < 0:
        return None
    least = 3 * cap + 1  # of the new sum: nobody is above ⌊(W-1)/3⌋ then, and three alone could not reach it
    losing = [
        *(id_ for id_ in reversed(order) if not goal.get(id_)),
        *(id_ for id_ in reversed(order) if goal.get(id_)),
    ]
    while budget:
        moved = _lower(now, goal, losing, budget, least) or _raise(now, goal, order, budget, cap)
        if not moved:
            break
        budget -= moved
    found = {id_: weight for id_, weight in now.items() if weight}
    return found if sum(found.values()) >= least else None


def _lower(now: dict[bytes, int], goal: Mapping[bytes, int], losing: Sequence[bytes], budget: int, least: int) -> int:
    """Lower the first weight that may be lowered; return by how much."""
    spare = sum(now.values()) - least
    for id_ in losing:
        moved = min(now[id_] - goal.get(id_, 0), budget, spare)
        if moved > 0:
            now[id_] -= moved
            return moved
    return 0


def _raise(now: dict[bytes, int], goal: Mapping[bytes, int], order: Sequence[bytes], budget: int, cap: int) -> int:
    """Raise the first weight that may be raised; return by how much."""
    for id_ in order:
        moved = min(min(goal.get(id_, 0), cap) - now[id_], budget)
        if moved > 0:
            now[id_] += moved
            return moved
    return 0
