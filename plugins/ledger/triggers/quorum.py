"""The trigger that waits, in the triggerer, until a certificate stands in the exchange or the round is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from ledger.discretion import discreet
from ledger.hooks.ledger import LedgerHook

POLL_SECONDS = 0.25


class QuorumTrigger(BaseTrigger):
    """Fires with height and round once a certificate stands, or with ``late`` after the deadline.

    Args:
        step: ``prepare`` or ``commit``.
        height: Of the block.
        round_: In which it was voted on.
        deadline: Seconds from now.
    """

    def __init__(self, step: str, height: int, round_: int, deadline: int) -> None:
        super().__init__()
        self.step = step
        self.height = height
        self.round_ = round_
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again: four plain values, no address and no secret."""
        kwargs = {"step": self.step, "height": self.height, "round_": self.round_, "deadline": self.deadline}
        return "ledger.triggers.quorum.QuorumTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every quarter of a second."""
        from ledger.certificate import COMMIT, PREPARE

        step = {"prepare": PREPARE, "commit": COMMIT}[self.step]
        place = {"height": self.height, "round": self.round_}
        hook, end = LedgerHook(), time.monotonic() + self.deadline
        try:
            with discreet():
                exchange = await asyncio.to_thread(lambda: hook.exchange)
                while time.monotonic() < end:
                    if await asyncio.to_thread(exchange.certificate, self.height, self.round_, step) is not None:
                        break
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    place["late"] = True
        finally:
            hook.close()  # the triggerer lives for months; a client for each quorum would stay with it
        yield TriggerEvent(place)
