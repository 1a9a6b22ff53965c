"""A round is given up once its time is over by the node's own clock, whoever asks and whatever was set or restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from listening_node import served
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement import round_timer
from ledger.agreement.certificate import PREPARE, TIMEOUT, Ballot, Vote
from ledger.agreement.proposal import Proposal
from ledger.agreement.round_timer import Instant, StoredTimer, since_boot
from ledger.agreement.votes import Sight, VoteStore
from ledger.carrier import Carrier, carry_block
from ledger.credit.evidence import find_evidence
from ledger.credit.statements import Voters
from ledger.errors import Behind, Refused, TooEarly
from ledger.node import Node
from ledger.remote.client import RemoteNode
from shangmi import PrivateKey

pytestmark = pytest.mark.mongo
HOME = "nursing-home"
EAST, WEST = "hospital-east", "hospital-west"
SECONDS = 20


@dataclass
class Machine:
    """The one machine of these tests: how long it runs, and which start of it this is."""

    boot: str = "first"
    ms: int = 1_000_000

    def __call__(self) -> Instant:
        return Instant(self.boot, self.ms)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def timed(region: RegionSimulation, machine: Machine, name: str = HOME) -> Node:
    """The node as a fresh process opens it, with its own time."""
    node = region.open(name)
    node._timer = StoredTimer(region.genesis.chain_id, node._pen.votes, machine)
    return node


def waiting(region: RegionSimulation) -> bytes:
    """A batch waits in the exchange; returns the transaction."""
    made = region.publish(EAST)
    region.exchange.post_submission(made.tx, made.leaves)
    return made.tx


def sight(region: RegionSimulation, name: str = HOME) -> Sight | None:
    return VoteStore(region.folder / f"{name}.votes").sight(region.genesis.chain_id)


def given_up(region: RegionSimulation, round_: int = 0) -> list[int]:
    """The rounds of the votes in the exchange that give this round of height 1 up."""
    return [Vote.decode(vote).ballot.round for vote in region.exchange.votes(1, round_, TIMEOUT)]


@contextmanager
def nothing_changes(region: RegionSimulation) -> Iterator[None]:
    """Votes, first sights, replicas and files are the same afterwards."""

    def stored() -> object:
        return region.snapshot(), sight(region), sorted(path.name for path in region.folder.glob("*.votes"))

    before = stored()
    yield
    assert stored() == before


def test_nobody_gives_a_round_up_before_its_time_and_nothing_changes(
    region: RegionSimulation, machine: Machine
) -> None:
    waiting(region)
    carrier = Carrier(timed(region, machine), region.exchange)
    assert carrier.place() == (1, 0)
    for passed in (0, 1, 7_000, SECONDS * 1_000 - 1):
        machine.ms = 1_000_000 + passed
        with nothing_changes(region), pytest.raises(TooEarly, match=rf"opened here {passed / 1000:g} s ago") as early:
            carrier.time_out(1, 0)
        assert early.value.milliseconds == SECONDS * 1_000 - passed
    assert not list(region.exchange.votes(1, 0, TIMEOUT))
    machine.ms = 1_000_000 + SECONDS * 1_000
    carrier.time_out(1, 0)
    (vote,) = region.exchange.votes(1, 0, TIMEOUT)
    assert Vote.decode(vote).ballot.round == 0
    machine.boot, machine.ms = "second", 0
    carrier.time_out(1, 0)
    assert list(region.exchange.votes(1, 0, TIMEOUT)) == [vote], "what was signed is given again, at any time"


def test_a_round_in_which_nothing_waits_is_not_given_up(region: RegionSimulation, machine: Machine) -> None:
    node = timed(region, machine)
    carrier = Carrier(node, region.exchange)
    ahead = region.publish("lab-centre", seq=7)
    region.exchange.post_submission(b"no transaction", b"no leaves")
    region.exchange.post_submission(ahead.tx, ahead.leaves)
    good = region.publish(EAST).tx
    forged = good[:-1] + bytes([good[-1] ^ 1])
    for _ in range(2):
        with nothing_changes(region):
            assert carrier.place() == (1, 0)
            with pytest.raises(Behind, match="nothing to decide") as refused:
                carrier.time_out(1, 0)
            assert not isinstance(refused.value, TooEarly)
            for no_reason in (forged, ahead.tx, b"", good[:-1]):
                with pytest.raises(Refused):
                    node.open_round(1, 0, no_reason)
            with pytest.raises(Behind):
                node.open_round(2, 0, good)
        machine.ms += 3_600_000
    node.open_round(1, 0, good)
    found = sight(region)
    assert found is not None and found.since_ms == machine.ms, "an hour with nothing to decide counts for nothing"


def test_what_is_final_opens_no_round(region: RegionSimulation, machine: Machine) -> None:
    tx = waiting(region)
    assert carry_block([Carrier(one, region.exchange) for one in region.nodes.values()]) == 1
    node = timed(region, machine)
    with nothing_changes(region):
        for height in (1, 2):
            with pytest.raises(Refused):
                node.open_round(height, 0, tx)


def test_evidence_alone_opens_a_round(region: RegionSimulation, machine: Machine) -> None:
    node, genesis = timed(region, machine), region.genesis
    ballots = [Ballot(PREPARE, 1, 0, genesis.epoch(1), bytes(31) + bytes([number])) for number in (1, 2)]
    signed = [
        Vote(one, region.node(WEST).id, region.keys[WEST].sign(one.signed_bytes(genesis.chain_id))) for one in ballots
    ]
    [proof] = find_evidence([one.encode() for one in signed], Voters.known_to(genesis.chain_id, node.replica.view))
    with nothing_changes(region), pytest.raises(Refused):
        node.open_round(1, 0, proof[:-1] + bytes([proof[-1] ^ 1]))
    region.exchange.post_evidence(proof)
    assert Carrier(node, region.exchange).place() == (1, 0)
    assert sight(region) == Sight(1, 0, "first", machine.ms)


def test_each_round_has_its_own_time_and_each_turn_of_all_producers_doubles_it(
    region: RegionSimulation, machine: Machine
) -> None:
    waiting(region)
    carrier = Carrier(timed(region, machine), region.exchange)
    tc: bytes | None = None
    for round_, times in enumerate((1, 1, 1, 2)):
        assert carrier.place() == (1, round_)
        machine.ms += times * SECONDS * 1_000 - 1
        with nothing_changes(region), pytest.raises(TooEarly):
            carrier.time_out(1, round_)
        machine.ms += 1
        carrier.time_out(1, round_)
        tc = region.time_out(round_, [one for one in region.voters if one != HOME], tc)
        region.exchange.post_certificate(1, round_, TIMEOUT, tc)
    assert sight(region) == Sight(1, 3, "first", machine.ms - 2 * SECONDS * 1_000)


def test_a_round_above_the_first_is_opened_by_its_certificate_alone(region: RegionSimulation, machine: Machine) -> None:
    node, tx = timed(region, machine), waiting(region)
    tc = region.time_out(0, [one for one in region.voters if one != HOME])
    with nothing_changes(region):
        for wrong in (tx, b"", tc[:-1], tc[:60] + bytes([tc[60] ^ 1]) + tc[61:]):
            with pytest.raises(Refused):
                node.open_round(1, 1, wrong)
        with pytest.raises(Refused):
            node.open_round(1, 2, tc)
    node.open_round(1, 1, tc)
    with pytest.raises(TooEarly):
        node.timeout(1, 1, tc)


def test_more_than_a_third_that_gave_the_round_up_end_the_wait(region: RegionSimulation, machine: Machine) -> None:
    waiting(region)
    node = timed(region, machine)
    Carrier(node, region.exchange).place()
    east, west, district = (region.node(one).timeout(1, 0) for one in (EAST, WEST, "hospital-district"))
    auditor = region.node(AUDITOR)
    spoilt = [replace(Vote.decode(west), signature=bytes(64)).encode(), b"no vote"]
    other = Ballot(TIMEOUT, 2, 0, 0, bytes(32))
    ahead = Vote(other, region.node(WEST).id, region.keys[WEST].sign(other.signed_bytes(region.genesis.chain_id)))
    stranger = replace(Vote.decode(west), signature=PrivateKey.generate().sign(b"x")).encode()
    own = replace(Vote.decode(west), voter=auditor.id).encode()
    for few in ([], [east], [east] * 9, [east, *spoilt], [east, ahead.encode()], [east, stranger, own]):
        with nothing_changes(region), pytest.raises(TooEarly):
            node.timeout(1, 0, None, few)  # 3 of 12 votes at most: an honest one need not be among them
    assert Vote.decode(node.timeout(1, 0, None, [east, district])).ballot.round == 0


def test_a_later_round_given_up_by_more_than_a_third_ends_the_wait_too(
    region: RegionSimulation, machine: Machine
) -> None:
    waiting(region)
    carrier = Carrier(timed(region, machine), region.exchange)
    carrier.place()
    tc = region.time_out(0, [one for one in region.voters if one != HOME])
    for name in (EAST, WEST):
        region.exchange.post_vote(1, 1, TIMEOUT, region.node(name).timeout(1, 1, tc))
    assert carrier.place() == (1, 0), "its certificate is not in the exchange"
    carrier.time_out(1, 0)
    assert given_up(region) == [0]


@pytest.mark.parametrize("turn", [-86_400_000, 86_400_000])
def test_a_wall_clock_set_by_hand_moves_nothing(region: RegionSimulation, machine: Machine, turn: int) -> None:
    waiting(region)
    carrier = Carrier(timed(region, machine), region.exchange)
    carrier.place()
    region.clock.now += turn
    machine.ms += SECONDS * 1_000 - 1
    with nothing_changes(region), pytest.raises(TooEarly):
        carrier.time_out(1, 0)
    machine.ms += 1
    carrier.time_out(1, 0)
    assert given_up(region) == [0]


def test_a_machine_started_anew_counts_anew(region: RegionSimulation, machine: Machine) -> None:
    waiting(region)
    Carrier(timed(region, machine), region.exchange).place()
    for boot, ms in (("second", 99_000_000), ("third", 5), ("third", 4)):
        machine.boot, machine.ms = boot, ms
        carrier = Carrier(timed(region, machine), region.exchange)
        with pytest.raises(TooEarly) as early:
            carrier.time_out(1, 0)
        assert early.value.milliseconds == SECONDS * 1_000
        assert sight(region) == Sight(1, 0, boot, ms)


def test_a_node_that_lives_for_one_task_remembers_since_when(region: RegionSimulation, machine: Machine) -> None:
    waiting(region)
    for _ in range(SECONDS):
        Carrier(timed(region, machine), region.exchange).place()
        machine.ms += 1_000
    assert sight(region) == Sight(1, 0, "first", 1_000_000)
    Carrier(timed(region, machine), region.exchange).time_out(1, 0)
    assert given_up(region) == [0]


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.agreement import votes
store = votes.VoteStore(Path(sys.argv[1]))
if sys.argv[2] == "within":
    real = votes._sight
    def killed(*about):
        store._connection.execute("REPLACE INTO seen VALUES (?, 1, 0, 'first', 7)", about[1:])
        os.kill(os.getpid(), signal.SIGKILL)
    votes._sight = killed
store.see(bytes.fromhex(sys.argv[3]), votes.Sight(1, 0, "first", 7))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "since"), [("within", 1_000_000), ("after", 7)])
def test_killed_over_its_first_sight_it_has_seen_the_round_or_not(
    region: RegionSimulation, machine: Machine, when: str, since: int
) -> None:
    waiting(region)
    arguments = [str(region.folder / f"{HOME}.votes"), when, region.genesis.chain_id.hex()]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    carrier = Carrier(timed(region, machine), region.exchange)
    carrier.place()
    assert sight(region) == Sight(1, 0, "first", since)
    machine.ms = since + SECONDS * 1_000
    carrier.time_out(1, 0)
    assert given_up(region) == [0]


def test_a_vote_store_made_before_rounds_had_a_time_takes_them_up(tmp_path: Path) -> None:
    path, chain = tmp_path / "votes.sqlite", bytes(32)
    votes = VoteStore.create(path, PrivateKey.generate().public)
    assert votes.sight(chain) is None
    votes.see(chain, Sight(4, 1, "b", 10))
    for older in (Sight(4, 0, "b", 50), Sight(3, 9, "c", 50), Sight(4, 1, "b", 50)):
        votes.see(chain, older)
        assert votes.sight(chain) == Sight(4, 1, "b", 10)
    votes.see(bytes(31) + b"\1", Sight(1, 0, "b", 3))
    votes.see(chain, Sight(5, 0, "b", 60))
    assert VoteStore(path).sight(chain) == Sight(5, 0, "b", 60)


def test_the_machines_own_time_moves_forward_within_one_start() -> None:
    first, second = since_boot(), since_boot()
    assert first.boot == second.boot
    assert 0 < first.ms <= second.ms


def test_where_nobody_says_which_start_of_the_machine_it_is_time_counts_within_one_process(
    region: RegionSimulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waiting(region)
    monkeypatch.setattr(round_timer, "_BOOT_ID", tmp_path / "kept from this user")
    boots = []
    for _ in range(2):
        round_timer._boot.cache_clear()  # as in another process
        node = region.open(HOME)
        node._timer = StoredTimer(region.genesis.chain_id, node._pen.votes)
        for _ in range(2):
            with pytest.raises(TooEarly):
                Carrier(node, region.exchange).time_out(1, 0)
            found = sight(region)
            assert found is not None
            boots.append(found.boot)
    round_timer._boot.cache_clear()
    assert boots[0] == boots[1] != boots[2] == boots[3]


def test_behind_their_sockets_nodes_keep_the_time_too(
    region: RegionSimulation, machine: Machine, tmp_path: Path
) -> None:
    """Those who carry are not asked how late it is; a dead producer still costs one round."""
    dead = region.producer().institution
    waiting(region)
    with ExitStack() as stack:
        remotes: dict[str, RemoteNode] = {}
        for place, name in enumerate(one for one in region.nodes if one != dead):
            node = region.node(name) if name == AUDITOR else timed(region, machine, name)
            remotes[name] = stack.enter_context(served(node, tmp_path / str(place) / "n.sock"))
        carriers = [Carrier(one, region.exchange) for one in remotes.values()]
        for one in carriers:
            assert one.place() == (1, 0)
        voters = [one for one in carriers if one.node.is_voter]
        for one in voters:
            with nothing_changes(region), pytest.raises(TooEarly) as early:
                one.time_out(1, 0)
            assert early.value.milliseconds == SECONDS * 1_000
        machine.ms += SECONDS * 1_000
        for one in voters:
            one.time_out(1, 0)
        assert {one.place() for one in carriers} == {(1, 1)}
        proposed = [one for one in carriers if one.propose() is not None]
        assert len(proposed) == 1
        assert Proposal.decode(next(region.exchange.proposals(1, 1))).round == 1
