"""A FHIR server under trial: read as it is, and asked with credentials that are wrong.

Nothing is written to the server, so a late resource is shown by the overlap alone: the next read meets the last ones
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from connectors.conformance import Trial
from connectors.his.fhir_rest import FhirConnector
from schemas.source import Source

_WRONG: Final = "xinglin-trial"


@contextmanager
def trial(source: Source, home: Path) -> Iterator[Trial]:
    """Yield the server, and the server asked as somebody it does not know."""
    yield Trial(partial(FhirConnector, source, home), wrong=partial(_wrong, source, home))


def _wrong(source: Source, home: Path) -> FhirConnector:
    """Return a connector whose password, token or client is wrong; without any, its address."""
    settings = dict(source.settings)
    auth = settings.get("auth", "none")
    if auth == "none":
        settings["base"] = f"{str(settings['base']).rstrip('/')}/{_WRONG}"
    elif auth == "smart":
        settings["client_id"] = f"{settings['client_id']}-{_WRONG}"
    connector = FhirConnector(replace(source, settings=settings), home)
    if auth in ("basic", "bearer"):
        connector.secret = lambda _name: _WRONG
    return connector
