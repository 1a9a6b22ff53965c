"""Errors of running a region on this machine.

- RegionError: stop; the message says what is missing and the ways out.
"""

from __future__ import annotations


class RegionError(Exception):
    """The region cannot be started, reached or stopped as asked."""
