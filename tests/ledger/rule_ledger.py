"""A chain's state in memory, as a transaction's rule sees it: governance and contracts without nodes.

Blocks are made by ``block``: what was read before a block stays in force in it, as in ``ledger.chain.working_state``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ledger.chain.genesis import ChainParameters
from ledger.chain.roster import Registration, Roster
from ledger.chain.rules import Outcome
from ledger.chain.state import INSTITUTION, ONLY, PARAMETERS, POLICIES, ROSTER, VALIDATORS, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.validators import Member, ValidatorSet, institution_id
from ledger.chain.view import decode_roster, decode_validators
from ledger.contracts.change import Change
from ledger.contracts.governance import Propose, Vote, enact
from ledger.contracts.motions import FOR
from ledger.contracts.policy import default_policies
from ledger.encoding import u32
from shangmi import PrivateKey, sm3

PEOPLE = {
    "health-commission": ("R", "auditor"),
    "hospital-district": ("B", "validator"),
    "hospital-east": ("A", "producer"),
    "hospital-west": ("A", "producer"),
    "insurer": ("P", "member"),
    "lab-centre": ("A", "producer"),
    "nursing-home": ("C", "validator"),
    "university": ("P", "member"),
}
PARTY = {"insurer": "insurer", "university": "research"}
AUDITOR = "health-commission"
KEYS = {
    name: PrivateKey.from_scalar(bytes(30) + bytes([7, number])) for number, name in enumerate([*PEOPLE, "spare"], 1)
}
START_MS = 1_793_462_400_000


class RuleLedger:
    """The state after some block, and the next block while it is made."""

    def __init__(self, policies: bytes | None = None, **parameters: Any) -> None:
        self.chain_id = sm3(b"a chain of the tests")
        self.height, self.time_ms = 1, START_MS
        self.values: dict[tuple[int, bytes], bytes] = {}
        encoded = default_policies() if policies is None else policies
        rules: dict[str, Any] = {
            "epoch_blocks": 10, "batch_entries": 1_000, "clock_drift_ms": 30_000, "expiry_blocks": 100,
            "sample_envelopes": 4, "round_seconds": 20,
        } | parameters  # fmt: skip
        roster = Roster(
            Registration(institution_id(name), name, name.title(), class_, KEYS[name].public.bytes,
                         party=PARTY.get(name, ""))
            for name, (class_, _) in PEOPLE.items()
        )  # fmt: skip
        self.put(PARAMETERS, ONLY, ChainParameters(**rules, policy_hash=sm3(encoded)).encode())
        self.put(POLICIES, ONLY, encoded)
        self.put(ROSTER, ONLY, roster.encode())
        for one in roster:
            self.put(INSTITUTION, one.id, InstitutionState(0, one.key_id).encode())
        self.put(VALIDATORS, u32(0), self._set().encode())
        self._settle()

    def _set(self) -> ValidatorSet:
        """The set that the roster gives: everyone active in the role of ``PEOPLE``."""
        return ValidatorSet(
            Member(one.id, one.class_, PEOPLE[one.name][1], one.weight, one.public_key)
            if one.active and one.name in PEOPLE
            else Member(one.id, one.class_, "member", 0, one.public_key)
            for one in self.roster
        )

    def _settle(self) -> None:
        """What stands now is in force for the next block."""
        self.parameters = ChainParameters.decode(self.standing(PARAMETERS))
        self.policies = self.standing(POLICIES)

    @property
    def epoch(self) -> int:
        return (self.height - 1) // self.parameters.epoch_blocks

    @property
    def last_of_epoch(self) -> bool:
        return self.height % self.parameters.epoch_blocks == 0

    @property
    def roster(self) -> Roster:
        return decode_roster(self.standing(ROSTER))

    @property
    def validators(self) -> ValidatorSet:
        return decode_validators(self.values[VALIDATORS, u32(self.epoch)])

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        value = self.get(VALIDATORS, u32(epoch)) if epoch <= self.epoch else None
        return None if value is None else decode_validators(value)

    def standing(self, kind: int) -> bytes:
        return self.values[kind, ONLY]

    def get(self, kind: int, identity: bytes) -> bytes | None:
        return self.values.get((kind, identity))

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        self.values.pop((kind, identity), None)
        if value is not None:
            self.values[kind, identity] = value

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What fails leaves no trace, as in a block."""
        before = dict(self.values)
        try:
            yield
        except BaseException:
            self.values = before
            raise

    def close_block(self) -> None:
        """The block is final; the next begins, with a set from the roster where an epoch ended."""
        if self.last_of_epoch:
            enact(self)
            self.put(VALIDATORS, u32(self.epoch + 1), self._set().encode())
        self.height += 1
        self.time_ms += 1_000
        self._settle()

    def end_epoch(self, times: int = 1) -> None:
        """Blocks up to the first of the next epoch."""
        for _ in range(times):
            epoch = self.epoch
            while self.epoch == epoch:
                self.close_block()

    def execute(self, tx: Transaction) -> Outcome:
        """Execute a transaction in the present block."""
        with self.attempt():
            return tx.execute(self)

    def propose(self, change: Change, who: str = "hospital-east", title: str = "a change") -> bytes:
        """Propose a change; return its id."""
        tx = Propose(**self.heading(who), title=title, change=change)
        self.execute(tx)
        return tx.tx_id

    def vote(self, proposal: bytes, *who: str, choice: int = FOR) -> Outcome:
        """Vote as each of these; return the last outcome."""
        outcome = Outcome()
        for one in who:
            outcome = self.execute(Vote(**self.heading(one), proposal=proposal, choice=choice))
        return outcome

    def heading(self, who: str) -> dict[str, Any]:
        """What every transaction of an institution begins with."""
        self._nonce = getattr(self, "_nonce", 0) + 1
        return {
            "chain_id": self.chain_id, "sender": institution_id(who), "key_id": KEYS[who].public.bytes[:16],
            "nonce": self._nonce.to_bytes(16, "big"), "expiry_height": self.height + 50,
        }  # fmt: skip


#: Enough votes with a regulator's signature; hospital-east proposes and has voted. 3 + 3 + 2 of 12, then 3 more.
ENOUGH = ("hospital-west", "lab-centre", AUDITOR)
