"""Changes of what holds: the rules of sharing, the chain's numbers, the engine that judges (section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Final

from ledger.chain.genesis import NUMBERS, ChainParameters
from ledger.chain.rules import Ledger
from ledger.chain.state import ONLY, PARAMETERS, POLICIES
from ledger.contracts.change import Change, latest_parameters, latest_policies, refused
from ledger.contracts.policy import PolicySet
from ledger.contracts.policy_check import changes, check_policies
from ledger.contracts.policy_engine import ENGINE, require_engine
from ledger.contracts.policy_text import MAX_TEXT
from ledger.encoding import DIGEST, Reader, listed, u8, u32, var
from shangmi import sm3

#: The numbers that may change, each with its least and greatest value. The length of an epoch never does.
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "batch_entries": (1, 1_000_000),
    "clock_drift_ms": (1_000, 600_000),
    "expiry_blocks": (1, 1_000_000),
    "sample_envelopes": (1, 4_096),
    "round_seconds": (1, 3_600),
    "jail_epochs": (1, 1_000),
    "evidence_blocks": (100, 1_000_000),
    "late_blocks": (1, 1_000),
    "deliver_blocks": (1, 100_000),
    "lock_epochs": (1, 100),
}
_ENGINE: Final = re.compile(r"cedar-[1-9][0-9]?\.[0-9]{1,3}")


def _replace_policies(ledger: Ledger, encoded: bytes) -> None:
    """The policy set stands in the state, and its digest in the parameters: one is nothing without the other."""
    ledger.put(POLICIES, ONLY, encoded)
    ledger.put(PARAMETERS, ONLY, replace(latest_parameters(ledger), policy_hash=sm3(encoded)).encode())


@dataclass(frozen=True, slots=True)
class NewRules(Change):
    """Other rules of sharing.

    Attributes:
        base: Digest of the policy set that they replace; where another stands by then, they are not made.
        text: The rules, whole.
        schema: Their schema.
    """

    KIND: ClassVar[int] = 1
    NAME: ClassVar[str] = "rules"

    base: bytes
    text: str
    schema: str

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return self.base + var(self.text.encode()) + var(self.schema.encode())

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        return {"base": reader.take(DIGEST), "text": reader.text(MAX_TEXT), "schema": reader.text(MAX_TEXT)}

    def check(self, ledger: Ledger) -> None:
        """Return where the rules are sound and those in force are the ones they were written against."""
        standing = latest_policies(ledger)
        if self.base != sm3(standing):
            raise refused("the rules were changed since these were written; write them against the present ones")
        new = self._made(standing)
        require_engine(new.engine)
        if new.encode() == standing:
            raise refused("the rules proposed are those in force")
        if findings := _findings(self.text, self.schema):
            raise refused(f"the rules have faults; `xinglin policy check` lists them. The first: {findings[0]}")

    def deny_only(self, ledger: Ledger) -> bool:
        """Say whether they are the present ones and beside them only ``forbid``."""
        standing = latest_policies(ledger)
        return bool(standing) and _deny_only(standing, self._made(standing).encode())

    def apply(self, ledger: Ledger) -> None:
        """The rules are in force from the next block on."""
        _replace_policies(ledger, self._made(latest_policies(ledger)).encode())

    def _made(self, standing: bytes) -> PolicySet:
        return PolicySet(self.text, self.schema, PolicySet.decode(standing).engine if standing else ENGINE)


@lru_cache(maxsize=16)
def _findings(text: str, schema: str) -> tuple[str, ...]:
    return tuple(map(str, check_policies(text, schema)))


@lru_cache(maxsize=16)
def _deny_only(old: bytes, new: bytes) -> bool:
    return changes(PolicySet.decode(old), PolicySet.decode(new)).deny_only


@dataclass(frozen=True, slots=True)
class NewNumbers(Change):
    """Other values of some of the chain's numbers.

    Attributes:
        values: New value by name, in the order of ``BOUNDS``; at least one.
    """

    KIND: ClassVar[int] = 2
    NAME: ClassVar[str] = "numbers"

    values: tuple[tuple[str, int], ...]

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return listed([u8(NUMBERS.index(name)) + u32(value) for name, value in self.values])

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        pairs = [(one[0], int.from_bytes(one[1:], "big")) for one in reader.listed(len(NUMBERS), 5) if len(one) == 5]
        places = [place for place, _ in pairs]
        if not pairs or places != sorted(set(places)) or places[-1] >= len(NUMBERS):
            raise reader.wrong("numbers are missing, unknown, not in order or named twice")
        return {"values": tuple((NUMBERS[place], value) for place, value in pairs)}

    def check(self, ledger: Ledger) -> None:
        """Return where every number may change, stays within its bounds, and one of them is new."""
        for name, value in self.values:
            least, greatest = BOUNDS.get(name, (0, -1))
            if name not in BOUNDS:
                raise refused(f"{name} is the same for ever, since heights are counted by it")
            if not least <= value <= greatest:
                raise refused(f"{name} may be {least} to {greatest}, not {value}")
        if self._made(ledger) == latest_parameters(ledger):
            raise refused("the numbers proposed are those in force")

    def apply(self, ledger: Ledger) -> None:
        """The numbers are in force from the next block on."""
        ledger.put(PARAMETERS, ONLY, self._made(ledger).encode())

    def _made(self, ledger: Ledger) -> ChainParameters:
        values: dict[str, Any] = dict(self.values)
        return replace(latest_parameters(ledger), **values)


@dataclass(frozen=True, slots=True)
class NewEngine(Change):
    """Another engine judges the rules from the next epoch on; every node halts there until it is installed.

    Attributes:
        engine: Like ``cedar-4.13``.
    """

    KIND: ClassVar[int] = 3
    NAME: ClassVar[str] = "engine"

    engine: str

    def content(self) -> bytes:
        """Return the canonical bytes of its own fields."""
        return var(self.engine.encode())

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return its own fields by name, or raise Malformed."""
        engine = reader.text(32)
        if not _ENGINE.fullmatch(engine):
            raise reader.wrong("an engine is named like cedar-4.12")
        return {"engine": engine}

    def check(self, ledger: Ledger) -> None:
        """Return where the chain has rules, and another engine."""
        standing = latest_policies(ledger)
        if not standing:
            raise refused("the chain has no rules that an engine could judge")
        if PolicySet.decode(standing).engine == self.engine:
            raise refused(f"{self.engine} is the engine in force")

    def apply(self, ledger: Ledger) -> None:
        """The engine is another from the next block on."""
        _replace_policies(ledger, replace(PolicySet.decode(latest_policies(ledger)), engine=self.engine).encode())
