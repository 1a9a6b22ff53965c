"""What a transaction's rule sees of the chain, and what it answers (section 14); no clock, no I/O, no chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from ledger.chain.genesis import ChainParameters
    from ledger.chain.roster import Roster
    from ledger.chain.validators import ValidatorSet

ACCEPTED: Final = 1
DENIED: Final = 2
PENDING: Final = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction; its receipt says the same.

    Attributes:
        code: ``ACCEPTED``; ``DENIED`` where a contract decided against what was asked; ``PENDING`` where it will decide
            once others have signed.
        detail: Canonical bytes of the transaction's own; their meaning is its type's.
    """

    code: int = ACCEPTED
    detail: bytes = b""


class Ledger(Protocol):
    """The chain's state in the middle of a block: after everything that stands before in it."""

    @property
    def chain_id(self) -> bytes:
        """The chain."""
        ...

    @property
    def height(self) -> int:
        """Height of the block."""
        ...

    @property
    def epoch(self) -> int:
        """Its epoch."""
        ...

    @property
    def time_ms(self) -> int:
        """Its time as its header says, milliseconds since 1970 UTC: the only time a rule knows."""
        ...

    @property
    def last_of_epoch(self) -> bool:
        """Whether it is its epoch's last."""
        ...

    @property
    def parameters(self) -> ChainParameters:
        """The parameters in force for the whole block: those that stood before it."""
        ...

    @property
    def policies(self) -> bytes:
        """The policy set in force for the whole block, as ``ledger.contracts.policy`` encodes it."""
        ...

    @property
    def validators(self) -> ValidatorSet:
        """The members who vote on the block."""
        ...

    @property
    def roster(self) -> Roster:
        """Everyone registered, after what stands before in the block."""
        ...

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the members of an epoch, this one's or earlier; None of a later one."""
        ...

    def get(self, kind: int, identity: bytes) -> bytes | None:
        """Return a state value, or None where nothing stands."""
        ...

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        """Set a state value, or with None delete it."""
        ...
