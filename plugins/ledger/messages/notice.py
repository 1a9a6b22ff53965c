"""NOTICE: patients in a delivered dataset took their permission back; what its holder and its keeper do about it.

Whoever delivered a dataset says of how many persons it must lose rows, never of whom: the number is rounded up to
fives. It announces a package cut anew, if it makes one; which rows go, that package shows to who opens it. The
requester answers that the new package stands in place of the old one, or that the dataset is deleted. Nobody can check
from outside what a requester deletes: the chain holds its signed word for it (``docs/decisions/0528``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import DELIVERY, NOTICE
from ledger.chain.transaction import Transaction
from ledger.encoding import DIGEST, SHORT_ID, ZERO_DIGEST, Reader, u8, u32, u64
from ledger.errors import Refused
from ledger.messages.delivery import GIVEN, DeliveryState, allowed_request

#: What is said: rows must go; a package without them is there. Then by the requester: it is in place; all is deleted.
STEPS: Final = ("raised", "recut", "replaced", "deleted")
RAISED, RECUT, REPLACED, DELETED = STEPS
#: What a notice has come to; the first two as long as the requester has not answered.
STAGES: Final = STEPS
#: Numbers of persons are multiples of it.
ROUNDED: Final = 5


@dataclass(frozen=True, slots=True)
class NoticeState:
    """What the state holds of one dataset that must lose rows.

    Attributes:
        stage: One of ``STAGES``.
        affected: Persons of whom rows must go, since the delivery, rounded up.
        raised: Block that said so last.
        package: SM3 of the package cut anew; zeros where there is none.
        manifest: SM3 of its manifest; zeros likewise.
        height: Block of the last message.
    """

    stage: str
    affected: int
    raised: int
    package: bytes
    manifest: bytes
    height: int

    @property
    def open(self) -> bool:
        """Whether the requester's answer is awaited."""
        return self.stage in (RAISED, RECUT)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        numbers = u8(STAGES.index(self.stage)) + u32(self.affected) + u64(self.raised)
        return numbers + self.package + self.manifest + u64(self.height)

    @classmethod
    def decode(cls, data: bytes) -> NoticeState:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "notice state")
        found = cls(
            reader.one_of(STAGES), reader.u32(), reader.u64(), reader.take(DIGEST), reader.take(DIGEST), reader.u64()
        )
        reader.end()
        return found


def notice(ledger: Ledger, request: bytes, holder: bytes) -> NoticeState | None:
    """Return what stands of a dataset that must lose rows, or None where it need not."""
    stored = ledger.get(NOTICE, request + holder)
    return None if stored is None else NoticeState.decode(stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Transaction):
    """The signed message.

    Attributes:
        request: Id of the ACCESS_REQ.
        holder: Who delivered the dataset.
        step: One of ``STEPS``; the first two are the holder's to say, the others the requester's.
        affected: With ``raised`` the persons of whom rows must go, since the delivery, rounded up to fives; else 0.
        package: With ``recut`` and ``replaced`` the SM3 of the package cut anew; else zeros.
        manifest: With ``recut`` the SM3 of its manifest; else zeros.
    """

    TYPE: ClassVar[int] = 13
    NAME: ClassVar[str] = "NOTICE"

    request: bytes
    holder: bytes
    step: str
    affected: int = 0
    package: bytes = ZERO_DIGEST
    manifest: bytes = ZERO_DIGEST

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return (
            self.request + self.holder + u8(STEPS.index(self.step)) + u32(self.affected) + self.package + self.manifest
        )

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        request, holder, step = reader.take(DIGEST), reader.take(SHORT_ID), reader.one_of(STEPS)
        affected, package, manifest = reader.u32(), reader.take(DIGEST), reader.take(DIGEST)
        if (step == RAISED) != (affected > 0) or affected % ROUNDED:
            raise reader.wrong("persons are told of by who raises it, in fives")
        if (package != ZERO_DIGEST) != (step in (RECUT, REPLACED)) or (manifest != ZERO_DIGEST) != (step == RECUT):
            raise reader.wrong("a package cut anew is named with its manifest, and by who has put it in place")
        return {
            "request": request, "holder": holder, "step": step, "affected": affected, "package": package,
            "manifest": manifest,
        }  # fmt: skip

    def execute(self, ledger: Ledger) -> Outcome:
        """What was said of the dataset stands in the state.

        Raises:
            Refused: No such dataset was delivered, it is another's to say, says nothing new, or the dataset is deleted.
        """
        request = allowed_request(ledger, self.request)
        self._check_delivered(ledger)
        speaks = self.holder if self.step in (RAISED, RECUT) else request.requester
        if self.sender != speaks:
            raise Refused("notice", "14", "rows are called back by who delivered them, and answered for by who asked")
        before = notice(ledger, self.request, self.holder)
        after = self._raised(ledger, before) if self.step == RAISED else self._next(ledger, before)
        ledger.put(NOTICE, self.request + self.holder, after.encode())
        return Outcome(detail=u8(STEPS.index(self.step)))

    def _check_delivered(self, ledger: Ledger) -> None:
        stored = ledger.get(DELIVERY, self.request + self.holder)
        if stored is None or DeliveryState.decode(stored).answer != GIVEN:
            raise Refused("delivery", "14", "the holder has delivered nothing to this request")

    def _raised(self, ledger: Ledger, before: NoticeState | None) -> NoticeState:
        if before and before.stage == DELETED:
            raise Refused("notice", "14", f"the requester deleted the dataset by block {before.height}")
        if before and before.stage == RAISED and before.affected >= self.affected:
            raise Refused("notice", "14", f"{before.affected} persons were told of in block {before.raised} already")
        return NoticeState(RAISED, self.affected, ledger.height, ZERO_DIGEST, ZERO_DIGEST, ledger.height)

    def _next(self, ledger: Ledger, before: NoticeState | None) -> NoticeState:
        if before is None or not before.open:
            raise Refused("notice", "14", "no rows of this dataset are called back")
        if self.step == REPLACED and (before.stage != RECUT or before.package != self.package):
            raise Refused("notice", "14", "the holder has not announced that package")
        if self.step == RECUT:
            return replace(before, stage=RECUT, package=self.package, manifest=self.manifest, height=ledger.height)
        return replace(before, stage=self.step, height=ledger.height)
