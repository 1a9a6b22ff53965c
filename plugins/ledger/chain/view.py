"""A chain up to its last final block, as whoever executes or judges the next one knows it (sections 2, 3 and 11)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from ledger.chain.genesis import ChainParameters, Genesis
from ledger.chain.header import Header
from ledger.chain.merkle import Frontier
from ledger.chain.roster import Roster
from ledger.chain.smt import StateTree, state_key, value_hash
from ledger.chain.state import ONLY, PARAMETERS, POLICIES, ROSTER, VALIDATORS
from ledger.chain.validators import ValidatorSet
from ledger.encoding import u32
from ledger.errors import Diverged

# The same bytes are read for block after block; decoding checks every key's point on the curve.
decode_validators = lru_cache(maxsize=64)(ValidatorSet.decode)
decode_roster = lru_cache(maxsize=16)(Roster.decode)
decode_parameters = lru_cache(maxsize=16)(ChainParameters.decode)


class ChainView(ABC):
    """The chain as it stands after a block; two hold the same where their heads are the same."""

    genesis: Genesis
    frontier: Frontier
    _head: Header
    _commit_qc: bytes

    @property
    def head(self) -> Header:
        """Header of the last final block."""
        return self._head

    @property
    def commit_qc(self) -> bytes:
        """A certificate of the last block, where many are good the one that this chain keeps; empty at genesis."""
        return self._commit_qc

    @property
    def history_root(self) -> bytes:
        """Merkle root over the ids of all blocks up to and including the last."""
        return self.frontier.root()

    @property
    @abstractmethod
    def tree(self) -> StateTree:
        """The state after the last block."""

    @abstractmethod
    def values(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these state values, by value hash."""

    @abstractmethod
    def known(self, submitter: bytes, keys: Sequence[bytes]) -> bool:
        """Say whether an institution has published any of these ``rid || version`` before."""

    def state_values(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the values that stand under these state keys, each checked against the state root.

        Raises:
            Diverged: The store does not hold what the root commits to.
        """
        hashes = self.tree.hashes(keys)
        stored = self.values(list(hashes.values()))
        found = {key: stored.get(hash_, b"") for key, hash_ in hashes.items()}
        if any(value_hash(found[key]) != hash_ for key, hash_ in hashes.items()):
            raise Diverged("a stored value is missing or is not the one the state root commits to")
        return found

    def state(self, kind: int, identity: bytes = ONLY) -> bytes | None:
        """Return what the state holds of one entry, or None."""
        key = state_key(kind, identity)
        return self.state_values([key]).get(key)

    def _standing(self, kind: int, identity: bytes = ONLY) -> bytes:
        """Return an entry that every chain has from genesis on."""
        value = self.state(kind, identity)
        if value is None:
            raise Diverged("an entry that stands from genesis on is missing from the state")
        return value

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the members of an epoch up to that of the next block; None of a later one."""
        if epoch > self.genesis.epoch(self.head.height + 1):
            return None  # also where no state key could hold its number: messages name any height
        value = self.state(VALIDATORS, u32(epoch))
        return None if value is None else decode_validators(value)

    def voters_at(self, height: int) -> ValidatorSet:
        """Return the members who vote on a height, at most one above the last block's."""
        epoch = self.genesis.epoch(height)
        if height > self.head.height + 1:
            raise RuntimeError("who votes there is not decided yet")
        return decode_validators(self._standing(VALIDATORS, u32(epoch)))

    @property
    def validators(self) -> ValidatorSet:
        """The members who vote on the next block."""
        return self.voters_at(self.head.height + 1)

    @property
    def parameters(self) -> ChainParameters:
        """The parameters in force for the next block."""
        return decode_parameters(self._standing(PARAMETERS))

    @property
    def policies(self) -> bytes:
        """The policy set in force for the next block."""
        return self._standing(POLICIES)

    @property
    def roster(self) -> Roster:
        """Everyone registered."""
        return decode_roster(self._standing(ROSTER))

    def name(self, id_: bytes) -> str:
        """Return an institution's id in the region's files, or its hex where nobody of that id is registered."""
        found = self.roster.registration(id_)
        return id_.hex() if found is None else found.name
