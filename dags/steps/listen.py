"""Sources that send by themselves: one listener each, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial

from connectors.his.hl7v2_mllp import Listener
from dags.steps.site import Site
from normalise.hl7v2 import inspect
from schemas.records import RawRecord
from schemas.source import Source

log = logging.getLogger(__name__)


def listener(source: Source, at: Site) -> Listener:
    """Return the listener of one source; what it acknowledges stands durable in the institution's vault."""
    landing = at.vault(source.institution).landing

    def land_many(raws: list[RawRecord]) -> Sequence[bool]:
        return [landed.new for landed in landing.put_many(raws)]

    return Listener(
        source,
        at.home.path,
        land_many,
        partial(inspect, context=source.context),
        partial(landing.refused, source.id),
    )


async def listen(sources: Sequence[Source], at: Site, started: Callable[[], None] = lambda: None) -> None:
    """Listen for all ``sources`` until SIGTERM or SIGINT; messages in hand are finished and answered."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listeners = [listener(source, at) for source in sources]
    try:
        for one in listeners:
            await one.start()
        started()
        await stopping.wait()
    finally:
        await asyncio.gather(*(one.stop() for one in listeners))
