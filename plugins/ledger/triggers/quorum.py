"""The trigger that waits for a step of a round, in the triggerer: no worker is held, and no institution is believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from ledger.agreement.place import PROPOSAL, Place
from ledger.triggers.absence import away
from ledger.triggers.observing import ended, look

POLL_SECONDS = 0.5
#: Under which a wait that failed leaves the round it gave up.
PLACE = "place"
RETURN = "return_value"


class QuorumTrigger(BaseTrigger):
    """Ends its task once a step of the open round stands in the exchange, verified, or when its time is over.

    Success returns height and round. Failure leaves them under ``place``. A proposal that nobody needs is skipped:
    nothing waits to be confirmed. A producer who is known to be away is not waited for.

    Args:
        step: ``proposal``, ``prepare``, ``commit`` or ``timeout``.
        deadline: Seconds from now; more once all producers had their turn (``Observer.patience``).
        height: Of the round to wait for; without it and ``round_`` it is the round that is open now.
        round_: The round.
    """

    def __init__(self, step: str, deadline: float, height: int | None = None, round_: int | None = None) -> None:
        super().__init__()
        self.step = step
        self.deadline = deadline
        self.height = height
        self.round_ = round_

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again: plain values, no address and no secret."""
        kwargs = {"step": self.step, "deadline": self.deadline, "height": self.height, "round_": self.round_}
        return "ledger.triggers.quorum.QuorumTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look twice a second."""
        place = await self._place()
        if place is None:
            yield ended(TaskFailedEvent())
        elif self.step == PROPOSAL and await look(lambda seen: seen.is_idle(place), otherwise=False):
            yield ended(TaskSkippedEvent())
        elif await self._stands(place):
            yield ended(TaskSuccessEvent(xcoms={RETURN: dict(place.plain())}), **place.plain())
        elif self.step == PROPOSAL and not await look(lambda seen: seen.would_propose(place), otherwise=True):
            yield ended(TaskSkippedEvent())
        else:
            yield ended(TaskFailedEvent(xcoms={PLACE: dict(place.plain())}), **place.plain())

    async def _place(self) -> Place | None:
        if self.height is not None and self.round_ is not None:
            return Place(self.height, self.round_)
        end = time.monotonic() + self.deadline
        while (found := await look(lambda seen: seen.place(), otherwise=None)) is None and time.monotonic() < end:
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def _stands(self, place: Place) -> bool:
        """Say whether the step came to stand before its time was over; there is one look in any case."""
        end = time.monotonic() + self.deadline * await look(lambda seen: seen.patience(place), otherwise=1)
        if self.step == PROPOSAL and await away([await look(lambda seen: seen.producer(place), otherwise="")]):
            end = 0.0
        while not (found := await look(lambda seen: seen.sees(self.step, place), otherwise=False)):
            if time.monotonic() >= end:
                break
            await asyncio.sleep(POLL_SECONDS)
        return found
