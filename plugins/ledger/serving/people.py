"""Routes for people and pages: the chain in words and numbers, JSON."""

from __future__ import annotations

from itertools import islice
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ledger.agreement.certificate import QuorumCertificate
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.replica import ReplicaView
from ledger.chain.state import CREDIT, INSTITUTION, InstitutionState
from ledger.chain.transactions import open_transaction
from ledger.credit.credit import opened_credit
from ledger.errors import Refused
from ledger.serving.faults import REFUSALS, Missing
from ledger.serving.parameters import BlockHeight, Epoch, From, Limit
from ledger.serving.served import Here, Served

MOST_PENDING: Final = 1_000
MOST_EPOCHS: Final = 400
router = APIRouter(prefix="/v1", responses=REFUSALS, tags=["for people"])


class Status(BaseModel):
    """Where this node's replica stands."""

    institution: str
    region: str
    chain_id: str
    height: int
    block_id: str
    timestamp_ms: int
    epoch: int
    state_root: str
    next_producer: str
    halted: str | None


class MemberLine(BaseModel):
    """One registered institution, with its part in the next block."""

    id: str
    name: str
    class_: str = Field(serialization_alias="class")
    role: str
    weight: int
    standing: str
    credit: int | None


class Members(BaseModel):
    """Everyone registered, in order of id on the chain."""

    epoch: int
    members: list[MemberLine]


class BlockLine(BaseModel):
    """A final block in one line: who built it, who confirmed it, with how many of the votes."""

    height: int
    block_id: str
    timestamp_ms: int
    epoch: int
    builder: str
    build_round: int
    entries: int
    transactions: int
    evidence: int
    signers: list[str]
    absent: list[str]
    weight: int
    of: int


class Blocks(BaseModel):
    """Some blocks in order of height."""

    blocks: list[BlockLine]


class TransactionLine(BaseModel):
    """One transaction of a block; ``seq`` and ``entries`` are a batch's."""

    index: int
    type: str
    sender: str
    tx_id: str
    seq: int | None = None
    entries: int | None = None


class BlockFacts(BlockLine):
    """A final block with its transactions and the roots of its header, hex."""

    state_root: str
    history_root: str
    tx_root: str
    receipts_root: str
    validators_hash: str
    next_validators_hash: str
    params_hash: str
    contents: list[TransactionLine]


class CreditEpoch(BaseModel):
    """Everyone's credit after an epoch."""

    epoch: int
    scores: dict[str, int]


class Credit(BaseModel):
    """Credit by epoch, oldest first."""

    epochs: list[CreditEpoch]


class PendingBatch(BaseModel):
    """A batch that is signed and in no final block yet."""

    submitter: str
    seq: int
    entries: int
    received_ms: int | None = None


class Pending(BaseModel):
    """What waits, as far as this node knows."""

    batches: list[PendingBatch]


class Voters(BaseModel):
    """The members of an epoch; ``encoded`` are the bytes that ``validators_hash`` is over, hex."""

    epoch: int
    validators_hash: str
    members: list[MemberLine]
    encoded: str


@router.get("/status")
def status(here: Here) -> Status:
    """Where this node's replica stands, and whether it is halted."""
    view = here.replica.view
    head = view.head
    return Status(
        institution=here.institution,
        region=here.replica.genesis.name,
        chain_id=head.chain_id.hex(),
        height=head.height,
        block_id=head.block_id.hex(),
        timestamp_ms=head.timestamp_ms,
        epoch=head.epoch,
        state_root=head.state_root.hex(),
        next_producer=view.name(view.validators.producer(head.height + 1, 0).id),
        halted=here.replica.conflict(),
    )


@router.get("/members")
def members(here: Here) -> Members:
    """Everyone registered: class, role and weight in the next block, standing, credit."""
    view = here.replica.view
    present = view.validators
    lines = []
    for one in view.roster:
        member = present.member(one.id)
        role, weight = (member.role, member.weight) if member else ("member", 0)
        lines.append(
            MemberLine(
                id=one.name, name=one.title, class_=one.class_, role=role, weight=weight,
                standing=one.standing, credit=_credit(view, one.id),
            )
        )  # fmt: skip
    return Members(epoch=here.replica.genesis.epoch(view.head.height + 1), members=lines)


def _credit(view: ReplicaView, id_: bytes) -> int:
    """Return an institution's score; who has none yet begins with 600."""
    return opened_credit(view.state(CREDIT, id_), view.validators, id_).score


@router.get("/blocks")
def blocks(here: Here, from_: From = 1, limit: Limit = 20) -> Blocks:
    """Some blocks from a height on, a line each."""
    view = here.replica.view
    last = min(view.head.height, from_ + limit - 1)
    return Blocks(blocks=[_line(here, view, one) for one in range(max(from_, 1), last + 1)])


@router.get("/blocks/{height}")
def block(here: Here, height: BlockHeight) -> BlockFacts:
    """One block: the roots of its header, who confirmed it, its transactions."""
    view = here.replica.view
    header = here.header(height, view)
    found = Block.decode(here.replica.block(height)[0])
    roots = ("state_root", "history_root", "tx_root", "receipts_root", "validators_hash", "next_validators_hash")
    return BlockFacts(
        **_line(here, view, height).model_dump(),
        **{name: getattr(header, name).hex() for name in roots},
        params_hash=header.params_hash.hex(),
        contents=[_transaction(view, index, one) for index, one in enumerate(found.transactions)],
    )


def _transaction(view: ReplicaView, index: int, data: bytes) -> TransactionLine:
    opened = open_transaction(data)
    if isinstance(opened, SubmitBatch):
        return TransactionLine(
            index=index, type="SUBMIT_BATCH", sender=view.name(opened.submitter), tx_id=opened.tx_id.hex(),
            seq=opened.seq, entries=opened.count,
        )  # fmt: skip
    return TransactionLine(index=index, type=opened.NAME, sender=view.name(opened.sender), tx_id=opened.tx_id.hex())


def _line(here: Served, view: ReplicaView, height: int) -> BlockLine:
    encoded, qc = here.replica.block(height)
    found = Block.decode(encoded)
    header, voters = found.header, view.voters_at(height)
    signed = frozenset(QuorumCertificate.decode(qc).signers)
    batches = (open_transaction(one) for one in found.transactions)
    return BlockLine(
        height=height,
        block_id=header.block_id.hex(),
        timestamp_ms=header.timestamp_ms,
        epoch=header.epoch,
        builder=view.name(header.builder_id),
        build_round=header.build_round,
        entries=sum(one.count for one in batches if isinstance(one, SubmitBatch)),
        transactions=len(found.transactions),
        evidence=len(found.evidence),
        signers=[view.name(one.id) for at, one in enumerate(voters.voters) if at in signed],
        absent=[view.name(one.id) for at, one in enumerate(voters.voters) if at not in signed],
        weight=sum(one.weight for at, one in enumerate(voters.voters) if at in signed),
        of=voters.total,
    )


@router.get("/validators/{epoch}")
def validators(here: Here, epoch: Epoch) -> Voters:
    """The members of an epoch, up to that of the next block."""
    view = here.replica.view
    found = view.validators_of(epoch)
    if found is None:
        raise Missing("epoch", f"the members of epoch {epoch} are not decided yet")
    names = {one.id: one for one in view.roster}
    lines = [
        MemberLine(
            id=view.name(one.id), name=names[one.id].title if one.id in names else "", class_=one.class_,
            role=one.role, weight=one.weight, standing=names[one.id].standing if one.id in names else "revoked",
            credit=None,
        )
        for one in found.members
    ]  # fmt: skip
    return Voters(epoch=epoch, validators_hash=found.hash.hex(), members=lines, encoded=found.encode().hex())


@router.get("/credit")
def credit(here: Here) -> Credit:
    """Everyone's credit at the end of the last epochs that this node executed, and now."""
    view = here.replica.view
    past = here.replica.credit_by_epoch(MOST_EPOCHS - 1)
    now = here.replica.genesis.epoch(view.head.height + 1), {one.id: _credit(view, one.id) for one in view.roster}
    return Credit(
        epochs=[
            CreditEpoch(epoch=epoch, scores={view.name(id_): score for id_, score in scores.items()})
            for epoch, scores in [*past, now]
        ]
    )


@router.get("/pending")
def pending(here: Here) -> Pending:
    """Batches that wait for a block, as far as this node knows; what it cannot read is left out."""
    view, lines = here.replica.view, []
    for data in islice(here.offered(), MOST_PENDING):
        try:
            opened = open_transaction(data)
        except Refused:
            continue
        if isinstance(opened, SubmitBatch) and opened.seq > _last_seq(view, opened.submitter):
            lines.append(PendingBatch(submitter=view.name(opened.submitter), seq=opened.seq, entries=opened.count))
    return Pending(batches=lines)


def _last_seq(view: ReplicaView, submitter: bytes) -> int:
    """Return the number of an institution's last final batch; what waits has a higher one."""
    value = view.state(INSTITUTION, submitter)
    return 0 if value is None else InstitutionState.decode(value).last_seq
