"""Agreement on a network that loses, delays, doubles, reorders and splits, with crashes and byzantine voters.

``Watch`` holds invariants 1 to 5 and 11 after every step of every institution. ``XINGLIN_NIGHTLY`` is how many times as
many runs to make as in CI.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from typing import ClassVar

import pytest
from adversary import MINORITIES, Adversary, play
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from network_simulation import AUDITOR, Message, NetworkSimulation, signed_vote

from ledger.agreement.certificate import PREPARE, Ballot, Vote
from ledger.credit.contradictions import find_contradictions
from ledger.credit.statements import Voters
from ledger.errors import Refused
from shangmi import sm3

NIGHTLY = int(os.environ.get("XINGLIN_NIGHTLY", "1"))
anything = st.integers(0, 1 << 16)


class Agreement(RuleBasedStateMachine):
    """Every step, in whatever order Hypothesis finds; a kind of step may be missing from a run."""

    network: ClassVar[NetworkSimulation]
    #: How often each step was taken, over all games; and how many heights were decided, and processes died.
    taken: ClassVar[Counter[str]]
    decided: ClassVar[int]
    died: ClassVar[int]
    HONEST = ("go on", "go on for a while", "some go on", "part", "give up", "end round", "catch up")
    NETWORK = ("deliver twice", "lose", "split", "heal")
    PROCESSES = ("die soon", "restart")
    BYZANTINE = ("equivocate", "sign everything", "lie")

    @initialize(byzantine=st.sampled_from(MINORITIES), linear=st.booleans())
    def begin(self, byzantine: tuple[str, ...], linear: bool) -> None:
        self.steps = Adversary(self.network, byzantine, linear=linear).steps()

    def do(self, step: str, one: int, other: int) -> None:
        if step in self.steps:
            living = [each.votes for each in self.network.participants.values()]
            self.steps[step][1](one, other)
            type(self).taken[step] += 1
            now = [each.votes for each in self.network.participants.values()]
            type(self).died += sum(old is not new for old, new in zip(living, now, strict=True))

    def teardown(self) -> None:
        type(self).decided += max(one.node.height for one in self.network.participants.values())

    @rule(step=st.sampled_from(HONEST), one=anything, other=anything)
    def honest(self, step: str, one: int, other: int) -> None:
        self.do(step, one, other)

    @rule(step=st.sampled_from(NETWORK), one=anything, other=anything)
    def connection(self, step: str, one: int, other: int) -> None:
        self.do(step, one, other)

    @rule(step=st.sampled_from(PROCESSES), one=anything, other=anything)
    def process(self, step: str, one: int, other: int) -> None:
        self.do(step, one, other)

    @rule(step=st.sampled_from(BYZANTINE), one=anything, other=anything)
    def byzantine(self, step: str, one: int, other: int) -> None:
        self.do(step, one, other)


def test_no_order_of_messages_crashes_and_lies_breaks_an_invariant(network: NetworkSimulation) -> None:
    Agreement.network, Agreement.taken, Agreement.decided, Agreement.died = network, Counter(), 0, 0
    run_state_machine_as_test(
        Agreement,
        settings=settings(
            max_examples=20 * NIGHTLY,
            stateful_step_count=40,
            phases=[Phase.generate] if NIGHTLY == 1 else [Phase.generate, Phase.shrink],
            derandomize=NIGHTLY == 1,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    steps = {*Agreement.HONEST, *Agreement.NETWORK, *Agreement.PROCESSES, *Agreement.BYZANTINE}
    assert Agreement.taken.keys() == steps
    assert Agreement.decided >= 3 * NIGHTLY
    assert Agreement.died > Agreement.taken["restart"]  # some died in the middle of a step


@pytest.mark.parametrize("seed", range(10))
def test_no_game_against_a_byzantine_minority_breaks_an_invariant(network: NetworkSimulation, seed: int) -> None:
    for number in range(NIGHTLY):
        played = play(network, seed + 10 * number)
        assert played.watch.moves
        check_evidence(network)


def check_evidence(network: NetworkSimulation) -> set[str]:
    """Return whom evidence convicts; invariant 8: everyone who was ever heard to sign two ways, and nobody honest."""
    view = network.participants[AUDITOR].node.replica.view
    voters = Voters.known_to(network.genesis.chain_id, view)
    said = [one.data for one in network.sent]
    found = {view.name(one.institution) for _, one, _ in find_contradictions(said, voters)}
    assert found <= set(network.byzantine), f"an honest voter is convicted: {found}"
    assert liars_in(network) <= found
    return found


def liars_in(network: NetworkSimulation) -> set[str]:
    """Who voted two ways in one place, in the plainest words: two good votes of one kind, height and round."""
    places: dict[tuple[bytes, int, int, int], set[bytes]] = defaultdict(set)
    for one in network.sent:
        with contextlib.suppress(Refused):
            vote = Vote.decode(one.data) if one.kind == "vote" else None
            if vote is not None:
                vote.verify(network.genesis.chain_id, network.genesis.validators)
                ballot = vote.ballot
                places[vote.voter, ballot.type, ballot.height, ballot.round].add(ballot.encode())
    return {network.genesis.institution(voter) for (voter, *_), said in places.items() if len(said) > 1}


def test_games_do_convict(network: NetworkSimulation) -> None:
    """The check above is not empty: some games are against voters who sign two ways."""
    play(network, 1)
    assert liars_in(network)
    check_evidence(network)


def test_a_vote_of_a_height_beyond_all_epochs_stops_no_search_for_evidence(network: NetworkSimulation) -> None:
    network.reset()
    for height in (2**32, 2**63, 2**64 - 1):
        ballot = Ballot(PREPARE, height, 0, 0, sm3(b"a block"))
        vote = signed_vote(network.genesis, "hospital-a", network.keys["hospital-a"], ballot)
        network.send("hospital-a", Message("vote", vote))
        network.voter("hospital-b").node.observe([vote])
    assert check_evidence(network) == set()


@pytest.mark.parametrize("dead", [*MINORITIES, ("hospital-d",), ("nursing-home",)])
def test_after_the_storm_a_height_is_decided_before_every_producer_had_its_turn_twice(
    network: NetworkSimulation, dead: tuple[str, ...]
) -> None:
    """Invariant 7: whatever went before, and whoever of less than a third is silent for ever."""
    adversary = Adversary(network, dead, linear=True)
    for number in range(6):
        adversary.part(number * 11)
        adversary.equivocate(number, number * 5)
        adversary.give_up(number * 23)
        adversary.lose(number, number)
    rounds = adversary.settle()
    assert rounds <= len(network.genesis.validators.producers) + 1
    assert {one.node.replica.view.head for one in network.participants.values()} == {
        network.participants["auditor"].node.replica.view.head
    }


@pytest.mark.mongo
def test_the_database_in_memory_answers_as_the_server_does(
    network: NetworkSimulation, on_server: NetworkSimulation
) -> None:
    """The same game on both ends in the same votes, refusals and blocks."""
    ends = []
    for one in (network, on_server):
        moves = play(one, 3, steps=25).watch.moves
        refused = {name: [error.rule for error in who.refusals] for name, who in one.participants.items()}
        stored = {
            (name, kind): len(list(one.database(name)[kind].find()))
            for name in one.participants
            for kind in one.database(name).list_collection_names()
        }
        ends.append((moves, refused, {key: count for key, count in stored.items() if count}))
    assert ends[0] == ends[1]
