"""Sources that send by themselves: what a listener acknowledges stands durable in its institution's vault."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from connectors import open_listener
from connectors.listening import Inspect, Listener
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
        inspector(source),
        partial(landing.refused, source.id),
    )


def inspector(source: Source) -> Inspect:
    """Return what looks at a message before its sender is answered: HL7 v2 has refusals, others have none."""
    return partial(inspect, context=source.context) if source.kind.startswith("his.hl7v2") else lambda _: None
