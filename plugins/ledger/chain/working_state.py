"""The state in the middle of a block: what stood before, and over it what the block wrote so far."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ledger.chain.genesis import ChainParameters
from ledger.chain.roster import Roster
from ledger.chain.smt import state_key
from ledger.chain.state import ONLY, PARAMETERS, POLICIES, ROSTER, TALLY, VALIDATORS
from ledger.chain.validators import ValidatorSet
from ledger.chain.view import ChainView, decode_parameters, decode_roster, decode_validators
from ledger.encoding import u32
from ledger.errors import Diverged


class WorkingState:
    """What ``ledger.chain.rules.Ledger`` asks for, over a view.

    Parameters, policies and voters are those that stood before the block, whatever it changes.

    Args:
        view: What the block builds on.
        time_ms: Time of the block's header, milliseconds since 1970 UTC.
    """

    def __init__(self, view: ChainView, time_ms: int) -> None:
        self._view = view
        self._read: dict[bytes, bytes | None] = {}
        self.written: dict[bytes, bytes | None] = {}
        self.chain_id = view.genesis.chain_id
        self.height = view.head.height + 1
        self.epoch = view.genesis.epoch(self.height)
        self.time_ms = time_ms
        self.prefetch(
            [state_key(kind, ONLY) for kind in (PARAMETERS, POLICIES, ROSTER, TALLY)]
            + [state_key(VALIDATORS, u32(self.epoch))]
        )
        self.parameters: ChainParameters = decode_parameters(self._standing(PARAMETERS))
        self.policies: bytes = self._standing(POLICIES)
        self.validators: ValidatorSet = decode_validators(self._standing(VALIDATORS, u32(self.epoch)))

    @property
    def last_of_epoch(self) -> bool:
        """Whether the block is its epoch's last."""
        return self._view.genesis.epoch(self.height + 1) > self.epoch

    @property
    def roster(self) -> Roster:
        """Everyone registered, after what the block wrote so far."""
        return decode_roster(self._standing(ROSTER))

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the members of an epoch, this one's or earlier; None of a later one."""
        value = self.get(VALIDATORS, u32(epoch)) if epoch <= self.epoch else None
        return None if value is None else decode_validators(value)

    def prefetch(self, keys: Collection[bytes]) -> None:
        """Read these entries' values from the view at once rather than one by one."""
        wanted = [key for key in keys if key not in self._read]
        found = self._view.state_values(wanted) if wanted else {}
        self._read.update({key: found.get(key) for key in wanted})

    def get(self, kind: int, identity: bytes) -> bytes | None:
        """Return a state value, or None where nothing stands."""
        key = state_key(kind, identity)
        if key in self.written:
            return self.written[key]
        self.prefetch([key])
        return self._read[key]

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        """Set a state value, or with None delete it."""
        self.written[state_key(kind, identity)] = value

    def _standing(self, kind: int, identity: bytes = ONLY) -> bytes:
        value = self.get(kind, identity)
        if value is None:
            raise Diverged("an entry that stands from genesis on is missing from the state")
        return value

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo everything written inside where it ends in an error."""
        before = dict(self.written)
        try:
            yield
        except BaseException:
            self.written = before
            raise
