"""What a simulator sent, and what must become of it: the other side of the account."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    """What went out in one go.

    What lands is ``sealed`` + ``repeats`` + the set aside; what was refused at the door stays out.

    Attributes:
        sealed: Different messages that must be sealed.
        repeats: Messages sent before, byte for byte, in this go or an earlier one.
        set_aside: Different messages, or pieces of files, that must lie in quarantine, by reason.
        refused: Messages that the listener must refuse and not keep, by reason.
        answers: Acknowledgements that came, by MSA-1.
        resent: Messages sent again because the connection was lost before their answer.
        files: Files dropped.
        reread: Whether its reader may meet the same again, by an overlap, after it was killed, or redelivered: there
            are then at least so many repeats. A sender over MLLP knows what it sent again.
    """

    sealed: int = 0
    repeats: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    files: int = 0
    reread: bool = False

    @property
    def received(self) -> int:
        """What must have landed, repeats counted each time."""
        return self.sealed + self.repeats + self.set_aside.total()

    def __add__(self, other: Sent) -> Sent:
        """Return both together."""
        return Sent(
            self.sealed + other.sealed,
            self.repeats + other.repeats,
            self.set_aside + other.set_aside,
            self.refused + other.refused,
            self.answers + other.answers,
            self.resent + other.resent,
            self.files + other.files,
            self.reread or other.reread,
        )
