"""What governance can change, one class each: its bytes, whether it may be made, and making it (section 14)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ledger.chain.genesis import ChainParameters
from ledger.chain.rules import Ledger
from ledger.chain.state import ONLY, PARAMETERS, POLICIES
from ledger.encoding import Reader
from ledger.errors import Diverged, Refused


@dataclass(frozen=True, slots=True)
class Change(ABC):
    """One change of who takes part or of what holds."""

    KIND: ClassVar[int]
    NAME: ClassVar[str]

    @abstractmethod
    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""

    @classmethod
    @abstractmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""

    @abstractmethod
    def check(self, ledger: Ledger) -> None:
        """Return where the change could be made now; asked when it is proposed and again when it is made.

        Raises:
            Refused: It could not.
        """

    def deny_only(self, ledger: Ledger) -> bool:  # noqa: ARG002  (most changes need not look)
        """Say whether it allows nobody anything that was not allowed before; such a change need not wait."""
        return False

    @abstractmethod
    def apply(self, ledger: Ledger) -> None:
        """Make the change, after ``check``; parameters and rules are in force from the next block on."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what ``content`` wrote, or raise Malformed."""
        reader = Reader(data, cls.NAME)
        found = cls(**cls.read(reader))
        reader.end()
        return found


def refused(message: str) -> Refused:
    """Return the error of a change that cannot be made."""
    return Refused("governance", "14", message)


def latest_policies(ledger: Ledger) -> bytes:
    """Return the encoded policy set after everything that stands before, which may not be in force yet."""
    return _standing(ledger, POLICIES)


def latest_parameters(ledger: Ledger) -> ChainParameters:
    """Return the parameters after everything that stands before, which may not be in force yet."""
    return ChainParameters.decode(_standing(ledger, PARAMETERS))


def _standing(ledger: Ledger, kind: int) -> bytes:
    value = ledger.get(kind, ONLY)
    if value is None:
        raise Diverged("an entry that stands from genesis on is missing from the state")
    return value
