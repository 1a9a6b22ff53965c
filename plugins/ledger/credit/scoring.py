"""Credit as arithmetic: an epoch's facts and a score in, the next score and the role it earns out (section 11).

Whole numbers only. No I/O, no state: ``ledger.credit.credit`` reads and writes that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.credit.tally import Facts
from ledger.encoding import Reader, u8, u16, u32, u64

START: Final = 600
HIGHEST: Final = 1_000
BUILT_CAP: Final = 10
INCLUDED_PER_POINT: Final = 10
INCLUDED_CAP: Final = 10
MISSED: Final = 5
MISSED_CAP: Final = 25
ABSENT: Final = 10
BROKEN: Final = 20
UNANSWERED: Final = 20
UNANSWERED_CAP: Final = 100
DRIFT: Final = 50
#: Scores at which a role is taken up and given up; in between it stays as it is.
PRODUCER_ENTERS, PRODUCER_LEAVES = 700, 500
VALIDATOR_ENTERS, VALIDATOR_LEAVES = 400, 300
SUSPENDED_BELOW: Final = 200

#: What a score earns. ``suspended`` votes no more than ``member`` does, and fills no empty seat before others.
STANDINGS: Final = ("producer", "validator", "auditor", "member", "suspended")
VOTING: Final = ("producer", "validator")


@dataclass(frozen=True, slots=True)
class CreditState:
    """What the state holds of an institution's credit.

    Attributes:
        score: 0 to 1,000.
        role: What it earned, one of ``STANDINGS``; the seats of an epoch may differ (``ledger.credit.seats``).
        jailed_until: Last epoch in which it has no vote, 0 for none.
        convicted_at: Height at which it was last convicted of signing two ways, 0 for never.
    """

    score: int = START
    role: str = "member"
    jailed_until: int = 0
    convicted_at: int = 0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u16(self.score) + u8(STANDINGS.index(self.role)) + u32(self.jailed_until) + u64(self.convicted_at)

    @classmethod
    def decode(cls, data: bytes) -> CreditState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "credit")
        score, role, jailed, convicted = reader.u16(), reader.one_of(STANDINGS), reader.u32(), reader.u64()
        reader.end()
        if score > HIGHEST:
            raise reader.wrong(f"a score of {score}, at most {HIGHEST}")
        return cls(score, role, jailed, convicted)


@dataclass(frozen=True, slots=True)
class Change:
    """How one epoch moved a score.

    Attributes:
        before: Score the epoch began with.
        causes: Points by cause, in order; causes without points are left out.
        drift: Points towards 600 at the end.
        after: Score it ended with; within 0 and 1,000 before and after the drift.
    """

    before: int
    causes: tuple[tuple[str, int], ...]
    drift: int
    after: int


def toward_zero(number: int, divisor: int) -> int:
    """Return the quotient without its fraction: ``//`` would round -1/50 down to -1."""
    quotient = abs(number) // divisor
    return quotient if number >= 0 else -quotient


def points(facts: Facts) -> tuple[tuple[str, int], ...]:
    """Return what an epoch's facts are worth, by cause, each within its cap; a conviction is not among them."""
    absent = 2 * facts.included < facts.seats
    causes = (
        ("built", min(facts.built, BUILT_CAP)),
        ("confirmed", min(facts.included // INCLUDED_PER_POINT, INCLUDED_CAP)),
        ("missed turns", -min(MISSED * facts.missed, MISSED_CAP)),
        ("absent", -ABSENT if absent else 0),
        ("broken builds", -BROKEN * facts.broken),
        ("violations", -facts.violated),
        ("unanswered requests", -min(UNANSWERED * facts.unanswered, UNANSWERED_CAP)),
    )
    return tuple((cause, number) for cause, number in causes if number)


def judge(score: int, facts: Facts) -> Change:
    """Return the change of a score by an epoch's facts: a conviction takes all of it, then it drifts to 600."""
    causes = (("convicted", -score),) if facts.convicted else points(facts)
    moved = min(max(score + sum(number for _, number in causes), 0), HIGHEST)
    drift = toward_zero(START - moved, DRIFT)
    return Change(score, causes, drift, moved + drift)


def earned_role(class_: str, score: int, before: str, jailed: bool) -> str:
    """Return the role that a score earns, given the one before it (hysteresis).

    A class A institution below the producer's score votes on as a validator; an auditor stays one at any score.
    """
    if class_ == "R":
        return "auditor"
    if not jailed and class_ == "A" and _holds(score, before == "producer", PRODUCER_ENTERS, PRODUCER_LEAVES):
        return "producer"
    votes = class_ in ("A", "B", "C") and not jailed
    if votes and _holds(score, before in VOTING, VALIDATOR_ENTERS, VALIDATOR_LEAVES):
        return "validator"
    return "suspended" if score < SUSPENDED_BELOW else "member"


def _holds(score: int, had: bool, enters: int, leaves: int) -> bool:
    return score >= (leaves if had else enters)
