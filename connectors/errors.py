"""Errors of the connectors, named by what happens next.

- ConnectorError: anything below. - Retry: raise it; the same call may succeed later. Nothing of the cursor
    has moved. - Stop: a person must act first (a right, a certificate, a port in use); trying again is no
    use.

What a source holds and cannot become a record is no error: it is handed over as
``schemas.records.Unreadable`` and set aside. Settings that cannot be used raise
``schemas.errors.ConfigurationError``.
"""

from __future__ import annotations


class ConnectorError(Exception):
    """The source could not be read or served."""


class Retry(ConnectorError):
    """The source is not there at the moment; the same call may succeed later."""


class Stop(ConnectorError):
    """The source cannot be read until a person changes something."""
