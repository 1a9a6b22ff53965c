"""Where the ledger's time goes: seconds on the wall by part, each counted once.

The functions that do a part's work are wrapped while a measurement runs. What one of them spends inside another's is
the other's: the parts add up, and what no part claims is the rest. Commands to MongoDB are counted by the driver's own
monitor. A part that runs in a thread of its own, beside the hashing, counts there too, so the sum can be more than the
wall.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import monitoring

from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import VoteStore
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Levels
from ledger.chain.record_index import RecordIndex
from ledger.chain.smt import SparseTree
from shangmi import PrivateKey, PublicKey

#: Part, and whose functions do its work.
WORK: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("hashing", Leaves, ("levels",)),
    ("hashing", Levels, ("__init__", "root")),
    ("signatures", PublicKey, ("__init__", "verify")),
    ("signatures", PrivateKey, ("sign",)),
    ("leaves", Leaves, ("decode", "join")),
    ("messages", Proposal, ("decode", "encode")),
    ("messages", Block, ("decode", "encode")),
    ("index", RecordIndex, ("known", "add", "remember")),
    ("state", SparseTree, ("update", "hashes", "prove")),
    ("vote store", VoteStore, ("sign", "find", "last", "lock")),
)
NAMES = (*dict.fromkeys(part for part, _, _ in WORK), "database", "rest")


class Parts(monitoring.CommandListener):
    """Seconds by part, of whatever runs while it watches."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = threading.local()
        self._watching = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The wrapped functions count meanwhile; what ``seconds`` has at the end is complete."""
        before = [(owner, name, owner.__dict__[name]) for _, owner, names in WORK for name in names]
        for part, owner, names in WORK:
            for name in names:
                setattr(owner, name, self._wrapped(part, owner, name))
        begun, counted, self._watching = time.perf_counter(), sum(self.seconds.values()), True
        try:
            yield
        finally:
            self._watching = False
            for owner, name, original in before:
                setattr(owner, name, original)
            wall = time.perf_counter() - begun
            self.seconds["rest"] += max(0.0, wall - (sum(self.seconds.values()) - counted))

    def shares(self) -> dict[str, float]:
        """Return each part's share of all that was counted."""
        total = sum(self.seconds.values()) or 1.0
        return {part: round(self.seconds[part] / total, 3) for part in NAMES}

    def _wrapped(self, part: str, owner: type, name: str) -> Any:
        found = owner.__dict__[name]
        if isinstance(found, functools.cached_property):
            made = functools.cached_property(self._counted(part, found.func))
            made.__set_name__(owner, name)
            return made
        if isinstance(found, classmethod):
            return classmethod(self._counted(part, found.__func__))
        return self._counted(part, found)

    def _counted(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            outer = getattr(self._inner, "seconds", 0.0)
            self._inner.seconds, begun = 0.0, time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.perf_counter() - begun
                self.seconds[part] += spent - self._inner.seconds
                self._inner.seconds = outer + spent

        return counted

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Nothing is counted before the answer."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """The time of the command is the database's, not that of whoever asked."""
        if self._watching:
            seconds = event.duration_micros / 1e6
            self.seconds["database"] += seconds
            self._inner.seconds = getattr(self._inner, "seconds", 0.0) + seconds

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing fails here that is not raised."""
