"""Errors of checking, named by what happens next.

- SuiteError (a ConfigurationError): stop; a person must change the named suite file. Nothing was judged.

A record that fails is no error: it is a `schemas.records.Refusal` in the report, and is set aside.
"""

from __future__ import annotations

from schemas.errors import ConfigurationError


class SuiteError(ConfigurationError):
    """An expectation suite cannot be used as it stands; the message names file, rule and key."""
