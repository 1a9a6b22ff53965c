"""The paths of a node's HTTP interface that the page asks, and how their answers are read."""

from __future__ import annotations

from ledger.page.answers import (
    MOST_BLOCKS,
    MOST_EPOCHS,
    MOST_MEMBERS,
    BlockLine,
    CreditEpoch,
    Fields,
    Member,
    PendingBatch,
    Status,
    fields_of,
)


def blocks_path(first: int, count: int) -> str:
    """Return the path that lists ``count`` blocks from a height on."""
    return f"/v1/blocks?from={first}&limit={count}"


def read_status(data: bytes) -> Status:
    """Return what ``/v1/status`` says, or raise Refused."""
    one = fields_of(data, "status")
    return Status(
        institution=one.text("institution", 64),
        region=one.text("region"),
        chain_id=one.digest("chain_id"),
        height=one.number("height"),
        block_id=one.digest("block_id"),
        timestamp_ms=one.number("timestamp_ms"),
        epoch=one.number("epoch"),
        producer=one.text("next_producer", 64),
        halted=one.text_or_none("halted"),
    )


def read_members(data: bytes) -> tuple[Member, ...]:
    """Return what ``/v1/members`` says, or raise Refused."""
    return fields_of(data, "answer").objects("members", MOST_MEMBERS, _member)


def _member(one: Fields) -> Member:
    return Member(
        one.text("id", 64), one.text("name"), one.text("class", 8), one.text("role", 32), one.number("weight"),
        one.text("standing", 32), one.number_or_none("credit"),
    )  # fmt: skip


def read_blocks(data: bytes) -> tuple[BlockLine, ...]:
    """Return what ``/v1/blocks`` says, or raise Refused."""
    return fields_of(data, "answer").objects("blocks", MOST_BLOCKS, _block)


def _block(one: Fields) -> BlockLine:
    return BlockLine(
        height=one.number("height"),
        block_id=one.digest("block_id"),
        timestamp_ms=one.number("timestamp_ms"),
        epoch=one.number("epoch"),
        builder=one.text("builder", 64),
        build_round=one.number("build_round"),
        entries=one.number("entries"),
        transactions=one.number("transactions"),
        evidence=one.number("evidence"),
        signers=one.texts("signers"),
        absent=one.texts("absent"),
        weight=one.number("weight"),
        total=one.number("of"),
    )


def read_credit(data: bytes) -> tuple[CreditEpoch, ...]:
    """Return what ``/v1/credit`` says, oldest epoch first, or raise Refused."""
    found = fields_of(data, "answer").objects("epochs", MOST_EPOCHS, _epoch)
    return tuple(sorted(found, key=lambda one: one.epoch))


def _epoch(one: Fields) -> CreditEpoch:
    return CreditEpoch(one.number("epoch"), one.scores("scores"))


def read_pending(data: bytes) -> tuple[PendingBatch, ...]:
    """Return what ``/v1/pending`` says, or raise Refused."""
    return fields_of(data, "answer").objects("batches", MOST_MEMBERS, _pending)


def _pending(one: Fields) -> PendingBatch:
    return PendingBatch(
        one.text("submitter", 64), one.number("seq"), one.number("entries"), one.number_or_none("received_ms")
    )
