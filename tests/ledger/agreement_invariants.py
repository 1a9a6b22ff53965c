"""Invariants 1 to 5 and 11 of section 17, looked at after every step of a simulated network.

What an honest voter has signed is read from its vote store, which survives whatever kills the process, and from the
record its key keeps. Every new signature must be a step that ``agreement_model`` allows in the state that all honest
voters are in together, whatever the byzantine ones may have sent: that is trace validation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from agreement_model import CODE, Candidate, Lock, Model, Move, State, lock_of
from network_simulation import NetworkSimulation, require, signed_slots

from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, TIMEOUT, Ballot, QuorumCertificate
from ledger.agreement.votes import Slot
from ledger.encoding import Reader

ROUNDS = 12


class Watch:
    """Looks at an institution after each of its steps; attach it to a network once for each run."""

    def __init__(self, network: NetworkSimulation) -> None:
        self.network = network
        self.honest = network.honest
        weights = tuple(network.weights[one] for one in self.honest)
        rules = replace(
            CODE, weights=weights, byzantine=network.total - sum(weights), quorum=network.quorum, rounds=ROUNDS
        )
        self.model = Model(rules)
        self.states: dict[int, State] = defaultdict(lambda: self.model.start)
        self.moves: list[tuple[str, int, Move]] = []
        self._values: dict[bytes, str] = {}
        self._written: dict[str, dict[Slot, bytes]] = defaultdict(dict)
        self._signed: dict[str, int] = defaultdict(int)
        self._locks: dict[tuple[str, int], int] = {}
        self._heights: dict[str, int] = defaultdict(int)
        network.watch = self.look

    def look(self, name: str) -> None:
        """Raise InvariantBroken where something does not hold after a step of this institution."""
        self._check_final(name)
        if name in self.honest:
            self._check_order(name)
            self._check_lock(name)
            self._check_votes(name)

    def _check_final(self, name: str) -> None:
        """Invariant 1: no two replicas have different blocks of one height."""
        replica = self.network.participants[name].node.replica
        top = replica.view.head.height
        require(top >= self._heights[name], f"{name}: the head went back")
        for height in range(self._heights[name] + 1, top + 1):
            found = replica.header(height).block_id
            require(self.network.finals.setdefault(height, found) == found, f"{name}: another block of height {height}")
        self._heights[name] = top

    def _check_order(self, name: str) -> None:
        """Invariant 3: the disk has each place before it is signed, in order, and nothing is signed in two ways.

        A process killed between writing and signing may sign what it wrote after it has gone on: what counts is when
        it stood on disk.
        """
        one, written = self.network.participants[name], self._written[name]
        for slot, stored in sorted(one.votes.dump()):
            if slot not in written:
                require(
                    all(before < slot for before in written), f"{name}: {slot} written after {max(written, default=0)}"
                )
                written[slot] = stored.message
            require(written[slot] == stored.message, f"{name}: what stands at {slot} changed")
        for slot, message in signed_slots(one.signed[self._signed[name] :]):
            require(written.get(slot) == message, f"{name}: at {slot} it signed what does not stand on its disk")
        self._signed[name] = len(one.signed)

    def _check_lock(self, name: str) -> None:
        """Invariant 4: a lock only rises inside a height."""
        one = self.network.participants[name]
        height = one.height
        lock = one.votes.lock(self.network.genesis.chain_id, height)
        round_ = QuorumCertificate.decode(lock).ballot.round if lock else -1
        require(round_ >= self._locks.get((name, height), -1), f"{name}: its lock of height {height} went down")
        self._locks[name, height] = round_

    def _check_votes(self, name: str) -> None:
        """Invariants 2, 5 and 11: every vote on disk is one that the model allows, on a valid block."""
        stored = dict(self.network.participants[name].votes.dump())
        for slot in sorted(stored):
            if slot.step and not self._is_known(name, slot):
                self._take(name, slot, stored[slot].message)

    def _is_known(self, name: str, slot: Slot) -> bool:
        prepared, committed, timeout = self.states[slot.height][self.honest.index(name)][slot.round]
        return {PREPARE: prepared != "-", COMMIT: committed != "-", TIMEOUT: timeout is not None}[slot.step]

    def _take(self, name: str, slot: Slot, message: bytes) -> None:
        place, state = self.honest.index(name), self.states[slot.height]
        ballot = Ballot.read(Reader(message[42:], "own vote"))
        move, facts = self._move(ballot), self.model.facts(state)
        require(
            self.model.allows(state[place], facts, move), f"{name}: the model forbids {move} at height {slot.height}"
        )
        if move.kind == "timeout":
            reported = self._lock(ballot)
            require(reported == lock_of(state[place]), f"{name}: its TIMEOUT reports {reported}")
        state = self.states[slot.height] = self.model.do(state, place, move)
        self.moves.append((name, slot.height, move))
        self._check_decision(slot.height, state)

    def _check_decision(self, height: int, state: State) -> None:
        """Invariants 1 and 5, over every certificate that the votes of the honest and any of the others could make."""
        facts = self.model.facts(state)
        decided = {one.what for one in facts.committed}
        require(
            len({one.value for one in decided if isinstance(one, Candidate)}) <= 1, f"height {height} forks: {decided}"
        )
        for one in facts.committed:
            votes = sum(
                weight
                for weight, local in zip(self.model.rules.honest_weights, state, strict=True)
                if local[one.round][0] == one.what
            )
            enough = votes + self.model.byzantine >= self.model.rules.quorum
            require(enough, f"height {height}: a CommitQC without a PrepareQC: {one}")

    # --- from bytes to the model's words -----------------------------------------------------------------------

    def _move(self, ballot: Ballot) -> Move:
        if ballot.type == TIMEOUT:
            return Move("timeout", ballot.round)
        if ballot.type == COMMIT:
            under = self._ballot(ballot.justify_digest)
            require(
                (under.block_id, under.round) == (ballot.block_id, ballot.round), "a COMMIT under a foreign PrepareQC"
            )
            return Move("commit", ballot.round, self._candidate(under))
        return Move("prepare", ballot.round, self._candidate(ballot), self._lock(ballot))

    def _ballot(self, digest: bytes) -> Ballot:
        require(digest in self.network.certificates, "a vote names a certificate that nobody has")
        return QuorumCertificate.decode(self.network.certificates[digest]).ballot

    def _lock(self, ballot: Ballot) -> Lock | None:
        if ballot.justify_round == NO_ROUND:
            return None
        under = self._ballot(ballot.justify_digest)
        return Lock(under.round, self._candidate(under))

    def _candidate(self, ballot: Ballot) -> Candidate:
        header = self.network.headers.get(ballot.block_id)
        require(header is not None, "an honest voter voted for a block that is not valid")
        assert header is not None
        letter = self._values.setdefault(ballot.block_id, chr(ord("A") + len(self._values)))
        return Candidate(f"{letter}{header.build_round}", self._lock(ballot))
