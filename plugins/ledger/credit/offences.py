"""What an institution can be convicted of, and what the state keeps of it (sections 10 and 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.encoding import SHORT_ID, Reader, u8, u64

DOUBLE_VOTE: Final = 1
DOUBLE_PROPOSAL: Final = 2
DOUBLE_BUILD: Final = 3
BROKEN_LOCK: Final = 4
HIDDEN_LOCK: Final = 5
BROKEN_BUILD: Final = 6
VIOLATION: Final = 7
#: What each is called. The first five cost everything; the others cost points.
OFFENCES: Final = {
    DOUBLE_VOTE: "two votes in one place",
    DOUBLE_PROPOSAL: "two proposals of one round",
    DOUBLE_BUILD: "two builds of one round",
    BROKEN_LOCK: "a vote against its own lock",
    HIDDEN_LOCK: "a lock hidden in a timeout",
    BROKEN_BUILD: "a signed block that breaks a rule",
    VIOLATION: "a violation of the data service",
}


@dataclass(frozen=True, slots=True)
class Offence:
    """What the state holds of an offence, so that it costs once.

    Attributes:
        kind: One of ``OFFENCES``.
        institution: Whose.
        height: Height that it is of.
        accepted: Height of the block that proved it.
    """

    kind: int
    institution: bytes
    height: int
    accepted: int

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u8(self.kind) + self.institution + u64(self.height) + u64(self.accepted)

    @classmethod
    def decode(cls, data: bytes) -> Offence:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "offence")
        found = cls(reader.u8(), reader.take(SHORT_ID), reader.u64(), reader.u64())
        reader.end()
        if found.kind not in OFFENCES:
            raise reader.wrong(f"kind {found.kind} is none")
        return found
