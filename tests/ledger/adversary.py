"""All that may happen to a simulated network, step by step; whoever drives it chooses which step comes next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from agreement_invariants import Watch
from byzantine_voters import ByzantineVoters
from network_simulation import SIGNING, WRITING, InvariantBroken, Killed, NetworkSimulation, require

#: Every byzantine minority of weights 3, 3, 3, 2 and 1.
MINORITIES = ((), ("hospital-a",), ("hospital-b",), ("hospital-c",), ("hospital-d", "nursing-home"))
EVERYBODY = (1 << 16) - 1
LAST_ROUND = 5


class Adversary:
    """A network begun anew, and every step that it can take; ``Watch`` looks on.

    Numbers that steps are given choose among what there is: whatever they are, they mean something.

    Args:
        network: The network.
        byzantine: Its byzantine voters.
        linear: Whether a round's PrepareQC is its producer's to assemble.
    """

    def __init__(self, network: NetworkSimulation, byzantine: Sequence[str], *, linear: bool) -> None:
        self.network = network
        network.reset(byzantine, linear=linear)
        self.watch = Watch(network)
        self.liars = ByzantineVoters(network)

    def one(self, pick: int) -> str:
        """Return an honest voter."""
        return self.network.honest[pick % len(self.network.honest)]

    def some(self, bits: int) -> list[str]:
        """Return a subset of the honest, the auditor among them."""
        return [name for place, name in enumerate(self.network.participants) if bits >> place & 1]

    # --- steps of the honest -----------------------------------------------------------------------------------

    def propose(self) -> None:
        """Whoever has the turn proposes what waits; something always waits."""
        done = min(one.node.height for one in self.network.participants.values())
        if len(self.network.submissions) <= done:
            self.network.publish(self.one(done))
        for name in self.network.honest:
            self.network.act(name, self.network.voter(name).propose)

    def go_on(self, bits: int = EVERYBODY, most: int = 300) -> None:
        """Messages flow among some until none are left, or for a while."""
        self.propose()
        self.network.flush(self.some(bits), most=most)

    def part(self, bits: int) -> None:
        """Some hear the votes and the others never do: those are locked, these know of nothing."""
        self.propose()
        self.network.deliver_kind("proposal", self.network.participants)
        for kind in ("vote", "certificate", "vote"):
            self.network.deliver_kind(kind, self.some(bits), lose=True)

    def give_up(self, bits: int) -> None:
        """Some time their round out."""
        for name in self.some(bits):
            if name in self.network.honest and self.network.voter(name).open_round() < LAST_ROUND:
                self.network.act(name, self.network.voter(name).time_out)

    def end_round(self) -> None:
        """Everybody times out, and hears of it."""
        self.give_up(EVERYBODY)
        for kind in ("vote", "timeout certificate"):
            self.network.deliver_kind(kind, self.network.participants)

    def catch_up(self, pick: int, other: int) -> None:
        """One fetches final blocks from another, and reads again what was sent about its height."""
        one, source = self.network.voter(self.one(pick)), self.network.voter(self.one(other))
        self.network.act(one.name, lambda: one.catch_up(source))
        self.network.replay(one.name)

    # --- the network and the processes -------------------------------------------------------------------------

    def deliver_twice(self, pick: int, index: int) -> None:
        """Invariant 9: what comes again, late and out of order, changes nothing that is stored."""
        one = self.network.voter(name := self.one(pick))
        if not one.inbox:
            return
        place = index % len(one.inbox)  # of this message, whatever comes behind it in the meantime
        alive = one.votes
        self.network.deliver(name, place, keep=True)
        if one.votes is not alive:  # it died over the first; what it could not finish comes of the next
            self.network.deliver(name, place, keep=True)
        before = one.votes.dump(), one.node.height
        self.network.deliver(name, place, keep=True)
        require((one.votes.dump(), one.node.height) == before, f"{name}: a repeated message changed what is stored")

    def lose(self, pick: int, count: int) -> None:
        """Messages to one are lost."""
        del self.network.voter(self.one(pick)).inbox[: 1 + count % 8]

    def split(self, bits: int) -> None:
        """Two halves no longer hear each other; with 0 they do."""
        self.network.split({name: bits >> place & 1 for place, name in enumerate(self.network.participants)})

    def die_soon(self, pick: int, passes: int) -> None:
        """A process will be killed while it signs or while it writes a block."""
        fuse = self.network.voter(self.one(pick)).fuse
        fuse.point = (*SIGNING, WRITING)[pick // 7 % 5]
        fuse.passes = passes % 12 if fuse.point == WRITING else passes % 2

    def restart(self, pick: int) -> None:
        """A process is killed between two steps, comes back, and reads what was sent."""
        self.network.voter(self.one(pick)).survive(_die)
        self.network.replay(self.one(pick))

    # --- byzantine voters --------------------------------------------------------------------------------------

    def equivocate(self, round_: int, bits: int) -> None:
        """A byzantine producer shows two blocks, and everybody hears it."""
        self.liars.equivocate(round_ % LAST_ROUND, bits)
        self.network.deliver_kind("proposal", self.network.participants)

    def sign_everything(self, round_: int, bits: int) -> None:
        """The byzantine sign all there is and show it to some, and make certificates they show to some."""
        self.liars.prepare_everything(round_ % LAST_ROUND, self.some(bits))
        self.liars.certify(round_ % LAST_ROUND, self.some(bits >> 3))
        self.liars.commit_everything(self.some(bits >> 6))

    def lie(self, round_: int, bits: int) -> None:
        """They hide their locks, propose what is not valid, and send garbage."""
        self.liars.hide_locks(round_ % LAST_ROUND, self.some(bits))
        self.liars.lie_in_header(round_ % LAST_ROUND)
        self.liars.spoil(bits, bits * 7 + round_)

    def settle(self) -> int:
        """Return how many rounds it takes to decide the next height, from now on in synchrony and without lies.

        Messages arrive, nobody dies, timers run out together; those who are behind fetch what is final.
        """
        self.split(0)
        for name, one in self.network.participants.items():
            one.fuse.point = ""
            for other in self.network.participants.values():
                self.network.act(name, partial(one.catch_up, other))
            self.network.replay(name)
        self.network.flush()
        goal = 1 + min(one.node.height for one in self.network.participants.values())
        for rounds in range(1, 9):
            self.go_on()
            if all(one.node.height >= goal for one in self.network.participants.values()):
                return rounds
            for name in self.network.honest:
                self.network.act(name, self.network.voter(name).time_out)
            self.network.flush()
        raise InvariantBroken(f"height {goal} is not decided after {rounds} rounds in synchrony")

    # --- which steps there are ---------------------------------------------------------------------------------

    def steps(self) -> dict[str, tuple[int, Callable[[int, int], None]]]:
        """Return every step by name: how often it should come, and what it does with two numbers."""
        honest: dict[str, tuple[int, Callable[[int, int], None]]] = {
            "go on": (3, lambda _bits, _: self.go_on()),
            "go on for a while": (4, lambda bits, most: self.go_on(EVERYBODY, 1 + most % 25)),
            "some go on": (3, lambda bits, most: self.go_on(bits, 1 + most % 25)),
            "part": (4, lambda bits, _: self.part(bits)),
            "give up": (2, lambda bits, _: self.give_up(bits)),
            "end round": (3, lambda _bits, _: self.end_round()),
            "catch up": (3, self.catch_up),
            "deliver twice": (6, self.deliver_twice),
            "lose": (3, self.lose),
            "split": (1, lambda bits, _: self.split(bits)),
            "heal": (2, lambda _bits, _: self.split(0)),
            "die soon": (4, self.die_soon),
            "restart": (2, lambda pick, _: self.restart(pick)),
        }
        if self.network.byzantine:
            honest |= {
                "equivocate": (4, lambda bits, round_: self.equivocate(round_, bits)),
                "sign everything": (5, lambda bits, round_: self.sign_everything(round_, bits)),
                "lie": (3, lambda bits, round_: self.lie(round_, bits)),
            }
        return honest


def play(network: NetworkSimulation, seed: int, steps: int = 60) -> Adversary:
    """Return a network after so many steps chosen by a seed; the same seed plays the same game."""
    chance = random.Random(seed)
    adversary = Adversary(network, MINORITIES[seed % len(MINORITIES)], linear=bool(seed // len(MINORITIES) % 2))
    known = adversary.steps()
    weights = [one[0] for one in known.values()]
    for name in chance.choices([*known], weights, k=steps):
        known[name][1](chance.randrange(1 << 16), chance.randrange(1 << 16))
    return adversary


def _die() -> None:
    raise Killed
