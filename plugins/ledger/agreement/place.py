"""Where agreement stands: a height, a round, and the steps that a round shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The first step of a round; the others are ``prepare``, ``commit`` and ``timeout``.
PROPOSAL: Final = "proposal"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A height to be decided and the round it is in."""

    height: int
    round: int

    def plain(self) -> dict[str, int]:
        """Return it as XCom carries it."""
        return {"height": self.height, "round": self.round}
