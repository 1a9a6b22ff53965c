"""Errors of reading configuration.

- ConfigurationError: stop; a person must change the named file.
"""

from __future__ import annotations


class ConfigurationError(Exception):
    """A configuration file cannot be used as it stands."""
