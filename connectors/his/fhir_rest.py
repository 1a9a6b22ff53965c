"""A FHIR R4 server as a source: by search from a watermark on, or by Bulk Data exports.

Every resource is a record, in the bytes that the server wrote; what was deleted is a record that says so. Nothing is
written to the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from connectors.contract import Finding, Found, Mark, PullConnector
from connectors.his.fhir_bulk import Bulk
from connectors.his.fhir_client import FhirClient
from connectors.his.fhir_findings import findings
from connectors.his.fhir_search import Search
from connectors.his.fhir_settings import FhirSettings
from connectors.settings import read_settings, secret


class FhirConnector(PullConnector):
    """Pulls the resources of a FHIR R4 server.

    Cursor: that of `connectors.his.fhir_search` or of `connectors.his.fhir_bulk`, each under its own name.
    """

    media: ClassVar[str] = "fhir"

    def prepare(self) -> None:
        """The settings are read."""
        self.settings = read_settings(self.source, FhirSettings)
        #: Waits between two attempts.
        self.sleep: Callable[[float], None] = time.sleep
        #: Returns the secret of a name; asked when the server wants it.
        self.secret: Callable[[str], str] = partial(secret, self.home, self.source)

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield the server's resources from the cursor on, in its order."""
        with closing(self.client()) as client:
            if self.settings.mode == "bulk":
                yield from Bulk(client, self.source.record_bytes, self.digest, self.now, self.sleep).read(cursor)
            else:
                yield from Search(client, self.now).read(cursor)

    def past(self, begin: datetime, end: datetime) -> Iterator[Found | Mark]:
        """Yield what the server last changed from ``begin`` to before ``end``; by search, whatever the mode."""
        with closing(self.client()) as client:
            yield from Search(client, self.now).past(begin, end)

    def check(self) -> tuple[Finding, ...]:
        """Return whether the server answers, lets us in, keeps our time and holds the types that are read."""
        with closing(self.client()) as client:
            return findings(client, self.now)

    def client(self) -> FhirClient:
        """Return what asks the server."""
        return FhirClient(self.source.id, self.settings, self.home, self.secret, self.now, self.sleep)
