"""Sources that send by themselves: what every kind of listener offers, and how several are served together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from connectors.contract import Finding
from schemas.records import Refusal
from schemas.source import Source

#: Looks at a message before it is acknowledged; what it returns is told to the sender.
Inspect = Callable[[bytes], Refusal | None]
#: Told the reason of each message that was refused and not kept; may block, as landing may.
Refused = Callable[[str], None]


class Listener(Protocol):
    """Takes what one source sends, and acknowledges it once it is durable."""

    source: Source

    async def start(self) -> None:
        """Take messages from now on, or try to for as long as the other end is not there.

        Raises:
            Stop: A person must act first.
        """

    async def stop(self, grace_seconds: float = 30.0) -> None:
        """Take no more messages; land and acknowledge those in hand."""

    def check(self) -> tuple[Finding, ...]:
        """Return what can be told of the source without taking anything from it."""


async def serve(listeners: Sequence[Listener], ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, then finish the messages in hand and stop.

    Args:
        listeners: One for each source.
        ready: Called once all of them have started.

    Raises:
        Stop: One cannot be started; none is served then.
    """
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        for listener in listeners:
            await listener.start()
        ready()
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await asyncio.gather(*(listener.stop() for listener in listeners))
