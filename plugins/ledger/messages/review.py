"""REVIEW: whoever keeps the record, or a regulator, says whether an emergency access was justified (section 14).

An emergency is allowed without the patient's statement, so it is looked at afterwards. Every allowed one stands in the
state from its own block on, and in a list of those that nobody has reviewed. The holder's review closes it; a
regulator's is final, and may say otherwise than the holder's. A review moves no credit: it is one institution's word.
What it finds unjustified can be put before the others as a FINDING of kind 4, whose subject is the request's id
(``docs/decisions/0535``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import EMERGENCY, ONLY
from ledger.chain.transaction import Transaction
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u8, u32, u64
from ledger.errors import Refused

#: Blocks within which a review is expected; later it still counts, and until then everybody is reminded.
REVIEW_BLOCKS: Final = 1_000
#: What was looked into and found. The patient was treated there; agreed afterwards; could not be asked, in danger.
JUSTIFIED: Final = ("treatment-confirmed", "patient-agreed-later", "danger-confirmed")
#: Nobody treated the patient there; the patient could have been asked; the record was of no use; nobody explained it.
UNJUSTIFIED: Final = ("no-treatment", "consent-could-be-asked", "more-than-needed", "unexplained")
REASONS: Final = (*JUSTIFIED, *UNJUSTIFIED)
REGULATOR: Final = "R"
_EPOCH: Final = 4


@dataclass(frozen=True, slots=True)
class Given:
    """One review.

    Attributes:
        reviewer: Who gave it, 16 bytes.
        reason: One of ``REASONS``.
        final: Whether a regulator gave it.
        height: In which block.
    """

    reviewer: bytes
    reason: str
    final: bool
    height: int

    @property
    def justified(self) -> bool:
        """Whether the access was found justified."""
        return self.reason in JUSTIFIED

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.reviewer + u8(REASONS.index(self.reason)) + u8(self.final) + u64(self.height)

    @classmethod
    def decode(cls, data: bytes) -> Given:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "review")
        found = cls(reader.take(SHORT_ID), reader.one_of(REASONS), reader.flag(), reader.u64())
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Emergency:
    """What the state holds of one emergency access.

    Attributes:
        requester: Who may read.
        holder: Whose record it is.
        height: Block in which it was allowed.
        due: Last height at which a review is in time.
        reviews: The holder's, a regulator's, in the order in which they came.
    """

    requester: bytes
    holder: bytes
    height: int
    due: int
    reviews: tuple[Given, ...] = ()

    @property
    def verdict(self) -> Given | None:
        """The review that counts: the last one; None while nobody has given any."""
        return self.reviews[-1] if self.reviews else None

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        heights = u64(self.height) + u64(self.due)
        return self.requester + self.holder + heights + listed([one.encode() for one in self.reviews])

    @classmethod
    def decode(cls, data: bytes) -> Emergency:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "emergency")
        found = cls(
            reader.take(SHORT_ID), reader.take(SHORT_ID), reader.u64(), reader.u64(),
            tuple(map(Given.decode, reader.listed(2, 64))),
        )  # fmt: skip
        reader.end()
        return found


def note_emergency(ledger: Ledger, tx_id: bytes, requester: bytes, holder: bytes) -> None:
    """An emergency access that was just allowed stands in the state, and among those to be reviewed."""
    found = Emergency(requester, holder, ledger.height, ledger.height + REVIEW_BLOCKS)
    ledger.put(EMERGENCY, tx_id, found.encode())
    epoch = u32(ledger.epoch)
    before = ledger.get(EMERGENCY, epoch)
    if before is None:
        ledger.put(EMERGENCY, ONLY, (ledger.get(EMERGENCY, ONLY) or b"") + epoch)
    ledger.put(EMERGENCY, epoch, (before or b"") + tx_id)


def emergency(ledger: Ledger, tx_id: bytes) -> Emergency | None:
    """Return what is known of an emergency access, or None where the id is none's."""
    stored = ledger.get(EMERGENCY, tx_id) if len(tx_id) == DIGEST else None
    return None if stored is None else Emergency.decode(stored)


def unreviewed(ledger: Ledger) -> Iterator[tuple[bytes, Emergency]]:
    """Yield the emergency accesses that nobody has reviewed, oldest first, with the ids of their requests."""
    for epoch in _pieces(ledger.get(EMERGENCY, ONLY), _EPOCH):
        for tx_id in _pieces(ledger.get(EMERGENCY, epoch), DIGEST):
            found = emergency(ledger, tx_id)
            if found is not None:
                yield tx_id, found


def _pieces(value: bytes | None, width: int) -> list[bytes]:
    data = value or b""
    return [data[at : at + width] for at in range(0, len(data), width)]


def _close(ledger: Ledger, tx_id: bytes, epoch: bytes) -> None:
    """A reviewed one is no longer listed, and an epoch without any is not either."""
    left = [one for one in _pieces(ledger.get(EMERGENCY, epoch), DIGEST) if one != tx_id]
    ledger.put(EMERGENCY, epoch, b"".join(left) or None)
    if not left:
        epochs = [one for one in _pieces(ledger.get(EMERGENCY, ONLY), _EPOCH) if one != epoch]
        ledger.put(EMERGENCY, ONLY, b"".join(epochs) or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(Transaction):
    """The signed message.

    Attributes:
        request: Id of the ACCESS_REQ.
        reason: One of ``REASONS``; it says whether the access was justified.
    """

    TYPE: ClassVar[int] = 14
    NAME: ClassVar[str] = "REVIEW"

    request: bytes
    reason: str

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return self.request + u8(REASONS.index(self.reason))

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        return {"request": reader.take(DIGEST), "reason": reader.one_of(REASONS)}

    def execute(self, ledger: Ledger) -> Outcome:
        """The review stands beside the access; the access waits for none any more.

        Raises:
            Refused: It was no emergency, the sender is neither its holder nor a regulator, or has the last word
                already against it.
        """
        found = emergency(ledger, self.request)
        if found is None:
            raise Refused("review", "14", "no emergency access of that id was allowed")
        sender = ledger.roster.registration(self.sender)
        regulator = sender is not None and sender.class_ == REGULATOR
        if self.sender == found.requester or not (regulator or self.sender == found.holder):
            raise Refused("reviewer", "14", "an emergency access is reviewed by the record's holder or a regulator")
        if any(one.final or one.reviewer == self.sender for one in found.reviews):
            raise Refused("review", "14", "the sender, or a regulator, has reviewed it already")
        if not found.reviews:
            _close(ledger, self.request, u32(ledger.parameters.epoch_of(found.height)))
        given = Given(self.sender, self.reason, regulator, ledger.height)
        ledger.put(EMERGENCY, self.request, replace(found, reviews=(*found.reviews, given)).encode())
        return Outcome(detail=u8(given.justified))
