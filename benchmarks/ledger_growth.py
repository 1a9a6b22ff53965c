"""Cost of an entry on chains of 10, 1,000 and 10,000 blocks: is it flat? And how fast a new replica catches up.

    python benchmarks/ledger_growth.py [--blocks 10 1000 10000] [--quick]

Seven voters and a real mongod. To make ten thousand blocks in minutes one hand holds all keys: the producer whose turn
it is builds each block from its leaves as ever, the voters sign as ever, and the blocks go into one replica. Whenever
the chain has one of the lengths asked for, blocks of a thousand entries are measured in full: built, executed and
checked anew by a validator that did not build them, applied. The blocks in between hold ten entries each. Then a
replica that has nothing catches up from genesis: a thousand small blocks, and a few large ones. Prints the tables
and writes bench-results/ledger_growth.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from consortium import AUDITOR, Consortium, described
from fresh_region import fresh_region
from report import options, table, write
from spent import spending

from dags.steps.site import Site
from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, Ballot, Vote, qc_digest
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import VoteStore
from ledger.chain.block import Block
from ledger.chain.replica import Replica
from ledger.encoding import ZERO_DIGEST
from ledger.node import Node
from ledger.opening import VOTES_FILE, StoredEnvelopes, signing_key

VOTERS = 7
SMALL, PROBED = 10, 1_000
PROBES = 6
#: Catching up is measured on a chain of at most this length: a longer one only takes longer.
FOLLOWED = 1_000
LARGE_BLOCKS, LARGE = 12, 10_000
STEPS = ("build", "verify", "apply")


class OneHand:
    """A chain in one replica, whose voters all sign in this process."""

    def __init__(self, at: Site) -> None:
        self.records = Consortium(at)  # makes records where validators read them back
        self.replica = at.replica(AUDITOR)
        self.keys = {one.id: signing_key(at.home, one.id) for one in at.region.institutions if one.weight}
        self.nodes = {name: self._node(at, name) for name in self.keys}
        self.verifier = self._node(at, f"voter-{VOTERS}")

    def _node(self, at: Site, name: str) -> Node:
        """Return an institution's node on the one replica; the last voter's has no part in building."""
        votes = VoteStore(at.home.keys(name) / VOTES_FILE)
        envelopes = StoredEnvelopes(at.client)
        return Node(at.genesis, name, self.keys[name], self.replica, votes, envelopes, lambda: int(time.time() * 1000))

    def extend(self, count: int, *, probed: bool = False) -> dict[str, float]:
        """The chain has one block more; return the seconds of each step."""
        name = self.verifier.producer()
        producer, seconds = self.nodes[name], dict.fromkeys(STEPS, 0.0)
        batch = producer.submit(self.records.seal(name, count), producer.next_seq(), "records")
        with lasting(seconds, "build"):
            proposal = producer.propose([(batch.tx, batch.leaves)])
        assert proposal is not None
        if probed:
            with lasting(seconds, "verify"):
                self.verifier.prepare(proposal)
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        commit_qc = self._certify(block)
        with lasting(seconds, "apply"):
            producer.apply(opened.block, commit_qc, opened.bodies)
        return seconds

    def _certify(self, block: Block) -> bytes:
        header = block.header
        prepare = Ballot(PREPARE, header.height, 0, header.epoch, header.block_id, NO_ROUND, ZERO_DIGEST)
        prepare_qc = self.verifier.assemble_prepare(self._votes(prepare))
        assert prepare_qc is not None
        commit = replace(prepare, type=COMMIT, justify_round=0, justify_digest=qc_digest(prepare_qc))
        commit_qc = self.verifier.assemble_commit(self._votes(commit))
        assert commit_qc is not None
        return commit_qc

    def _votes(self, ballot: Ballot) -> list[bytes]:
        message = ballot.signed_bytes(self.replica.genesis.chain_id)
        return [Vote(ballot, self.nodes[name].id, key.sign(message)).encode() for name, key in self.keys.items()]


@contextmanager
def lasting(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the body's seconds to a step."""
    begun = time.perf_counter()
    yield
    seconds[step] += time.perf_counter() - begun


def grow(hand: OneHand, lengths: list[int], mongod: int) -> list[dict[str, Any]]:
    """Return what blocks of a thousand entries cost at each length of the chain."""
    found, begun, making = [], time.perf_counter(), 0.0
    for length in lengths:
        while hand.replica.view.head.height < length:
            hand.extend(SMALL)
        making, probes = time.perf_counter() - begun, []
        with spending(mongod) as spent:
            for _ in range(PROBES):
                probes.append(hand.extend(PROBED, probed=True))
        steps = {step: round(1e6 * statistics.median(one[step] for one in probes) / PROBED, 2) for step in STEPS}
        found.append(
            {
                "blocks": length, "entry_us": round(sum(steps.values()), 2), "steps_us": steps,
                "cpu_us": round(1e6 * spent.work / PROBES / PROBED, 2), "made_seconds": round(making, 1),
            }
        )  # fmt: skip
    return found


def catch_up(at: Site, source: Replica, name: str) -> dict[str, Any]:
    """Return how fast a replica that has nothing follows: every block executed, every signature checked."""
    view = source.view
    database = at.client[name]
    node = Node(at.genesis, AUDITOR, None, Replica(database, at.genesis), None, StoredEnvelopes(at.client), lambda: 0)
    begun = time.perf_counter()
    applied = node.sync(source)
    seconds = time.perf_counter() - begun
    assert node.height == view.head.height == applied
    entries = sum(len(piece["k"]) for name in database.list_collection_names() if name.startswith("entries_")
                  for piece in database[name].find({}, {"k": 1}))  # fmt: skip
    at.client.drop_database(name)
    return {
        "blocks": applied, "entries": entries, "seconds": round(seconds, 1),
        "blocks_per_second": round(applied / seconds, 1), "entries_per_second": round(entries / seconds),
    }  # fmt: skip


def measure(lengths: list[int], large: tuple[int, int]) -> dict[str, Any]:
    """Return the report of one long chain and one of large blocks."""
    short = [one for one in lengths if one <= FOLLOWED]
    with fresh_region(described(VOTERS)) as region:
        at = Site(region.home)
        hand = OneHand(at)
        growth = grow(hand, short, region.mongod)
        following = [catch_up(at, hand.replica, "ledger_newcomer")]
        growth += grow(hand, lengths[len(short) :], region.mongod)
        at.client.close()
    with fresh_region(described(VOTERS)) as region:
        at = Site(region.home)
        hand = OneHand(at)
        for _ in range(large[0]):
            hand.extend(large[1])
        following.append(catch_up(at, hand.replica, "ledger_newcomer"))
        at.client.close()
    first, last = growth[0], growth[-1]
    return {"growth": growth, "last_to_first": round(last["entry_us"] / first["entry_us"], 2), "catch_up": following}


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"one entry of a block of {PROBED:,}, microseconds on the wall, median; CPU is ours and mongod's")
    rows = [
        (one["blocks"], one["entry_us"], *one["steps_us"].values(), one["cpu_us"], one["made_seconds"])
        for one in report["growth"]
    ]
    print(table(("blocks in the chain", "us an entry", *STEPS, "CPU us", "s to make it"), rows))
    print(f"the longest chain's entry costs {report['last_to_first']} times the shortest's\n")
    print("a new replica from genesis to the head, everything checked")
    names = ("blocks", "entries", "seconds", "blocks_per_second", "entries_per_second")
    rows = [tuple(one[name] for name in names) for one in report["catch_up"]]
    print(table(("blocks", "entries", "s", "blocks/s", "entries/s"), rows))


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", help="lengths of the chain (10 1000 10000)")
    chosen = parser.parse_args()
    lengths = sorted(chosen.blocks or ([10, 40] if chosen.quick else [10, 1_000, 10_000]))
    large = (2, 1_000) if chosen.quick else (LARGE_BLOCKS, LARGE)
    report = {**measure(lengths, large), "quick": chosen.quick}
    show(report)
    write(chosen.results, "ledger_growth", report)


if __name__ == "__main__":
    main()
