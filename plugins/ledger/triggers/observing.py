"""How triggers look at the chain: through one observer a process, off the event loop, with errors that say nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from airflow.triggers.base import BaseTaskEndEvent

from ledger.discretion import Withheld, discreet
from ledger.hooks.ledger import LedgerHook

if TYPE_CHECKING:
    from ledger.agreement.observer import Observer

log = logging.getLogger(__name__)
Found = TypeVar("Found")
_turn = threading.Lock()


@cache
def observer() -> Observer:
    """Return this process's observer: one replica and one client, however many rounds are waited for."""
    from ledger.agreement.observer import open_observer

    hook = LedgerHook()
    return open_observer(hook.home, hook.client, hook.exchange)


async def look(work: Callable[[Observer], Found], otherwise: Found) -> Found:
    """Return what the observer sees, or ``otherwise`` where its database does not answer: the next look may.

    Raises:
        LedgerError, ConfigurationError: The observer's own replica or genesis is not good.
    """

    def alone() -> Found:
        with _turn, discreet():
            return work(observer())

    try:
        return await asyncio.to_thread(alone)
    except Withheld as error:
        log.warning("nothing seen: %s", error)
        return otherwise


def ended(event: BaseTaskEndEvent, **found: int) -> BaseTaskEndEvent:
    """Return an event that ends its task, with a payload for ``dag.test()``, which resumes the task instead."""
    event.payload = {"outcome": event.task_instance_state.value, **found}
    return event
