"""Why a score is what it is: the facts of every epoch, counted again from the blocks of a replica (section 11).

No log is read. The rules that executed the blocks run over them once more, and what they give must be what the state
holds. One fact is taken from the state alone, which keeps each epoch's facts: which requests found no answer hangs on
policies and consents of their time, and only executing everything again (``ledger.chain.chain_check``) tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from ledger.agreement.certificate import QuorumCertificate, TimeoutCertificate, Vote
from ledger.chain.block import Block
from ledger.chain.genesis import ChainParameters
from ledger.chain.header import Header
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.roster import Registration, Roster
from ledger.chain.state import CREDIT, TALLY
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import ValidatorSet
from ledger.credit import credit, evidence
from ledger.credit.credit_messages import VIOLATIONS, Finding, LateVote, Missed
from ledger.credit.evidence import Evidence
from ledger.credit.offences import BROKEN_BUILD, OFFENCES
from ledger.credit.scoring import START, Change, CreditState
from ledger.credit.statements import Announcement, opened
from ledger.credit.tally import EpochFacts, Facts
from ledger.encoding import u32
from ledger.errors import Diverged, Refused


@dataclass(frozen=True, slots=True)
class Event:
    """One fact that a block holds about an institution.

    Attributes:
        height: Block it stands in.
        institution: Whom it is about.
        text: What it says, in words.
    """

    height: int
    institution: bytes
    text: str


@dataclass(frozen=True, slots=True)
class EpochAccount:
    """What an epoch did to one institution's credit.

    Attributes:
        epoch: Its number.
        facts: What the blocks say.
        change: How the score moved.
        role: What the score earned then.
        events: The facts that are not counted by the hundred, in order.
    """

    epoch: int
    facts: Facts
    change: Change
    role: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class CreditHistory:
    """Every closed epoch's account of every institution, and whether they lead to what the state holds.

    Attributes:
        height: Height of the head.
        accounts: By institution, oldest epoch first.
        open_facts: Facts of the epoch that is not closed yet.
        differing: Institutions whose score in the state is another than the one counted here.
        miscounted: Epochs whose facts in the state are others than those that the blocks give.
        rules_changed: Whether governance changed parameters meanwhile; all epochs are counted by the present ones.
    """

    height: int
    accounts: dict[bytes, tuple[EpochAccount, ...]]
    open_facts: dict[bytes, Facts]
    differing: tuple[bytes, ...]
    miscounted: tuple[int, ...]
    rules_changed: bool


class _Recount:
    """The state of credit alone, block after block: what ``ledger.chain.rules.Ledger`` asks for, over a final chain."""

    policies = b""

    def __init__(self, view: ReplicaView) -> None:
        self._view = view
        self._entries: dict[tuple[int, bytes], bytes] = {}
        self._names = {one.id: one.name for one in view.roster}
        self._sets: dict[int, ValidatorSet | None] = {}
        self.chain_id = view.genesis.chain_id
        self.parameters: ChainParameters = view.parameters
        self.height, self.time_ms = 1, 0

    def enter(self, header: Header) -> None:
        """Stand in the middle of a block."""
        self.height, self.time_ms = header.height, header.timestamp_ms

    @property
    def epoch(self) -> int:
        return self._view.genesis.epoch(self.height)

    @property
    def last_of_epoch(self) -> bool:
        return self._view.genesis.epoch(self.height + 1) > self.epoch

    @property
    def validators(self) -> ValidatorSet:
        found = self._set(self.epoch)
        if found is None:
            raise Diverged(f"the voters of epoch {self.epoch} are missing from the state")
        return found

    def _set(self, epoch: int) -> ValidatorSet | None:
        if epoch not in self._sets:
            self._sets[epoch] = self._view.validators_of(epoch)
        return self._sets[epoch]

    @property
    def roster(self) -> Roster:
        """Everyone who was registered: the set of an epoch, or of the next one at its end, names them all."""
        members = self._set(self.epoch + self.last_of_epoch) or self.validators
        return Roster(
            Registration(one.id, self._names.get(one.id, ""), "", one.class_, one.public_key) for one in members.members
        )

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        return self._set(epoch) if epoch <= self.epoch else None

    def get(self, kind: int, identity: bytes) -> bytes | None:
        return self._entries.get((kind, identity))

    def put(self, kind: int, identity: bytes, value: bytes | None) -> None:
        if value is None:
            self._entries.pop((kind, identity), None)
        else:
            self._entries[kind, identity] = value


def credit_history(replica: Replica, progress: Callable[[int, int], None] | None = None) -> CreditHistory:
    """Count the credit of every institution again from block 1 on.

    Args:
        replica: Whose blocks to read.
        progress: Told the height done and the height of the head.

    Raises:
        Refused: A stored block cannot be read: `xinglin ledger verify` says more.
    """
    view = replica.view
    recount = _Recount(view)
    accounts: dict[bytes, list[EpochAccount]] = {}
    events: list[Event] = []
    below, changed, miscounted = replica.genesis.header, False, list[int]()
    for height in range(1, view.head.height + 1):
        block = Block.decode(replica.block(height)[0])
        recount.enter(block.header)
        changed = changed or block.header.params_hash != view.parameters.hash
        events += _take(recount, block, below)
        if recount.last_of_epoch:
            if not _close(recount, view.state(TALLY, u32(recount.epoch)), accounts, events):
                miscounted.append(recount.epoch)
            events = []
        below = block.header
        if progress:
            progress(height, view.head.height)
    differing = tuple(one for one in accounts if view.state(CREDIT, one) != recount.get(CREDIT, one))
    rows = {one: tuple(epochs) for one, epochs in accounts.items()}
    return CreditHistory(
        view.head.height, rows, dict(credit.tally_of(recount).facts), differing, tuple(miscounted), changed
    )


def _take(recount: _Recount, block: Block, below: Header) -> Iterator[Event]:
    """Count a block as its execution did, and yield what it says of somebody."""
    for data in block.evidence:
        yield _offence(recount, data)
        with suppress(Refused):  # too old by the present parameters, and accepted by those of its time
            evidence.execute(data, recount)
    for encoded in block.transactions:
        tx = open_transaction(encoded)
        if isinstance(tx, LateVote | Missed | Finding):
            yield _fact(recount, tx)
            with suppress(Refused):
                tx.execute(recount)
    if below.height:
        voters = recount.validators_of(below.epoch) or recount.validators
        signers = [voters.voters[one].id for one in QuorumCertificate.decode(block.prev_commit).signers]
        credit.count_block(recount, below.builder_id, signers, below.height)


def _offence(recount: _Recount, data: bytes) -> Event:
    found = Evidence.decode(data)
    said = opened(found.signed[0][0], recount.chain_id)
    voters = recount.validators_of(recount.parameters.epoch_of(said.height))
    member = voters.members[found.place] if voters and found.place < len(voters.members) else None
    what = "E5" if found.kind == BROKEN_BUILD else "conviction"
    round_ = f", round {said.round}" if not isinstance(said, Announcement) or found.kind != BROKEN_BUILD else ""
    return Event(
        recount.height, member.id if member else b"", f"{what}: {OFFENCES[found.kind]} at height {said.height}{round_}"
    )


def _fact(recount: _Recount, tx: LateVote | Missed | Finding) -> Event:
    if isinstance(tx, LateVote):
        vote = Vote.decode(tx.vote)
        return Event(recount.height, vote.voter, f"late vote for height {vote.ballot.height}")
    if isinstance(tx, Missed):
        found = TimeoutCertificate.decode(tx.certificate)
        voters = recount.validators_of(recount.parameters.epoch_of(found.height)) or recount.validators
        producer = voters.producer(found.height, found.round).id
        return Event(recount.height, producer, f"missed turn: round {found.round} of height {found.height} timed out")
    violation = tx.violation
    text = f"finding: {VIOLATIONS[violation.kind - 1]}, case {violation.subject.hex()[:16]}, {violation.points} points"
    return Event(recount.height, violation.accused, text)


def _close(
    recount: _Recount, kept: bytes | None, accounts: dict[bytes, list[EpochAccount]], events: list[Event]
) -> bool:
    """Close an epoch; say whether the facts that the state kept of it are those that its blocks give."""
    stored = EpochFacts.decode(kept).facts if kept else {}
    credit.count_undelivered(recount, (id_ for id_, one in stored.items() for _ in range(one.unanswered)))
    facts, _ = credit.tally_of(recount).settle()
    for institution, change in credit.settle(recount).items():
        value = recount.get(CREDIT, institution)
        role = CreditState.decode(value).role if value else ""
        if facts.get(institution, Facts()).convicted:  # the state has it at 0 from the block of the evidence on
            before = accounts[institution][-1].change.after if institution in accounts else START
            change = replace(change, before=before, causes=(("convicted", -before),))
        mine = tuple(one for one in events if one.institution == institution)
        account = EpochAccount(recount.epoch, facts.get(institution, Facts()), change, role, mine)
        accounts.setdefault(institution, []).append(account)
    return facts == stored
