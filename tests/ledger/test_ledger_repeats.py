"""Invariant 9: whatever Airflow does twice, late, out of order or on two workers at once, the chain is the same."""

from __future__ import annotations

import random
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pymongo import MongoClient
from region_simulation import MEMBERS, RegionSimulation

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT, Vote
from ledger.agreement.proposal import Proposal
from ledger.carrier import Carrier, carry_block
from ledger.errors import Behind, Refused

pytestmark = pytest.mark.mongo
NAMES = [one.id for one in MEMBERS]
VOTERS = [one.id for one in MEMBERS if one.weight]
PRODUCERS = [one.id for one in MEMBERS if one.role == "producer"]


class RepeatedTasks(RuleBasedStateMachine):
    """Tasks of the DAG in any order, each by either of two workers of its institution, again and again."""

    mongo: Callable[[], MongoClient[dict[str, Any]]]  # called: a client has every attribute that is looked for
    ends: ClassVar[list[tuple[int, int]]]  # of each example: blocks that became final, tasks that ran

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.region = RegionSimulation(type(self).mongo(), Path(self.folder.name), f"t{uuid.uuid4().hex[:12]}")
        #: Two workers of each institution: two processes with one key, as after a zombie was given up.
        self.workers = {(name, twin): self.open(name) for name in NAMES for twin in (0, 1)}
        self.run: list[tuple[str, str, tuple[int, ...]]] = []
        self.offered: list[bytes] = []
        self.lasts: dict[str, Any] = {}

    def open(self, name: str) -> Carrier:
        return Carrier(self.region.open(name), self.region.exchange)

    def teardown(self) -> None:
        try:
            self.settle()
            self.ends.append((self.region.open(NAMES[0]).height, len(self.run)))
        finally:
            self.region.close()
            self.folder.cleanup()

    # --- what happens ------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.offered) < 4)
    @rule(name=st.sampled_from(PRODUCERS))
    def offer(self, name: str) -> None:
        """A batch waits; the same number may be taken by two batches when the first is not final yet."""
        made = self.workers[name, 0].node.submit(
            self.region.entries(name, 2), self.workers[name, 0].node.next_seq(), "vault"
        )
        self.region.exchange.post_submission(made.tx, made.leaves)
        self.offered.append(made.tx)

    @rule(seed=st.integers(0, 1 << 30))
    def a_run_of_the_dag(self, seed: int) -> None:
        """Every task of a block, many of them twice, some too early, each by a worker that happens to be free."""
        chance = random.Random(seed)
        if not any(self.waits(self.workers[name, 0]) for name in NAMES):
            self.offer(chance.choice(PRODUCERS))
        height = self.workers[NAMES[0], 0].node.height + 1
        phases = [[(name, "propose") for name in PRODUCERS]]
        phases += [[(name, action) for name in VOTERS] for action in ("prepare", "confirm")]
        for number, phase in enumerate(phases):
            early = chance.sample(phases[min(number + 1, 2)], 2)
            tasks = [*phase, *chance.choices(phase, k=3), *early]
            chance.shuffle(tasks)
            for name, action in tasks:
                self.task(name, chance.randrange(2), action)
        for name in chance.sample(NAMES, chance.choice((2, len(NAMES)))):
            self.task(name, chance.randrange(2), "apply", height)

    @rule(
        name=st.sampled_from(NAMES), twin=st.integers(0, 1), action=st.sampled_from(["propose", "prepare", "confirm"])
    )
    def step(self, name: str, twin: int, action: str) -> None:
        self.task(name, twin, action)

    @rule(name=st.sampled_from(NAMES), twin=st.integers(0, 1), height=st.integers(1, 4))
    def apply(self, name: str, twin: int, height: int) -> None:
        self.task(name, twin, "apply", height)

    @rule(names=st.lists(st.sampled_from(VOTERS), unique=True, min_size=1), twin=st.integers(0, 1), late=st.booleans())
    def give_up(self, names: list[str], twin: int, late: bool) -> None:
        """Some give a round up: the one that stands, or one that is over."""
        place = self.workers[names[0], twin].place()
        for name in names:
            self.task(name, twin, "time_out", *((place[0], 0) if late else place))

    @precondition(lambda self: self.run)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """Tasks of before run once more, in another order, by either worker."""
        for name, action, arguments in data.draw(st.lists(st.sampled_from(self.run), max_size=6)):
            self.task(name, data.draw(st.integers(0, 1)), action, *arguments)

    @rule(name=st.sampled_from(NAMES), twin=st.integers(0, 1))
    def restart(self, name: str, twin: int) -> None:
        """A worker is killed between two tasks; the next one knows only what is stored."""
        self.workers[name, twin] = self.open(name)

    def task(self, name: str, twin: int, action: str, *arguments: int) -> None:
        self.region.clock.now += 10
        with suppress(Refused, Behind):  # the task fails; Airflow may try it again
            getattr(self.workers[name, twin], action)(*arguments)
        self.run.append((name, action, arguments))

    # --- what holds --------------------------------------------------------------------------------------------

    @invariant()
    def nobody_signed_two_ways(self) -> None:
        exchange = self.region.exchange
        for height in range(1, 9):
            for round_ in range(4):
                for type_ in (PREPARE, COMMIT, TIMEOUT):
                    found = [Vote.decode(one) for one in exchange.votes(height, round_, type_)]
                    assert len(found) == len({one.voter for one in found})
                shown = [Proposal.decode(one) for one in exchange.proposals(height, round_)]
                assert len(shown) == len({one.producer for one in shown})

    @invariant()
    def no_two_blocks_of_one_height(self) -> None:
        heads: dict[int, set[bytes]] = {}
        for name in NAMES:
            head = self.workers[name, 0].node.replica.view.head  # type: ignore[attr-defined]
            heads.setdefault(head.height, set()).add(head.block_id)
        assert all(len(found) == 1 for found in heads.values())

    @invariant()
    def no_vote_store_goes_back_and_no_key_is_halted(self) -> None:
        for name in VOTERS:
            votes = self.workers[name, 0].node._pen.votes  # type: ignore[attr-defined]
            last, before = votes.last(self.region.genesis.chain_id), self.lasts.get(name)
            assert before is None or (last is not None and last >= before)
            assert votes.halted() is None
            self.lasts[name] = last

    def settle(self) -> None:
        """Left alone, everything offered becomes final once or lapses, everywhere alike."""
        carriers = [self.workers[name, 0] for name in NAMES]
        for _ in range(12):
            self.region.clock.now += 10
            for one in carriers:
                one.place()
            try:
                if carry_block(carriers) is None and not any(self.waits(one) for one in carriers):
                    break
            except (Refused, Behind):
                height, round_ = max(one.place() for one in carriers)
                for name in VOTERS:
                    self.task(name, 0, "time_out", height, round_)
        heads = {one.node.replica.view.head.block_id for one in carriers}  # type: ignore[attr-defined]
        assert len(heads) == 1
        for tx in self.offered:
            assert len({carriers[place].node.fate(tx) for place in range(len(carriers))}) == 1
        assert (carriers[0].node.height > 0) == bool(self.offered)
        assert self.region.open(NAMES[-1]).verify_chain().ok

    def waits(self, carrier: Carrier) -> bool:
        fates = (carrier.node.fate(tx) for tx in self.offered)
        return any(one.height is None and not one.lapsed for one in fates)


def test_tasks_doubled_reordered_and_repeated_on_two_workers_change_nothing(
    mongo: MongoClient[dict[str, Any]],
) -> None:
    RepeatedTasks.mongo = staticmethod(lambda: mongo)  # type: ignore[assignment]
    RepeatedTasks.ends = []
    run_state_machine_as_test(
        RepeatedTasks,
        settings=settings(
            max_examples=3,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(RepeatedTasks.ends) >= 3
    assert sum(blocks for blocks, _ in RepeatedTasks.ends) >= 3
    assert sum(tasks for _, tasks in RepeatedTasks.ends) >= 50
