"""Errors of a step, named by what happens next.

- Stop: no retry helps; a person must look. The task fails at once.

Anything else that a step raises (a database that is away, a peer that hangs up) is retried.
"""

from __future__ import annotations


class Stop(Exception):
    """The step must not go on and must not be repeated before somebody has looked."""
