"""A chain's state in a dictionary and a consortium with keys: credit and evidence without blocks or databases."""

from __future__ import annotations

from collections.abc import Sequence

from region_simulation import MEMBERS, START

from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, TIMEOUT, Ballot, QuorumCertificate, Vote, qc_digest
from ledger.chain import epochs
from ledger.chain.genesis import ChainParameters, Genesis
from ledger.chain.roster import Roster
from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import CREDIT, INSTITUTION, ONLY, ROSTER, VALIDATORS, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.validators import Member, ValidatorSet, institution_id, key_id
from ledger.credit.scoring import CreditState
from ledger.credit.statements import Voters
from ledger.encoding import ZERO_DIGEST, u32
from schemas.region import Parameters, Region
from shangmi import PrivateKey, sm3

KEYS = {one.id: PrivateKey.generate() for one in MEMBERS}
BLOCK_A, BLOCK_B = sm3(b"block A"), sm3(b"block B")
EAST, WEST, LAB = "hospital-east", "hospital-west", "lab-centre"
DISTRICT, HOME, AUDITOR = "hospital-district", "nursing-home", "health-commission"
VOTERS = (EAST, WEST, LAB, DISTRICT, HOME)


def genesis(**parameters: int) -> Genesis:
    """The region of the tests with this module's keys."""
    region = Region("杏林示范区", START, MEMBERS, Parameters(**parameters))
    return Genesis.from_region(region, {one: key.public for one, key in KEYS.items()})


class DictLedger:
    """What ``ledger.chain.rules.Ledger`` asks for; ``end_block`` goes on to the next height as execution does."""

    def __init__(self, origin: Genesis | None = None, **parameters: int) -> None:
        self.genesis = origin or genesis(**parameters)
        self.entries: dict[tuple[int, bytes], bytes] = {}
        self.chain_id, self.height, self.time_ms, self.policies = self.genesis.chain_id, 1, 0, b""
        members = self.genesis.validators.members
        self.put(ROSTER, ONLY, Roster.from_members(members, self.genesis.names).encode())
        self.put(VALIDATORS, u32(0), self.genesis.validators.encode())
        for one in members:
            self.put(INSTITUTION, one.id, InstitutionState(0, key_id(one.public_key)).encode())

    @property
    def epoch(self) -> int:
        return self.genesis.epoch(self.height)

    @property
    def last_of_epoch(self) -> bool:
        return self.genesis.epoch(self.height + 1) > self.epoch

    @property
    def parameters(self) -> ChainParameters:
        return self.genesis.parameters

    @property
    def validators(self) -> ValidatorSet:
        found = self.validators_of(self.epoch)
        assert found is not None
        return found

    @property
    def roster(self) -> Roster:
        return Roster.decode(self.entries[ROSTER, ONLY])

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        value = self.get(VALIDATORS, u32(epoch)) if epoch <= self.epoch else None
        return None if value is None else ValidatorSet.decode(value)

    def get(self, kind: int, identity: bytes) -> bytes | None:
        return self.entries.get((kind, identity))

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        if value is None:
            self.entries.pop((kind, identity), None)
        else:
            self.entries[kind, identity] = value

    def end_block(self, builder: str = EAST, absent: Sequence[str] = ()) -> None:
        """The block of the present height counts the one below it, built and signed as given, and closes epochs."""
        if self.height > 1:
            below = self.validators_of(self.genesis.epoch(self.height - 1))
            assert below is not None
            away = {institution_id(one) for one in absent}
            signers = [one.id for one in below.voters if one.id not in away]
            epochs.count_block(self, institution_id(builder), signers, self.height - 1)
        if self.last_of_epoch:
            epochs.close(self)
        self.height += 1

    def run(self, blocks: int, builder: str = EAST, absent: Sequence[str] = ()) -> None:
        for _ in range(blocks):
            self.end_block(builder, absent)

    def end_epoch(self, builder: str = EAST, absent: Sequence[str] = ()) -> None:
        present = self.epoch
        while self.epoch == present:
            self.end_block(builder, absent)

    def execute(self, transaction: Transaction) -> Outcome:
        """What execution does once sender, signature and expiry are checked: all of it, or nothing."""
        before = dict(self.entries)
        try:
            return transaction.execute(self)
        except BaseException:
            self.entries = before
            raise

    def credit(self, name: str) -> CreditState:
        value = self.get(CREDIT, institution_id(name))
        assert value is not None, "nothing was written of its credit"
        return CreditState.decode(value)

    def member(self, name: str) -> Member:
        found = self.validators.member(institution_id(name))
        assert found is not None
        return found

    @property
    def voters(self) -> Voters:
        return Voters.known_to(self.chain_id, self)


def as_ledger(ledger: DictLedger) -> Ledger:
    """The type checker's word for it."""
    return ledger


def digest_of(round_: int, block: bytes) -> bytes:
    """A digest that stands for the PrepareQC of a block in a round."""
    return ZERO_DIGEST if round_ < 0 else sm3(b"PrepareQC" + u32(round_) + block)


def prepare(height: int, round_: int, block: bytes, justify: int = -1, epoch: int = 0) -> Ballot:
    leans = NO_ROUND if justify < 0 else justify
    return Ballot(PREPARE, height, round_, epoch, block, leans, digest_of(justify, block))


def commit(height: int, round_: int, block: bytes, epoch: int = 0) -> Ballot:
    return Ballot(COMMIT, height, round_, epoch, block, round_, digest_of(round_, block))


def timeout(height: int, round_: int, lock: int = -1, block: bytes = BLOCK_A, epoch: int = 0) -> Ballot:
    """A TIMEOUT without the lock it reports; ``lock`` is that one's round, -1 for none."""
    leans = NO_ROUND if lock < 0 else lock
    return Ballot(TIMEOUT, height, round_, epoch, ZERO_DIGEST, leans, digest_of(lock, block))


def vote(ledger: DictLedger, name: str, ballot: Ballot, lock: bytes = b"") -> bytes:
    signature = KEYS[name].sign(ballot.signed_bytes(ledger.chain_id))
    return Vote(ballot, institution_id(name), signature, lock).encode()


def certificate(ledger: DictLedger, ballot: Ballot, names: Sequence[str] = VOTERS) -> bytes:
    places = {one.id: place for place, one in enumerate(ledger.genesis.validators.voters)}
    message = ballot.signed_bytes(ledger.chain_id)
    signed = sorted((places[institution_id(one)], KEYS[one].sign(message)) for one in names)
    return QuorumCertificate(
        ballot, len(places), tuple(place for place, _ in signed), tuple(signature for _, signature in signed)
    ).encode()


def locked_timeout(ledger: DictLedger, name: str, height: int, round_: int, lock: bytes) -> bytes:
    """A TIMEOUT that carries a real lock."""
    number = QuorumCertificate.decode(lock).ballot.round
    ballot = Ballot(TIMEOUT, height, round_, 0, ZERO_DIGEST, number, qc_digest(lock))
    return vote(ledger, name, ballot, lock)
