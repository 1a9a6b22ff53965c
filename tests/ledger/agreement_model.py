"""The agreement protocol of section 6 as an explicit-state model: one height, every interleaving, nothing lost.

Independent of ``plugins/ledger``: it knows nodes, rounds and values, no bytes. The network may deliver any subset of
all messages ever sent in any order, and byzantine voters have signed everything there is to sign. What a state allows
next is one predicate, ``Model.allows``; exploration, conformance of the code and trace validation all ask it.

``SHARED`` are the rules of ``../shared/models/consensus_model.py``. ``CODE`` are the same rules as the code has them,
a refinement: a block without a certificate was built in the very round, certificates need one justification byte for
byte, and a producer may lean on any real certificate at or above the highest that was reported.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal, NamedTuple

NONE = "-"


class Candidate(NamedTuple):
    """What a PREPARE names: a value, and the round of the certificate it leans on (None: none)."""

    value: str
    justify: Lock | None


class Lock(NamedTuple):
    """A PrepareQC: its round, and what it certifies."""

    round: int
    what: str | Candidate


What = str | Candidate
#: What a node did in one round: prepared, committed, and the lock its TIMEOUT reports (None: no TIMEOUT; (): no lock).
Cell = tuple[What, What, "Lock | tuple[()] | None"]
Local = tuple[Cell, ...]
State = tuple[Local, ...]
BLANK: Cell = (NONE, NONE, None)


@dataclass(frozen=True, slots=True)
class Move:
    """One step of one honest node: ``prepare``, ``commit`` or ``timeout`` in a round."""

    kind: Literal["prepare", "commit", "timeout"]
    round: int
    what: What = NONE
    justify: Lock | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol, or a naive variant of it.

    Attributes:
        honest: Honest voters.
        weights: Their weights where they differ; such nodes are not interchangeable.
        byzantine: Weight of the byzantine voters together.
        quorum: Least weight of a certificate.
        rounds: Rounds modelled; the last one is not timed out.
        values: What may be proposed; with ``built`` in every round others of that round's own.
        phases: 1: PREPAREs decide.
        lock: ``strict``, ``value`` (a voter may follow its own block under any justification) or none.
        tc: Whether a round is opened by a timeout certificate.
        highest: Whether the highest certificate reported binds the producer.
        higher: Whether any real certificate at or above it will do.
        monotone: Whether votes go forward in (round, step) only.
        late: Whether a voter votes in rounds it has timed out of.
        once: Whether a voter prepares once in the height, and rounds never end.
        doubled: Whether a byzantine signature counts twice.
        built: Whether a block without a certificate must be built in its round.
        same_justify: Whether a certificate's votes must name one justification.
    """

    honest: int = 3
    weights: tuple[int, ...] = ()
    byzantine: int = 1
    quorum: int = 3
    rounds: int = 2
    values: str = "AB"
    phases: int = 2
    lock: Literal["strict", "value", "none"] = "strict"
    tc: bool = True
    highest: bool = True
    higher: bool = False
    monotone: bool = True
    late: bool = False
    once: bool = False
    doubled: bool = False
    built: bool = False
    same_justify: bool = False

    @property
    def honest_weights(self) -> tuple[int, ...]:
        """The weight of each honest voter."""
        return self.weights or (1,) * self.honest


SHARED = Rules()
CODE = Rules(higher=True, built=True, same_justify=True)


@dataclass(frozen=True)
class Exploration:
    """All that is reachable, or the first state found that breaks agreement."""

    states: frozenset[State]
    fork: tuple[State, ...]
    candidates: int = 0
    stuck: int = 0


class Facts:
    """What the messages sent up to a state let anybody assemble.

    Args:
        rules: The protocol.
        state: What the honest have signed.
        byzantine: Votes that the byzantine ones add to anything.
    """

    def __init__(self, rules: Rules, state: State, byzantine: int) -> None:
        self._rules, self._state, self._byzantine = rules, state, byzantine
        self._reported: dict[int, frozenset[Lock | tuple[()]]] = {}

    @cached_property
    def prepared(self) -> frozenset[Lock]:
        """The PrepareQCs there can be. What an honest node committed to is there in any case."""
        found = {Lock(r, cell[1]) for local in self._state for r, cell in enumerate(local) if cell[1] != NONE}
        return frozenset(found | self._quorums(0))

    @cached_property
    def committed(self) -> frozenset[Lock]:
        """The CommitQCs there can be."""
        return frozenset(self._quorums(1 if self._rules.phases == 2 else 0))

    def _quorums(self, step: int) -> set[Lock]:
        """Return what has a quorum; nothing has that no honest node voted for."""
        votes: Counter[Lock] = Counter()
        for weight, local in zip(self._rules.honest_weights, self._state, strict=True):
            for round_, cell in enumerate(local):
                what = cell[0] if step == 0 else cell[1]
                if what != NONE:
                    votes[Lock(round_, what)] += weight
        return {one for one, weight in votes.items() if weight + self._byzantine >= self._rules.quorum}

    def reported(self, round_: int) -> frozenset[Lock | tuple[()]]:
        """Return what timeout certificates of a round can have as their highest lock; empty: there is none."""
        if round_ not in self._reported:
            self._reported[round_] = frozenset((*self._highest(round_, self._byzantine), *self._kept(round_)))
        return self._reported[round_]

    def _kept(self, round_: int) -> Iterator[Lock | tuple[()]]:
        """Yield what certificates report that some honest node has acted on: it has them, whoever falls silent."""
        if round_ + 1 >= self._rules.rounds or self._byzantine == self._rules.byzantine:
            return  # with every byzantine vote they can be assembled anyway
        acted = [local[round_ + 1][0] for local in self._state if local[round_ + 1] != BLANK]
        for report in set(self._highest(round_, self._rules.byzantine)) if acted else ():
            if any(what == NONE or _fits(report, what) for what in acted):
                yield report

    def _highest(self, round_: int, byzantine: int) -> Iterator[Lock | tuple[()]]:
        weighed = zip(self._rules.honest_weights, self._state, strict=True)
        outs = [(weight, local[round_][2]) for weight, local in weighed if local[round_][2] is not None]
        lies: list[Lock | tuple[()]] = [()]
        if byzantine:
            lies += [one for one in self.prepared if one.round <= round_]
        for count in range(len(outs) + 1):
            for voters in set(combinations(sorted(outs, key=repr), count)):
                if sum(weight for weight, _ in voters) + byzantine < self._rules.quorum:
                    continue
                for lie in lies:
                    locks = [one for one in (*(lock for _, lock in voters), lie) if one]
                    if self._rules.highest:
                        yield max(locks, key=lambda one: (one.round, value_of(one.what)), default=())
                    else:
                        yield from (*locks, ())


class Model:
    """The transition relation under some rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.start: State = ((BLANK,) * rules.rounds,) * len(rules.honest_weights)
        self.byzantine = rules.byzantine * (2 if rules.doubled else 1)

    def facts(self, state: State, byzantine: int | None = None) -> Facts:
        """Return what can be assembled; without ``byzantine`` with all the votes that the byzantine ones have."""
        return Facts(self.rules, state, self.byzantine if byzantine is None else byzantine)

    def decided(self, state: State, byzantine: int | None = None) -> set[str]:
        """Return the values that some set of votes makes final."""
        return {value_of(one.what) for one in self.facts(state, byzantine).committed}

    # --- what a node may do ------------------------------------------------------------------------------------

    def allows(self, local: Local, facts: Facts, move: Move) -> bool:
        """Say whether an honest node that has signed ``local`` may do this next."""
        rules = self.rules
        prepared, committed, timeout = local[move.round]
        if move.kind == "prepare":
            if prepared != NONE or not self._may_vote(local, move.round, 1):
                return False
            if rules.once and any(cell[0] != NONE for cell in local):
                return False
            return self._follows_lock(local, move) and self._justified(facts, move)
        if move.kind == "commit":
            may = rules.phases == 2 and committed == NONE and self._may_vote(local, move.round, 2)
            return may and Lock(move.round, move.what) in facts.prepared
        if timeout is not None or rules.once or not self._may_time_out(local, move.round):
            return False
        opened = move.round == 0 or not rules.monotone or not rules.tc or position(local)[0] == move.round
        return opened or bool(facts.reported(move.round - 1))

    def _may_vote(self, local: Local, round_: int, step: int) -> bool:
        if self.rules.late:
            return True
        if self.rules.monotone:
            return (round_, step) > position(local)
        return round_ >= given_up(local)

    def _may_time_out(self, local: Local, round_: int) -> bool:
        return (round_, 3) > position(local) if self.rules.monotone else round_ >= given_up(local)

    def _follows_lock(self, local: Local, move: Move) -> bool:
        held, rules = lock_of(local), self.rules
        if rules.lock == "none" or held is None or (move.justify and move.justify.round >= held.round):
            return True
        return rules.lock == "value" and value_of(held.what) == value_of(move.what)

    def _justified(self, facts: Facts, move: Move) -> bool:
        rules, justify = self.rules, move.justify
        if move.round == 0 or not rules.tc:
            return justify is None and self._is_fresh(move)
        highest = facts.reported(move.round - 1)
        if justify is None:
            return () in highest and self._is_fresh(move)
        if value_of(justify.what) != value_of(move.what) or justify.round >= move.round:
            return False
        if not rules.higher:
            return justify in highest
        return justify in facts.prepared and any(not one or justify.round >= one.round for one in highest)

    def _is_fresh(self, move: Move) -> bool:
        return not self.rules.built or value_of(move.what)[1:] == str(move.round)

    def do(self, state: State, node: int, move: Move) -> State:
        """Return the state after a move, nodes in their places."""
        prepared, committed, timeout = state[node][move.round]
        cell: Cell = {
            "prepare": (move.what, committed, timeout),
            "commit": (prepared, move.what, timeout),
            "timeout": (prepared, committed, lock_of(state[node]) or ()),
        }[move.kind]
        local = (*state[node][: move.round], cell, *state[node][move.round + 1 :])
        return (*state[:node], local, *state[node + 1 :])

    # --- exploration -------------------------------------------------------------------------------------------

    def prepares(self, facts: Facts, round_: int) -> Iterator[Move]:
        """Yield every PREPARE that a proposal of a round could ask for."""
        rules = self.rules
        for value in rules.values:
            name = f"{value}{round_}" if rules.built else value
            yield Move("prepare", round_, Candidate(name, None) if rules.same_justify else name)
        if round_ and rules.tc:
            for lock in facts.prepared:
                value = value_of(lock.what)
                yield Move("prepare", round_, Candidate(value, lock) if rules.same_justify else value, lock)

    def moves(self, local: Local, facts: Facts) -> Iterator[Move]:
        """Yield what a node may do next."""
        for round_ in range(self.rules.rounds):
            choices = [*self.prepares(facts, round_)]
            choices += [Move("commit", one.round, one.what) for one in facts.prepared if one.round == round_]
            if round_ < self.rules.rounds - 1:
                choices.append(Move("timeout", round_))
            yield from (one for one in choices if self.allows(local, facts, one))

    def successors(self, state: State, byzantine: int | None = None) -> list[State]:
        """Return the states after one step, honest nodes being alike."""
        facts = self.facts(state, byzantine)
        steps = (
            alike(self.do(state, node, move))
            for node, local in enumerate(state)
            if node == 0 or local != state[node - 1]
            for move in self.moves(local, facts)
        )
        return list(dict.fromkeys(steps))

    def explore(self, *, liveness: bool = False, limit: int = 4_000_000) -> Exploration:
        """Visit every reachable state, or stop at the first fork.

        With ``liveness`` the states are counted in which nobody has begun the last round, and those among them from
        which the honest alone, the byzantine silent, can reach no decision.
        """
        before: dict[State, State | None] = {self.start: None}
        waiting = deque([self.start])
        while waiting:
            state = waiting.popleft()
            if len(self.decided(state)) > 1:
                return Exploration(frozenset(before), path_to(before, state))
            for one in self.successors(state):
                if one not in before:
                    before[one] = state
                    waiting.append(one)
            if len(before) > limit:
                raise RuntimeError(f"more than {limit} states")
        return self._liveness(frozenset(before)) if liveness else Exploration(frozenset(before), ())

    def _liveness(self, states: frozenset[State]) -> Exploration:
        back: dict[State, list[State]] = {}
        for state in states:
            for one in self.successors(state, 0):
                back.setdefault(one, []).append(state)
        live = {state for state in states if self.decided(state, 0)}
        waiting = [*live]
        while waiting:
            for one in back.get(waiting.pop(), ()):
                if one not in live:
                    live.add(one)
                    waiting.append(one)
        last = self.rules.rounds - 1
        candidates = [one for one in states if self.rules.once or all(local[last] == BLANK for local in one)]
        return Exploration(states, (), len(candidates), sum(one not in live for one in candidates))


def _fits(report: Lock | tuple[()], what: What) -> bool:
    """Say whether a PREPARE of this could follow a timeout certificate that reports that."""
    if isinstance(what, Candidate) and what.justify is not None:
        return not report or report.round <= what.justify.round
    return not report or value_of(report.what) == value_of(what)


def value_of(what: What) -> str:
    """Return the value that a vote or certificate is for."""
    return what.value if isinstance(what, Candidate) else what


def position(local: Local) -> tuple[int, int]:
    """Return the highest (round, step) a node has signed; steps as certificates name them, 0 for nothing."""
    best = (0, 0)
    for round_, (prepared, committed, timeout) in enumerate(local):
        step = 3 if timeout is not None else 2 if committed != NONE else 1 if prepared != NONE else 0
        if step:
            best = (round_, step)
    return best


def given_up(local: Local) -> int:
    """Return the round after the last one that the node timed out of."""
    return max((round_ + 1 for round_, cell in enumerate(local) if cell[2] is not None), default=0)


def lock_of(local: Local) -> Lock | None:
    """Return the PrepareQC of a node's last COMMIT."""
    return next((Lock(r, local[r][1]) for r in reversed(range(len(local))) if local[r][1] != NONE), None)


def alike(state: State) -> State:
    """Return the state with its interchangeable nodes in one order."""
    return tuple(sorted(state, key=repr))


def path_to(before: dict[State, State | None], state: State) -> tuple[State, ...]:
    """Return the states from the start to this one."""
    path, at = [state], before[state]
    while at is not None:
        path.append(at)
        at = before[at]
    return tuple(reversed(path))


def variant(**changes: object) -> Rules:
    """Return the recommended rules with one or more of them made naive."""
    return replace(SHARED, **changes)  # type: ignore[arg-type]
