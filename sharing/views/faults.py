"""What goes wrong inside a view, before its place in the definition is known."""

from __future__ import annotations

from sharing.errors import Malformed


class Fault(Exception):
    """An expression, or a value it came to, is not what it must be.

    Args:
        why: What was expected, what came; never a patient's value.
        at: Character of the expression, from 1; 0 where it is about no single one.
    """

    def __init__(self, why: str, at: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.at = at

    def located(self, place: str) -> Malformed:
        """Return it as what a caller catches: with the place in the definition."""
        return Malformed(f"{place}: {f'character {self.at}: ' if self.at else ''}{self.why}")


class Unfit(Malformed):
    """One resource does not go into the view.

    Args:
        message: Place in the definition, what was expected, what came.
        resource: Which one of those handed over, from 0.
    """

    def __init__(self, message: str, resource: int) -> None:
        super().__init__(message)
        self.resource = resource
