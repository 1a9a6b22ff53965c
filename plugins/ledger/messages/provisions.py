"""What one permission or denial of a patient covers, and what is left of permits after denials (section 14)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.chain.roster import CLASSES
from ledger.encoding import Reader, listed, u8, u16, u64

#: What data may be asked for; the number is the place. ``directory`` is being read in summaries, without a request.
PURPOSES: Final = ("care", "emergency", "research", "claims", "public-health", "audit", "directory")
#: Allowed without the patient's statement, and reviewed afterwards (``ledger.messages.review``).
EMERGENCY: Final = "emergency"
EVERY_PURPOSE: Final = frozenset(PURPOSES)
FOREVER: Final = (1 << 64) - 1
MAX_NAMED: Final = 64

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Provision:
    """One permission or denial.

    Attributes:
        permits: Whether it allows; else it forbids.
        purposes: For what, of ``PURPOSES``; at least one.
        classes: For institutions of which classes, of ``roster.CLASSES``.
        institutions: For which institutions by id; where both lists are empty, for everyone.
        types: For which resource types, by their numbers; empty means all.
        valid: From when until when it holds, in the chain's time; milliseconds since 1970 UTC, the end excluded.
        data: For records dated from when until when, likewise.
    """

    permits: bool
    purposes: frozenset[str] = EVERY_PURPOSE
    classes: tuple[str, ...] = ()
    institutions: tuple[bytes, ...] = ()
    types: tuple[int, ...] = ()
    valid: Interval = (0, FOREVER)
    data: Interval = (0, FOREVER)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        purposes = sum(1 << PURPOSES.index(one) for one in self.purposes)
        return (
            u8(self.permits)
            + u16(purposes)
            + listed(sorted(u8(CLASSES.index(one)) for one in self.classes))
            + listed(sorted(self.institutions))
            + listed(sorted(map(u16, self.types)))
            + b"".join(map(u64, (*self.valid, *self.data)))
        )

    @classmethod
    def read(cls, data: bytes) -> Provision:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "consent provision")
        permits, mask = reader.flag(), reader.u16()
        classes, institutions, types = (reader.listed(MAX_NAMED, width) for width in (1, 16, 2))
        valid, over = (reader.u64(), reader.u64()), (reader.u64(), reader.u64())
        reader.end()
        if not 0 < mask < 1 << len(PURPOSES):
            raise reader.wrong("it names no purpose or an unknown one")
        for ones, width in ((classes, 1), (institutions, 16), (types, 2)):
            if list(ones) != sorted(set(ones)) or any(len(one) != width for one in ones):
                raise reader.wrong("a list is not in order, names something twice, or something of a wrong length")
        if any(one[0] >= len(CLASSES) for one in classes):
            raise reader.wrong("an unknown class")
        if valid[0] >= valid[1] or over[0] >= over[1]:
            raise reader.wrong("an interval ends before it begins")
        return cls(
            permits,
            frozenset(one for place, one in enumerate(PURPOSES) if mask >> place & 1),
            tuple(CLASSES[one[0]] for one in classes),
            institutions,
            tuple(int.from_bytes(one, "big") for one in types),
            valid,
            over,
        )

    def covers(self, question: Question) -> bool:
        """Say whether it speaks of what is asked, leaving aside how old the data are."""
        named = self.classes or self.institutions
        return (
            question.purpose in self.purposes
            and (not named or question.class_ in self.classes or question.party in self.institutions)
            and (not self.types or question.type is None or question.type in self.types)
            and self.valid[0] <= question.time_ms < self.valid[1]
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants with a patient's data.

    Attributes:
        purpose: One of ``PURPOSES``.
        party: Who, by id.
        class_: Its class.
        type: Number of the resource type; None where several may be meant: a denial of any of them then counts.
        time_ms: When, in the chain's time.
    """

    purpose: str
    party: bytes
    class_: str
    type: int | None
    time_ms: int


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of half-open intervals, in order and apart."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def minus(permits: Sequence[Interval], denials: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return what is left of half-open intervals, apart and in order, after others are cut out."""
    left = list(permits)
    for start, end in denials:
        cut = [((low, min(high, start)), (max(low, end), high)) for low, high in left]
        left = [piece for pair in cut for piece in pair if piece[0] < piece[1]]
    return tuple(left)
