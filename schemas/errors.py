"""Errors of reading what people write for the house: its configuration, and expressions of FHIRPath.

- ConfigurationError: stop; a person must change the named file.
- ExpressionError: stop; whoever wrote the expression must change it. The caller knows where the expression stood, and
  says so in its own family.
"""

from __future__ import annotations


class ConfigurationError(Exception):
    """A configuration file cannot be used as it stands."""


class ExpressionError(ValueError):
    """An expression of FHIRPath is wrong, or uses what is not there.

    Args:
        why: What was expected, what came.
        at: Character of the expression, from 1; 0 where it is about no single one.
    """

    def __init__(self, why: str, at: int = 0) -> None:
        super().__init__(f"character {at}: {why}" if at else why)
        self.why = why
        self.at = at
