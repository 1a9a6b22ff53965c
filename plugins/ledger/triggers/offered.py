"""The trigger that begins a block for who should not wait for the next tick: votes, freezes, requests, evidence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from ledger.triggers.observing import look

POLL_SECONDS = 5.0


class OfferedTrigger(BaseEventTrigger):
    """Tells the asset that watches it, once for each, of messages that are offered and ask for a block by themselves.

    Batches do not: who seals them says so by an asset of its own. Rubbish is told of never: only what the next block
    would take in counts.
    """

    def __init__(self) -> None:
        super().__init__()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again: it has no settings, no address and no secret."""
        return "ledger.triggers.offered.OfferedTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every few seconds, for as long as the triggerer lives."""
        told: frozenset[bytes] = frozenset()
        while True:
            waiting = await look(lambda seen: seen.messages(), otherwise=told)
            if waiting - told:
                yield TriggerEvent({"waiting": len(waiting)})
            told = waiting
            await asyncio.sleep(POLL_SECONDS)
