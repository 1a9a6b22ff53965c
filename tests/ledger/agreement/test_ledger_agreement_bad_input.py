"""Every method of a node, shown every hostile message: one family of errors that names rule and section, no change.

A method of ``Node`` without an entry in ``METHODS`` fails here.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from byzantine_voters import ByzantineVoters
from decoder_examples import EXAMPLES
from network_simulation import (
    Message,
    NetworkSimulation,
    Participant,
    commit_ballot,
    prepare_ballot,
    signed_vote,
    timeout_ballot,
)

from ledger.agreement import following
from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT, Vote, assemble_qc
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.replica import FinalBlock
from ledger.errors import Behind, Halted, Refused
from ledger.node import Node
from shangmi import sm3

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class World:
    """A network at height 1 with everything of height 2 at hand, none of it shown to anybody."""

    network: NetworkSimulation
    voter: Participant
    submission: tuple[bytes, bytes]
    proposal: bytes
    prepare_qc: bytes
    commit_qc: bytes
    tc: bytes
    votes: tuple[bytes, ...]
    timeouts: tuple[bytes, ...]
    sealed: bytes

    @property
    def node(self) -> Node:
        return self.voter.node


@pytest.fixture
def fresh(four: NetworkSimulation) -> World:
    """A world of its own, for tests that change it."""
    return made(four)


@pytest.fixture(scope="module")
def world(network: NetworkSimulation) -> World:
    """A world that nothing changes, shared by the tests of this module."""
    return made(network)


def made(four: NetworkSimulation) -> World:
    genesis, names = four.genesis, [*four.weights]
    four.reset()
    four.publish(names[0])
    for name in names:
        four.act(name, four.voter(name).propose)
    four.flush()
    assert {one.node.height for one in four.participants.values()} == {1}
    liars = ByzantineVoters(four)
    four.publish(names[0], 2)
    producer = genesis.institution(genesis.validators.producer(2, 0).id)
    proposal = liars.build(producer, 0, None, ())
    assert proposal is not None
    header = Block.decode(Proposal.decode(proposal).block).header

    def votes(ballot: Any) -> tuple[bytes, ...]:
        return tuple(signed_vote(genesis, name, four.keys[name], ballot) for name in names)

    def certificate(ballot: Any) -> bytes:
        made = assemble_qc(votes(ballot), ballot.type, genesis.chain_id, genesis.validators)
        assert made is not None
        return made

    prepared = certificate(prepare_ballot(header, 0))
    timeouts = votes(timeout_ballot(2, 0, header.epoch))
    tc = four.voter(names[0]).node.assemble_tc(timeouts, 2, 0)
    assert tc is not None
    voter = next(four.voter(name) for name in names if name != producer)
    return World(
        four, voter, four.submissions[-1], proposal, prepared, certificate(commit_ballot(prepared)), tc,
        votes(prepare_ballot(header, 0)), timeouts, four.keys[voter.name].public.encrypt(b"a key of 16 bytes"),
    )  # fmt: skip


# --- hostile bytes ---------------------------------------------------------------------------------------------------


def hostile(good: bytes) -> Iterator[bytes]:
    """Yield bytes that look like these and are not, bytes of every other structure, and far too many bytes."""
    yield from (b"", b"\0", b"XL/", bytes(200), b"\xff" * 5_000, good + b"\0", good + good, good[:-1], good[1:])
    yield from (good[:end] for end in range(1, len(good), max(len(good) // 23, 1)))
    for place in range(0, len(good), max(len(good) // 61, 1)):
        yield good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :]
    for place in range(0, len(good) - 4, max(len(good) // 17, 1)):
        yield good[:place] + b"\xff\xff\xff\xff" + good[place + 4 :]
    yield from (data for data, _ in EXAMPLES.values() if data != good)
    yield from (bytes(9 * MEGABYTE), good + bytes(3 * MEGABYTE), b"XL/PROPOSAL/1\0" * MEGABYTE)


def nested(depth: int, good: bytes) -> bytes:
    """Return bytes inside a length inside a length, as deep as told."""
    for _ in range(depth):
        good = len(good).to_bytes(4, "big") + good
    return good


class _Liar:
    def __init__(self, final: FinalBlock) -> None:
        self._final = final

    def finals(self, height: int) -> Iterator[FinalBlock]:
        yield self._final


def _final(world: World, **changes: bytes) -> FinalBlock:
    opened = Proposal.decode(world.proposal)
    return replace(FinalBlock(opened.block, world.commit_qc, opened.bodies), **changes)  # type: ignore[arg-type]


def _block(world: World) -> bytes:
    return Proposal.decode(world.proposal).block


def _leaves(world: World) -> bytes:
    return Proposal.decode(world.proposal).bodies[0]


def _carrying(world: World, **changes: Any) -> bytes:
    """A proposal with another block or other leaves; whoever needs only those asks for no signature."""
    return replace(Proposal.decode(world.proposal), **changes).encode()


def _propose_again(world: World, carried: bytes) -> bytes | None:
    return _propose(world, 1, [], tc=world.tc, prepare_qc=world.prepare_qc, carried=[carried])


def _propose(world: World, round_: int, submissions: list[tuple[bytes, bytes]], **more: Any) -> bytes | None:
    genesis = world.network.genesis
    name = genesis.institution(genesis.validators.producer(2, round_).id)
    return world.network.voter(name).node.propose(submissions, round_, **more)


def _prove(world: World, rid: bytes) -> Any:
    try:
        return world.node.prove(rid, 1)
    except KeyError:
        return None


Call = Callable[[World, bytes], Any]
#: Every method that is shown others' bytes: for each argument what is good there, and a call with something else.
METHODS: dict[str, list[tuple[Callable[[World], bytes], Call]]] = {
    "prepare": [(lambda world: world.proposal, lambda world, data: world.node.prepare(data))],
    "commit": [
        (lambda world: world.prepare_qc, lambda world, data: world.node.commit(data, world.proposal)),
        (_block, lambda world, data: world.node.commit(world.prepare_qc, _carrying(world, block=data))),
        (_leaves, lambda world, data: world.node.commit(world.prepare_qc, _carrying(world, bodies=(data,)))),
    ],
    "timeout": [(lambda world: world.tc, lambda world, data: world.node.timeout(2, 1, data))],
    "open_round": [
        (lambda world: world.submission[0], lambda world, data: world.node.open_round(2, 0, data)),
        (lambda world: world.tc, lambda world, data: world.node.open_round(2, 1, data)),
    ],
    "propose": [
        (lambda world: world.submission[0], lambda world, data: _propose(world, 0, [(data, world.submission[1])])),
        (lambda world: world.submission[1], lambda world, data: _propose(world, 0, [(world.submission[0], data)])),
        (lambda world: world.tc, lambda world, data: _propose(world, 1, [], tc=data)),
        (lambda world: world.prepare_qc, lambda world, data: _propose(world, 1, [], tc=world.tc, prepare_qc=data)),
        (_block, lambda world, data: _propose_again(world, _carrying(world, block=data))),
        (_leaves, lambda world, data: _propose_again(world, _carrying(world, bodies=(data,)))),
        (lambda _: EXAMPLES["evidence.Evidence.decode"][0],
         lambda world, data: _propose(world, 0, [], evidence=[data])),
    ],
    "apply": [
        (_block,
         lambda world, data: world.node.apply(data, world.commit_qc, Proposal.decode(world.proposal).bodies)),
        (lambda world: world.commit_qc,
         lambda world, data: world.node.apply(
             Proposal.decode(world.proposal).block, data, Proposal.decode(world.proposal).bodies)),
        (_leaves,
         lambda world, data: world.node.apply(Proposal.decode(world.proposal).block, world.commit_qc, (data,))),
    ],
    "sync": [
        (lambda world: world.commit_qc, lambda world, data: world.node.sync(_Liar(_final(world, commit_qc=data)))),
        (_block,
         lambda world, data: world.node.sync(_Liar(_final(world, block=data)))),
    ],
    "assemble_prepare": [(lambda world: world.votes[0], lambda world, data: world.node.assemble_prepare([data] * 4))],
    "assemble_commit": [(lambda world: world.votes[0], lambda world, data: world.node.assemble_commit([data] * 4))],
    "assemble_tc": [(lambda world: world.timeouts[0], lambda world, data: world.node.assemble_tc([data] * 4, 2, 0))],
    "good_certificate": [
        (lambda world: world.prepare_qc, lambda world, data: world.node.good_certificate([data], 2, 0, PREPARE)),
        (lambda world: world.commit_qc, lambda world, data: world.node.good_certificate([data], 2, 0, COMMIT)),
        (lambda world: world.tc, lambda world, data: world.node.good_certificate([data], 2, 0, TIMEOUT)),
    ],
    "observe": [(lambda world: world.votes[0], lambda world, data: world.node.observe([data]))],
    "fate": [(lambda world: world.submission[0], lambda world, data: world.node.fate(data).height)],
    "sign_manifest": [(lambda _: bytes(32), lambda world, data: world.node.sign_manifest(data, bytes(32)))],
    "decrypt": [(lambda world: world.sealed, lambda world, data: world.node.decrypt(data))],
    "prove": [(lambda _: bytes(16), lambda world, data: _prove(world, data))],
}  # fmt: skip
#: Methods that are shown nothing of others.
OWN = {
    "height", "is_voter", "halted", "next_seq", "heading", "sign", "submit", "producer", "is_producer", "verify_chain",
    "public", "cosign", "sign_catalogue", "close",
}  # fmt: skip


def test_every_method_of_a_node_is_shown_hostile_bytes() -> None:
    public = {name for name, _ in inspect.getmembers(Node) if not name.startswith("_")}
    assert public == OWN | METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_hostile_bytes_are_refused_by_rule_and_section_and_nothing_changes(world: World, method: str) -> None:
    before = world.network.snapshot()
    for good, call in METHODS[method]:
        right, tried = good(world), 0
        for data in (*hostile(right), *(nested(depth, right) for depth in (1, 3, 200))):
            if data == right:
                continue
            began = time.process_time()
            answer = refusal_of(world, call, data)
            assert answer in (None, 0), f"{method} made something of {len(data)} hostile bytes: {answer!r}"
            assert time.process_time() - began < 2, f"{method} took long over {len(data)} bytes"
            tried += 1
        assert tried > 80
        assert world.network.snapshot() == before, f"{method} left something behind"


def refusal_of(world: World, call: Call, data: bytes) -> Any:
    """Return what came of it; None where it was refused as it should be."""
    try:
        return call(world, data)
    except Refused as error:
        assert error.rule and error.section[0].isdigit()
        assert str(error).startswith(f"{error.rule} (section {error.section}): ")
        assert len(str(error)) < 400
    except Behind as error:
        assert "try again" in str(error)
    return None


def test_the_same_messages_unspoilt_are_taken(fresh: World) -> None:
    """The harness would notice if nothing could ever be accepted."""
    world = fresh
    node, opened = world.node, Proposal.decode(world.proposal)
    assert node.assemble_prepare(world.votes) and node.assemble_tc(world.timeouts, 2, 0)
    assert Vote.decode(node.prepare(world.proposal)).ballot.type == PREPARE
    assert Vote.decode(node.commit(world.prepare_qc, world.proposal)).ballot.type == COMMIT
    assert node.apply(opened.block, world.commit_qc, opened.bodies).height == 2


def test_a_receipt_is_made_before_the_head_moves(fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a block replaces of the state below it goes with it: read afterwards it is not there any more."""
    replica, opened = fresh.node.replica, Proposal.decode(fresh.proposal)
    made, receipt = [], following._receipt

    def watched(view: Any, *rest: Any) -> Any:
        made.append(view.head == replica.view.head)
        return receipt(view, *rest)

    monkeypatch.setattr(following, "_receipt", watched)
    fresh.node.apply(opened.block, fresh.commit_qc, opened.bodies)
    assert made == [True] and fresh.node.height == 2


def test_a_flood_of_votes_costs_one_look_each(world: World) -> None:
    """Ten thousand votes that nobody signed end in no certificate, within seconds, and are not remembered."""
    ballot = Vote.decode(world.votes[0]).ballot
    flood = [
        Vote(replace(ballot, round=number), sm3(b"%d" % number)[:16], bytes(64)).encode() for number in range(10_000)
    ]
    began, before = time.process_time(), world.network.snapshot()
    assert world.node.assemble_prepare(flood) is None
    assert time.process_time() - began < 5
    assert world.network.snapshot() == before


def test_a_participant_is_brought_down_by_no_message(fresh: World) -> None:
    world = fresh
    before, sent = world.network.snapshot(), [*world.network.sent]
    for kind in ("proposal", "vote", "certificate", "timeout certificate", "final"):
        for data, _ in EXAMPLES.values():
            world.voter.receive(Message(kind, data))
    assert len(world.voter.refusals) > 3 * len(EXAMPLES)  # of what lies ahead of it, it can say nothing yet
    assert world.network.snapshot() == before and world.network.sent == sent
    for kind, good in (("proposal", world.proposal), ("certificate", world.prepare_qc)):
        world.voter.receive(Message(kind, good))
    ballots = [Vote.decode(one.data).ballot for one in world.network.sent[len(sent) :]]
    assert [(one.type, one.height) for one in ballots] == [(PREPARE, 2), (COMMIT, 2)]
    world.voter.receive(Message("certificate", world.commit_qc))
    assert world.node.height == 2


def test_a_halted_node_signs_nothing_and_says_why(four: NetworkSimulation, fresh: World) -> None:
    world = fresh
    name = next(one for one in four.honest if one != world.voter.name)
    one = four.voter(name)
    opened = Proposal.decode(world.proposal)
    one.node.replica.keep_conflict(FinalBlock(opened.block, world.commit_qc, opened.bodies), "two certified blocks")
    before = four.snapshot()
    for act in (
        lambda: one.node.prepare(world.proposal),
        lambda: one.node.commit(world.prepare_qc, world.proposal),
        lambda: one.node.timeout(2, 0),
        lambda: one.node.apply(opened.block, world.commit_qc, opened.bodies),
        lambda: one.node.propose([]),
    ):
        with pytest.raises(Halted, match="two certified blocks"):
            act()
    assert four.snapshot() == before
