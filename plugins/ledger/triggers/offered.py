"""Triggers that begin at once what should not wait for a clock: a block for votes and requests, an answer to those."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from ledger.triggers.observing import look

if TYPE_CHECKING:
    from ledger.agreement.observer import Observer

POLL_SECONDS = 5.0


class NewsTrigger(BaseEventTrigger):
    """Tells the asset that watches it of what the observer sees, once for each."""

    def __init__(self) -> None:
        super().__init__()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again: it has no settings, no address and no secret."""
        return f"{type(self).__module__}.{type(self).__name__}", {}

    @staticmethod
    @abstractmethod
    def seen(observer: Observer) -> frozenset[bytes]:
        """Return what there is now, by digest or id."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every few seconds, for as long as the triggerer lives."""
        told: frozenset[bytes] = frozenset()
        while True:
            waiting = await look(self.seen, otherwise=told)
            if waiting - told:
                yield TriggerEvent({"waiting": len(waiting)})
            told = waiting
            await asyncio.sleep(POLL_SECONDS)


class OfferedTrigger(NewsTrigger):
    """Tells of messages that are offered and ask for a block by themselves.

    Batches do not: who seals them says so by an asset of its own. Rubbish is told of never: only what the next block
    would take in counts.
    """

    @staticmethod
    def seen(observer: Observer) -> frozenset[bytes]:
        """Return digests of what the next block would take in."""
        return observer.messages()


class AllowedTrigger(NewsTrigger):
    """Tells of requests that a block allows: that a holder is to answer, then that its package may be laid out."""

    @staticmethod
    def seen(observer: Observer) -> frozenset[bytes]:
        """Return what is waited for, by request and holder."""
        return observer.allowed()
