"""Rules of sharing on a chain in memory, and a region whose chain has the default policies."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from region_simulation import MEMBERS, RegionSimulation

from ledger.chain.genesis import ChainParameters, Genesis
from ledger.chain.leaves import Leaves, RecordLeaf, leaves_of
from ledger.chain.roster import Registration, Roster
from ledger.chain.rules import Outcome
from ledger.chain.smt import state_key
from ledger.chain.state import BATCH, INSTITUTION, BatchState, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import Member, ValidatorSet, institution_id
from ledger.contracts.policy import default_policies
from ledger.encoding import ZERO_DIGEST, u64
from ledger.errors import Refused
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval, read_approval
from ledger.messages.asked import RecordAsked, SelectionAsked
from ledger.messages.request_state import Verdict
from ledger.signatory import Submission
from schemas.records import Entry
from shangmi import PrivateKey, sm3

EAST, WEST, DISTRICT, LAB, HOME = (
    institution_id(one) for one in ("hospital-east", "hospital-west", "hospital-district", "lab-centre", "nursing-home")
)
REGULATOR, INSURER = institution_id("health-commission"), institution_id("people-insurance")
KEYS = {institution_id(one.id): PrivateKey.generate() for one in MEMBERS} | {INSURER: PrivateKey.generate()}
START_MS = 1_793_000_000_000
PATIENT = sm3(b"a pseudonym")
TYPE = 13  # DiagnosticReport


def roster() -> Roster:
    found = [
        Registration(id_, one.id, one.name, one.class_, KEYS[id_].public.bytes)
        for one in MEMBERS
        for id_ in [institution_id(one.id)]
    ]
    return Roster(
        [
            *found,
            Registration(INSURER, "people-insurance", "人民保险", "P", KEYS[INSURER].public.bytes, party="insurer"),
        ]
    )


def parameters(**changes: int) -> ChainParameters:
    numbers = {"epoch_blocks": 100, "batch_entries": 1_000, "clock_drift_ms": 1, "expiry_blocks": 50,
               "sample_envelopes": 1, "round_seconds": 1, "deliver_blocks": 10}  # fmt: skip
    return ChainParameters(**(numbers | changes))


@dataclass
class MemoryLedger:
    """The chain's state as a dictionary: what a rule sees of it."""

    height: int = 7
    time_ms: int = START_MS
    chain_id: bytes = bytes(range(32))
    epoch: int = 0
    last_of_epoch: bool = False
    parameters: ChainParameters = field(default_factory=parameters)
    policies: bytes = field(default_factory=default_policies)
    roster: Roster = field(default_factory=roster)
    values: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.roster:
            self.put(INSTITUTION, one.id, InstitutionState(0, one.key_id).encode())

    @property
    def validators(self) -> ValidatorSet:
        keys = {one.id: KEYS[institution_id(one.id)].public.bytes for one in MEMBERS}
        members = (Member(institution_id(one.id), one.class_, one.role, one.weight, keys[one.id]) for one in MEMBERS)
        return ValidatorSet(members)

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        return self.validators

    def get(self, kind: int, identity: bytes) -> bytes | None:
        return self.values.get(state_key(kind, identity))

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        if value is None:
            self.values.pop(state_key(kind, identity), None)
        else:
            self.values[state_key(kind, identity)] = value

    def heading(self, sender: bytes) -> dict[str, Any]:
        found = self.roster.registration(sender)
        assert found is not None
        return {"chain_id": self.chain_id, "sender": sender, "key_id": found.key_id,
                "nonce": secrets.token_bytes(16), "expiry_height": 1_000}  # fmt: skip

    def run(self, tx: Transaction) -> Outcome:
        """Execute what its bytes say."""
        opened = open_transaction(tx.encode() + (b"" if tx.signature else bytes(64)))
        assert isinstance(opened, Transaction)
        return opened.execute(self)

    def approval(self, tx: AccessRequest, member: bytes, **changes: Any) -> Approval:
        """What a member of the committee says to a request: yes, unless changed."""
        digest = tx.asked.digest if isinstance(tx.asked, SelectionAsked) else RecordLeaf.decode(tx.asked.leaf).ct_digest
        standard: dict[str, Any] = {"request": tx.tx_id, "digest": digest, "approves": True}
        return Approval(**self.heading(member), **(standard | changes))

    def approve(self, tx: AccessRequest, *members: bytes) -> Verdict:
        """The members approve a request that waits; what the rules said at the end."""
        outcomes = [self.run(self.approval(tx, one)) for one in members]
        verdict = read_approval(outcomes[-1].code, outcomes[-1].detail)[1]
        assert verdict is not None
        return verdict

    def refuse(self, tx: Transaction) -> str:
        """The rule that refuses it; the state is what it was."""
        before = dict(self.values)
        try:
            self.run(tx)
        except Refused as error:
            assert self.values == before, "a refused transaction left a trace"
            assert error.section in str(error)
            return error.rule
        raise AssertionError("it was not refused")

    def stand(self, institution: bytes, standing: str) -> None:
        found = self.roster.registration(institution)
        assert found is not None
        self.roster = self.roster.with_(replace(found, standing=standing))

    def rekey(self, institution: bytes, key: PrivateKey) -> None:
        found = self.roster.registration(institution)
        assert found is not None
        self.roster = self.roster.with_(replace(found, public_key=key.public.bytes))
        self.put(INSTITUTION, institution, InstitutionState(0, self.roster.registration(institution).key_id).encode())  # type: ignore[union-attr]

    def publish(self, owner: bytes, count: int = 5, seq: int = 1) -> Leaves:
        """A batch of the owner's stands on the chain."""
        leaves = leaves_of([entry(number, seq) for number in range(count)])
        self.put(BATCH, owner + u64(seq), BatchState(leaves.root, count, self.height, 0).encode())
        return leaves


def entry(number: int, batch: int = 1, summary: bytes = ZERO_DIGEST) -> Entry:
    rid = sm3(b"record %d of %d" % (number, batch))[:16]
    return Entry(rid, 1, sm3(rid), sm3(rid + b"k"), summary, 40, TYPE, rid.hex())


def asked(leaves: Leaves, index: int = 2, seq: int = 1) -> RecordAsked:
    return RecordAsked(seq, index, leaves.record(index), tuple(leaves.levels.inclusion(index)))


def leaf(leaves: Leaves, index: int = 2) -> RecordLeaf:
    return RecordLeaf.decode(leaves.record(index))


def key_of(id_: bytes) -> bytes:
    return Registration(id_, "", "", "A", KEYS[id_].public.bytes).key_id


class SharingRegion(RegionSimulation):
    """The simulated region on a chain whose policies are those that new regions begin with."""

    @property
    def genesis(self) -> Genesis:
        return self._genesis

    @genesis.setter
    def genesis(self, plain: Genesis) -> None:
        policies = default_policies()
        self._genesis = replace(
            plain, policies=policies, parameters=replace(plain.parameters, policy_hash=sm3(policies))
        )

    def sign(self, institution: str, type_: type[Transaction], **content: Any) -> Submission:
        node = self.node(institution)
        draft = type_(**node.heading(), **content)
        return Submission(node.sign(draft), b"", draft.tx_id)

    def block_of(self, *submissions: Submission) -> None:
        """One block with these; every one of them must have entered it."""
        final = self.finish(self.proposal(*submissions))
        assert all(one.tx in final.block for one in submissions), "one of them was left out"

    def request(self, institution: str, holder: str, leaves: Leaves, index: int = 0, **content: Any) -> Submission:
        node = self.node(institution)
        wanted = asked(leaves, index, content.pop("seq", 1))
        standard = {"purpose": "care", "answer_key": node.heading()["key_id"]}
        return self.sign(
            institution, AccessRequest, asked=wanted, holders=(institution_id(holder),), **(standard | content)
        )
