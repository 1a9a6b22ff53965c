"""What the page shows: one node's account of the chain, and every other node held against it.

Nothing here is proof. The page repeats what nodes say and points out where they contradict one another; who must know
asks ``xinglin ledger verify`` or reads a proof file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ledger.errors import Refused
from ledger.page.addresses import NodeAddress
from ledger.page.answers import BlockLine, CreditEpoch, Member, PendingBatch, Status
from ledger.page.asking import Nodes, Silent
from ledger.page.node_interface import (
    blocks_path,
    read_blocks,
    read_credit,
    read_members,
    read_pending,
    read_status,
)

#: Blocks that the page lists.
SHOWN: Final = 20
_T = TypeVar("_T")
#: One sentence in Chinese and in English.
Words = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One configured node.

    Attributes:
        address: Where it should answer.
        status: What it said, or None.
        problem: Why there is no status, or what is wrong with it, in Chinese and English; None where all is well.
        verdict: ``level``, ``behind``, ``silent``, ``unreadable``, ``halted``, ``contradicts`` or ``stranger``.
        behind: Blocks below the highest answer.
    """

    address: NodeAddress
    status: Status | None
    problem: Words | None
    verdict: str
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Part(Generic[_T]):
    """One part of the telling node's account as it came, or why it did not."""

    given: _T | None
    problem: Words | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of the page that the telling node did not give, and why."""

    name: str
    problem: Words


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page.

    Attributes:
        nodes: Every configured node, in the order of the configuration.
        teller: Whose account the rest is, or None where nobody answered.
        members: Of the present set, in order of id.
        blocks: The last ones, highest first.
        credit: At the end of each epoch, oldest first.
        pending: Signed batches that wait; None where the node does not say.
        missing: Parts that the teller did not give.
    """

    nodes: tuple[NodeReading, ...]
    teller: NodeReading | None
    members: tuple[Member, ...] = ()
    blocks: tuple[BlockLine, ...] = ()
    credit: tuple[CreditEpoch, ...] = ()
    pending: tuple[PendingBatch, ...] | None = None
    missing: tuple[Missing, ...] = ()

    def name(self, institution: str) -> str:
        """Return what people call an institution, or its id."""
        return next((one.name for one in self.members if one.id == institution), institution)


async def look(nodes: Nodes, addresses: Sequence[NodeAddress], wanted: str | None = None) -> Overview:
    """Return the region as its nodes describe it now.

    Args:
        nodes: The client.
        addresses: Whom to ask.
        wanted: Whose account to show; by default the highest node's that is not halted.
    """
    answers = await nodes.ask_all(addresses, "/v1/status")
    readings = [_reading(address, answer) for address, answer in zip(addresses, answers, strict=True)]
    teller = _teller(readings, wanted)
    if teller is None or teller.status is None:
        return Overview(tuple(readings), None)
    top = teller.status.height
    blocks, members, credit, pending = await asyncio.gather(
        _part(nodes, teller.address, blocks_path(max(1, top - SHOWN + 1), SHOWN), read_blocks),
        _part(nodes, teller.address, "/v1/members", read_members),
        _part(nodes, teller.address, "/v1/credit", read_credit),
        _part(nodes, teller.address, "/v1/pending", read_pending),
    )
    listed = blocks.given or ()
    problems = blocks.problem, members.problem, credit.problem, pending.problem
    judged = await _judge(nodes, readings, teller, {one.height: one.block_id for one in listed})
    return Overview(
        nodes=judged,
        teller=next(one for one in judged if one.address == teller.address),
        members=tuple(sorted(members.given or (), key=lambda one: one.id)),
        blocks=tuple(sorted(listed, key=lambda one: -one.height)),
        credit=credit.given or (),
        pending=pending.given,
        missing=tuple(Missing(name, one) for name, one in zip(_PARTS, problems, strict=True) if one),
    )


_PARTS: Final = ("blocks", "members", "credit", "pending")


def _reading(address: NodeAddress, answer: bytes | Silent) -> NodeReading:
    if isinstance(answer, Silent):
        return NodeReading(address, None, answer.words, "silent")
    try:
        status = read_status(answer)
    except Refused as refused:
        return NodeReading(address, None, _unreadable(refused), "unreadable")
    if status.institution != address.institution:
        words = f"它自称 {status.institution}", f"it says that it is {status.institution}"
        return NodeReading(address, status, words, "stranger")
    if status.halted:
        return NodeReading(address, status, (status.halted, ""), "halted")
    return NodeReading(address, status, None, "level")


def _unreadable(refused: Refused) -> Words:
    return f"回答的格式不对：{refused}", "its answer is not of the form that this page reads"


def _teller(readings: Sequence[NodeReading], wanted: str | None) -> NodeReading | None:
    answered = [one for one in readings if one.status is not None]
    for one in answered:
        if one.address.institution == wanted:
            return one
    sound = [one for one in answered if one.verdict == "level"] or answered
    return max(sound, key=lambda one: one.status.height if one.status else -1, default=None)


async def _part(nodes: Nodes, teller: NodeAddress, path: str, read: Callable[[bytes], _T]) -> Part[_T]:
    try:
        return Part(read(await nodes.ask(teller, path)), None)
    except Silent as silent:
        return Part(None, silent.words)
    except Refused as refused:
        return Part(None, _unreadable(refused))


async def _judge(
    nodes: Nodes, readings: Sequence[NodeReading], teller: NodeReading, ids: dict[int, str]
) -> tuple[NodeReading, ...]:
    """Return the readings, each held against the teller's chain."""
    told = teller.status
    assert told is not None
    highest = max(one.status.height for one in readings if one.status and (one.verdict != "stranger" or one is teller))
    # Where nodes stand lower than the list reaches, the teller is asked what it has there.
    low = {one.status.height for one in readings if one.status and 0 < one.status.height < told.height} - ids.keys()
    for height in sorted(low)[:SHOWN]:
        found = await _part(nodes, teller.address, blocks_path(height, 1), read_blocks)
        ids.update({one.height: one.block_id for one in found.given or ()})
    return tuple(_held(one, told, ids, highest) for one in readings)


def _held(reading: NodeReading, told: Status, ids: dict[int, str], highest: int) -> NodeReading:
    status = reading.status
    if status is None or reading.verdict in ("halted", "stranger"):
        return reading
    address, behind = reading.address, highest - status.height
    if status.chain_id != told.chain_id:
        return NodeReading(address, status, ("它在另一条链上", "it is on another chain"), "contradicts", behind)
    if ids.get(status.height, status.block_id) != status.block_id:
        problem = f"在高度 {status.height} 有另一个区块", f"at height {status.height} it has another block"
        return NodeReading(address, status, problem, "contradicts", behind)
    return NodeReading(address, status, None, "behind" if behind else "level", behind)
