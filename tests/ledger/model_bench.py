"""The real code put into every situation that the model knows, and asked the same questions (invariant 11).

A node's answer follows from what its vote store holds and from the message shown to it. So every local state that any
reachable state contains is made once with real signatures, every message of the height is shown to a real node in it,
and whether a message can exist in a reachable state is asked of the real assemblers of certificates.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from agreement_model import BLANK, NONE, Candidate, Facts, Local, Lock, Model, Move, State, lock_of
from byzantine_voters import ByzantineVoters
from network_simulation import NetworkSimulation, commit_ballot, prepare_ballot, require, signed_vote, timeout_ballot
from passed_time import PassedTime

from ledger.agreement.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    Ballot,
    QuorumCertificate,
    Vote,
    assemble_qc,
    assemble_tc,
    qc_digest,
)
from ledger.agreement.proposal import Proposal, check_tc
from ledger.agreement.votes import VoteStore
from ledger.chain.block import Block
from ledger.chain.replica import Replica
from ledger.encoding import Reader
from ledger.errors import Refused
from ledger.node import Node

Report = Lock | tuple[()]


@dataclass(frozen=True, slots=True)
class Shown:
    """One message shown to a node.

    Attributes:
        name: What it is, for people.
        show: Shows it.
        move: What an honest node does on it, if it may; None where no node may ever act on it.
        report: For what comes with a timeout certificate: the highest lock that one reports.
    """

    name: str
    show: Callable[[Node], bytes]
    move: Move | None
    report: Report | None = None


class ModelBench:
    """One height among four voters of equal weight, the last of them byzantine.

    Args:
        network: Four voters at genesis.
        model: The model whose reachable states count.
    """

    def __init__(self, network: NetworkSimulation, model: Model) -> None:
        self.network, self.model = network, model
        self.genesis = network.genesis
        self.names = [*network.weights]
        network.reset([self.names[-1]])
        network.publish(self.names[0], 2)
        self.liars = ByzantineVoters(network)
        self.replica = Replica(network.database(self.names[0]), self.genesis)
        self.certificates: dict[Lock, bytes] = {}
        self.tcs: dict[Report, bytes] = {(): self._timeout_certificate(())}
        self.built: dict[str, bytes] = {}
        for round_, tc in ((0, None), (1, self.tcs[()])):
            producer = self.producer(round_)
            first = self.liars.build(producer, round_, tc, ())
            assert first is not None
            self.built |= {f"A{round_}": first, f"B{round_}": self.liars.twin(producer, first)}
        self.tcs |= {lock: self._timeout_certificate(lock) for lock in self.locks(0)}
        self._exists: dict[object, bool] = {}
        self._reports: dict[object, frozenset[Report]] = {}

    # --- real bytes for the model's words ----------------------------------------------------------------------

    def producer(self, round_: int) -> str:
        return self.genesis.institution(self.genesis.validators.producer(1, round_).id)

    def candidates(self, round_: int) -> list[Candidate]:
        """Return everything that can be certified in a round."""
        fresh = [Candidate(f"{letter}{round_}", None) for letter in self.model.rules.values]
        return fresh + ([Candidate(lock.what.value, lock) for lock in self.locks(0) if isinstance(lock.what, Candidate)]
                        if round_ else [])  # fmt: skip

    def locks(self, round_: int) -> list[Lock]:
        """Return every PrepareQC that there can be of a round."""
        return [Lock(round_, one) for one in self.candidates(round_)]

    def certificate(self, lock: Lock) -> bytes:
        """Return a PrepareQC with every voter's signature."""
        if lock not in self.certificates:
            ballot = self.ballot(lock)
            votes = [signed_vote(self.genesis, name, self.network.keys[name], ballot) for name in self.names]
            made = assemble_qc(votes, PREPARE, self.genesis.chain_id, self.genesis.validators)
            assert made is not None
            self.certificates[lock] = made
        return self.certificates[lock]

    def ballot(self, lock: Lock) -> Ballot:
        """Return what a PREPARE of this round and candidate says."""
        what = lock.what
        assert isinstance(what, Candidate)
        header = Block.decode(Proposal.decode(self.built[what.value]).block).header
        return prepare_ballot(header, lock.round, self.certificate(what.justify) if what.justify else b"")

    def _timeout(self, name: str, round_: int, report: Report) -> bytes:
        lock = self.certificate(report) if report else b""
        ballot = timeout_ballot(1, round_, self.genesis.epoch(1), lock)
        return signed_vote(self.genesis, name, self.network.keys[name], ballot, lock)

    def _timeout_certificate(self, report: Report) -> bytes:
        votes = [self._timeout(name, 0, report if name == self.names[0] else ()) for name in self.names]
        made = assemble_tc(votes, self.genesis.chain_id, self.genesis.validators, 1, 0, self.genesis.epoch(1))
        assert made is not None
        return made

    def proposal(self, value: str, round_: int, justify: Lock | None, tc: bytes) -> bytes:
        """Return a proposal of a block in a round, signed by its producer whatever it says."""
        made = replace(
            Proposal.decode(self.built[value]),
            round=round_,
            justify=self.certificate(justify) if justify else b"",
            tc=tc,
        )
        return self.liars.sign(self.producer(round_), made)

    # --- the alphabet ------------------------------------------------------------------------------------------

    def messages(self) -> list[Shown]:
        """Return every message of the height: those that honest nodes may act on, and those they never may."""
        return [*self._proposals(), *self._certificates(), *self._timeouts()]

    def _proposals(self) -> Iterator[Shown]:
        for value in self.built:
            for round_, report in ((0, None), *((1, one) for one in self.tcs)):
                for justify in (None, *self.locks(0)):
                    tc = b"" if report is None else self.tcs[report]
                    data = self.proposal(value, round_, justify, tc)
                    yield Shown(
                        f"{value} in round {round_} under {justify} after {report}",
                        lambda node, data=data: node.prepare(data),  # type: ignore[misc]
                        self._prepare(value, round_, justify, report),
                        report,
                    )
            bare = self.proposal(value, 1, None, b"")
            yield Shown(f"{value} without a TC", lambda node, data=bare: node.prepare(data), None)  # type: ignore[misc]

    @staticmethod
    def _prepare(value: str, round_: int, justify: Lock | None, report: Report | None) -> Move | None:
        """Return the vote that a proposal asks for; None for what no state makes good."""
        if justify is None:
            good = value[1:] == str(round_) and not report
        else:
            good = round_ > justify.round and isinstance(justify.what, Candidate) and justify.what.value == value
        return Move("prepare", round_, Candidate(value, justify), justify) if good else None

    def _certificates(self) -> Iterator[Shown]:
        for lock in (*self.locks(0), *self.locks(1)):
            assert isinstance(lock.what, Candidate)
            data, block = self.certificate(lock), self.built[lock.what.value]
            yield Shown(
                f"PrepareQC {lock}",
                lambda node, data=data, block=block: node.commit(data, block),  # type: ignore[misc]
                Move("commit", lock.round, lock.what),
            )
            other = self.built["B0" if lock.what.value == "A0" else "A0"]
            yield Shown(
                f"PrepareQC {lock} with another block",
                lambda node, data=data, other=other: node.commit(data, other),  # type: ignore[misc]
                None,
            )
            votes = [
                signed_vote(self.genesis, name, self.network.keys[name], commit_ballot(data)) for name in self.names
            ]
            final = assemble_qc(votes, COMMIT, self.genesis.chain_id, self.genesis.validators)
            assert final is not None
            yield Shown(
                f"CommitQC of {lock} for a PrepareQC",
                lambda node, final=final, block=block: node.commit(final, block),  # type: ignore[misc]
                None,
            )

    def _timeouts(self) -> Iterator[Shown]:
        yield Shown("timer of round 0", lambda node: node.timeout(1, 0), Move("timeout", 0))
        yield Shown("timer of round 1", lambda node: node.timeout(1, 1), Move("timeout", 1))
        for report, tc in self.tcs.items():
            yield Shown(
                f"timer of round 1 after {report}",
                lambda node, tc=tc: node.timeout(1, 1, tc),  # type: ignore[misc]
                Move("timeout", 1),
                report,
            )

    # --- local states ------------------------------------------------------------------------------------------

    def node(self, votes: VoteStore) -> Node:
        """Return the first voter's node with some vote store."""
        name, network = self.names[0], self.network
        own = network.keys[name], self.replica, votes
        return Node(self.genesis, name, *own, network.envelopes, network.clock, PassedTime())

    def reach(self, local: Local, path: Path) -> None:
        """Make a vote store that holds a local state, by showing a real node what leads there."""
        shutil.copy(self.network.folder / f"{self.names[0]}.empty", path)
        votes = VoteStore(path)
        node = self.node(votes)
        for move in history(local):
            self._lead(node, move)
        votes.close()

    def _lead(self, node: Node, move: Move) -> None:
        if move.kind == "timeout":
            node.timeout(1, move.round)
            return
        assert isinstance(move.what, Candidate)
        if move.kind == "commit":
            node.commit(self.certificate(Lock(move.round, move.what)), self.built[move.what.value])
        else:
            tc = self.tcs[()] if move.round else b""
            node.prepare(self.proposal(move.what.value, move.round, move.justify, tc))

    def read(self, votes: VoteStore) -> Local:
        """Return the local state that a vote store holds."""
        cells = [BLANK] * self.model.rules.rounds
        named = {qc_digest(data): lock for lock, data in self.certificates.items()}
        values = {Block.decode(Proposal.decode(data).block).header.block_id: one for one, data in self.built.items()}
        for slot, stored in votes.dump():
            ballot = Ballot.read(Reader(stored.message[42:], "own vote"))
            prepared, committed, timeout = cells[slot.round]
            under = None if ballot.justify_round == NO_ROUND else named[ballot.justify_digest]
            if ballot.type == PREPARE:
                prepared = Candidate(values[ballot.block_id], under)
            elif ballot.type == COMMIT:
                assert under is not None
                committed = under.what
            else:
                timeout = under or ()
            cells[slot.round] = (prepared, committed, timeout)
        return tuple(cells)

    def answers(self, local: Local, folder: Path) -> dict[str, Local | None]:
        """Return what a real node in a local state makes of every message: its new state, or None for a refusal.

        A refusal must leave the state as it is, and name rule and section.
        """
        start, path = folder / "start.votes", folder / "now.votes"
        for left in folder.iterdir():
            left.unlink()
        self.reach(local, start)
        found: dict[str, Local | None] = {}
        node: Node | None = None
        for one in self.messages_once:
            if node is None:
                shutil.copy(start, path)
                votes = VoteStore(path)
                node = self.node(votes)
            try:
                one.show(node)
            except Refused as error:
                require(error.rule and error.section, f"{one.name}: a refusal without rule or section")
                found[one.name] = None
                continue
            found[one.name] = self.read(votes)
            votes.close()
            for left in folder.glob("now.*"):
                left.unlink()
            node = None
        if node is not None:
            require(self.read(votes) == local, f"a refusal changed what is stored in {local}")
            votes.close()
        return found

    @cached_property
    def messages_once(self) -> list[Shown]:
        """The messages, made once."""
        return self.messages()

    # --- what can exist ----------------------------------------------------------------------------------------

    def existing(self, state: State) -> frozenset[Lock]:
        """Return the PrepareQCs that real assemblers make of the votes of a state and all the byzantine ones."""
        return frozenset(lock for round_ in (0, 1) for lock in self.locks(round_) if self._assembles(state, lock))

    def _assembles(self, state: State, lock: Lock) -> bool:
        voters = tuple(
            name for name, local in zip(self.names, state, strict=False) if local[lock.round][0] == lock.what
        )  # fmt: skip
        if (lock, voters) not in self._exists:
            names, ballot = (*voters, self.names[-1]), self.ballot(lock)
            votes = [signed_vote(self.genesis, name, self.network.keys[name], ballot) for name in names]
            made = assemble_qc(votes, PREPARE, self.genesis.chain_id, self.genesis.validators)
            if made is not None:
                QuorumCertificate.decode(made).verify(self.genesis.chain_id, self.genesis.validators)
            self._exists[lock, voters] = made is not None
        return self._exists[lock, voters]

    def reports(self, state: State, real: frozenset[Lock]) -> frozenset[Report]:
        """Return the highest locks that real timeout certificates of round 0 can report in a state."""
        outs = tuple(local[0][2] for local in state)
        lies: tuple[Report, ...] = ((), *(one for one in real if one.round == 0))
        if (outs, lies) not in self._reports:
            self._reports[outs, lies] = frozenset(self._reported(outs, lies))
        return self._reports[outs, lies]

    def _reported(self, outs: tuple[Lock | tuple[()] | None, ...], lies: tuple[Report, ...]) -> Iterator[Report]:
        chain, validators, epoch = self.genesis.chain_id, self.genesis.validators, self.genesis.epoch(1)
        signed = [self._timeout(name, 0, out) for name, out in zip(self.names, outs, strict=False) if out is not None]
        known = {data: lock for lock, data in self.certificates.items()}
        for count in range(len(signed) + 1):
            for votes in combinations(signed, count):
                for lie in lies:
                    mine = self._timeout(self.names[-1], 0, lie)
                    made = assemble_tc([*votes, mine], chain, validators, 1, 0, epoch)
                    if made is not None:
                        highest = check_tc(made, 1, 0, epoch, chain, validators)
                        yield () if highest is None else known[highest.encode()]

    def possible(self, state: State, local: Local, answers: Mapping[str, Local | None]) -> dict[Move, Local]:
        """Return what a node can be brought to do in a state, with messages that can exist there.

        Doing again what it has done gives the same bytes and is no step.
        """
        real = self.existing(state)
        reports = self.reports(state, real)
        return {
            one.move: after
            for one in self.messages_once
            if one.move is not None
            and (after := answers[one.name]) is not None
            and not (after == local and one.move in history(local))
            and (one.report is None or one.report in reports)
            and (one.move.justify is None or one.move.justify in real)
            and (one.move.kind != "commit" or Lock(one.move.round, one.move.what) in real)
        }


def history(local: Local) -> list[Move]:
    """Return the steps that lead to a local state, in order."""
    made = []
    for round_, (prepared, committed, timeout) in enumerate(local):
        if prepared != NONE:
            made.append(
                Move("prepare", round_, prepared, prepared.justify if isinstance(prepared, Candidate) else None)
            )
        if committed != NONE:
            made.append(Move("commit", round_, committed))
        if timeout is not None:
            made.append(Move("timeout", round_))
    return made


def allowed(model: Model, local: Local, facts: Facts) -> dict[Move, Local]:
    """Return what the model lets a node do, also in the last round's timeout, which exploration leaves out."""
    moves = {*model.moves(local, facts)}
    last = Move("timeout", model.rules.rounds - 1)
    if model.allows(local, facts, last):
        moves.add(last)
    return {move: model.do((local,), 0, move)[0] for move in moves}


__all__ = ["ModelBench", "Vote", "allowed", "history", "lock_of"]
_Any = Any
