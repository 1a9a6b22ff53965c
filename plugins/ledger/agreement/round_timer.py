"""How long this node itself has known a round to be open: before its time is over nobody gives it up (section 6).

Whoever starts tasks may start them at any time; a TIMEOUT rests on the node's own clock. Nodes may live for one task
only, so the first sight of a round lies beside the votes, as time since the machine started: a wall clock can be set.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from ledger.agreement.certificate import timed_out_weight
from ledger.agreement.votes import Sight, VoteStore
from ledger.chain.view import ChainView
from ledger.errors import Behind, TooEarly

#: Times ``round_seconds`` that a round lasts at most, however many failed before it.
MOST_PATIENCE: Final = 8
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment that no setting of a clock moves.

    Attributes:
        boot: Which start of the machine it counts from; moments of two starts have no order.
        ms: Milliseconds since then.
    """

    boot: str
    ms: int


def since_boot() -> Instant:
    """Return the present moment, time asleep included."""
    return Instant(_boot(), time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)


@cache
def _boot() -> str:
    """Return which start of the machine this is; where that is kept from this user, which process: time counts in it.

    Another process then counts anew, which delays and brings nothing forward.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {secrets.token_hex(16)}"


def patience(view: ChainView, round_: int) -> int:
    """Return by how much a round's time is longer: doubled each time that all producers had their turn."""
    return int(min(1 << min(round_ // len(view.validators.producers), 32), MOST_PATIENCE))


class RoundTimer(Protocol):
    """Knows since when rounds are open; the newest one counts, those before it are over."""

    def runs(self, height: int, round_: int) -> bool:
        """Say whether the time of this round, or of a later one, is counted already."""
        ...

    def start(self, height: int, round_: int) -> None:
        """The time of a round is counted, from now or from before."""
        ...

    def left(self, height: int, round_: int, lasts: int) -> int | None:
        """Return what is left of a round's time, milliseconds of ``lasts``; None where it was never seen open."""
        ...


class StoredTimer:
    """The timer of a key that votes, beside its votes.

    Args:
        chain_id: Whose rounds.
        votes: Where first sights lie.
        clock: The present moment; without it the machine's own.
    """

    def __init__(self, chain_id: bytes, votes: VoteStore, clock: Callable[[], Instant] | None = None) -> None:
        self._chain_id, self._votes, self._clock = chain_id, votes, clock

    def runs(self, height: int, round_: int) -> bool:
        """Say whether the time of this round, or of a later one, is counted since this start of the machine."""
        found, place = self._votes.sight(self._chain_id), (height, round_)
        return found is not None and (found.place > place or (found.place == place and found.holds_at(*self._now())))

    def start(self, height: int, round_: int) -> None:
        """The time of a round is counted: from its first sight, or from now where the machine started since."""
        self._votes.see(self._chain_id, Sight(height, round_, *self._now()))

    def left(self, height: int, round_: int, lasts: int) -> int | None:
        """Return what is left of a round's time; all of it where the machine started since."""
        found, place = self._votes.sight(self._chain_id), (height, round_)
        if found is None or found.place < place:
            return None
        if found.place > place:
            return 0
        boot, now = self._now()
        return max(found.since_ms + lasts - now, 0) if found.holds_at(boot, now) else lasts

    def _now(self) -> tuple[str, int]:
        found = (self._clock or since_boot)()
        return found.boot, found.ms


def too_early(
    timer: RoundTimer, view: ChainView, height: int, round_: int, shown: Iterable[bytes]
) -> Behind | None:  # fmt: skip
    """Return why the open height's round may not be given up yet; None where it may.

    It may once its time is over here, or once more than a third of the weight has given it up or a later one: one of
    them at least is honest.

    Args:
        timer: This node's.
        view: The chain below the height.
        height: The open height.
        round_: The round.
        shown: TIMEOUTs that somebody shows; useless ones are left out.
    """
    lasts = 1_000 * view.parameters.round_seconds * patience(view, round_)
    left = timer.left(height, round_, lasts)
    if left == 0:
        return None
    voters, genesis = view.validators, view.genesis
    if 3 * timed_out_weight(shown, genesis.chain_id, voters, height, round_, genesis.epoch(height)) > voters.total:
        return None
    where = f"height {height}, round {round_}"
    if left is None:
        return Behind(f"{where}: this node knows of nothing to decide there; show it what waits, then try again")
    told = f"{where} opened here {(lasts - left) / 1_000:g} s ago and lasts {lasts // 1_000} s"
    return TooEarly(f"{told}; try again in {left / 1_000:g} s", left)


__all__ = ["MOST_PATIENCE", "Instant", "RoundTimer", "StoredTimer", "patience", "since_boot", "too_early"]
