"""Sources that send by themselves: what a listener acknowledges stands durable in its institution's vault."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from connectors import open_listener
from connectors.his.hl7v2_mllp import Listener
from dags.steps.site import Site
from normalise.hl7v2 import inspect
from schemas.records import RawRecord
from schemas.source import Source


def listener(source: Source, at: Site) -> Listener:
    """Return the listener of one source; it listens once served."""
    landing = at.vault(source.institution).landing

    def land_many(raws: list[RawRecord]) -> Sequence[bool]:
        return [landed.new for landed in landing.put_many(raws)]

    return open_listener(
        source,
        at.home.path,
        land_many,
        partial(inspect, context=source.context),
        partial(landing.refused, source.id),
    )
