"""Entries a second through batch, block, verification by 4 and 7 validators and CommitQC; where the time goes; proofs.

    python benchmarks/ledger_speed.py [--entries 1000 10000 100000] [--validators 4 7] [--quick]

A region of its own on a real mongod: every institution has its own replica, key and vote store. One producer signs a
batch of N sealed records and makes the block of it; 4 or 7 other voters execute it again from the leaves, read their
sample of envelopes back and sign; all commit to the PrepareQC; the CommitQC is made. Three figures of it:

- serial: all of it in one process, one institution after the other;
- side by side: the same validators, each in a process of its own on this machine, the rest as before;
- on machines of their own: batch, block, the slowest validator's share, the certificates: what a region waits for.

Applying the final block to all replicas is timed beside it. Prints the tables and writes
bench-results/ledger_speed.json.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from consortium import AUDITOR, Apart, Consortium, apart, described
from fresh_region import fresh_region
from parts import NAMES, Parts
from pymongo import monitoring
from report import options, table, write
from spent import Spent, spending

from dags.steps.site import Site
from ledger.agreement.proposal import Proposal
from ledger.notary import Notary
from ledger.proofs.proof import verify_proof
from ledger.proofs.proving import prove
from schemas.records import Entry

STEPS = ("batch", "block", "verify", "votes", "apply")
#: Steps that lead to the CommitQC.
TO_COMMIT = STEPS[:-1]
#: Transactions a second that Fabric's authors published (Androulaki et al., EuroSys 2018: 2,900 in its own setting).
FABRIC = 2_900
_T = TypeVar("_T")


class Measured(Consortium):
    """A consortium whose blocks are timed step by step.

    Attributes:
        spent: What each step cost.
        waited: Seconds to the CommitQC where every validator has a machine of its own: of each step the slowest.
        parts: Where the time to the CommitQC went.
    """

    def __init__(self, at: Site, mongod: int, parts: Parts) -> None:
        super().__init__(at)
        self.parts = parts
        self._mongod = mongod
        self.begin()

    def begin(self) -> None:
        """Nothing was measured yet."""
        self.spent = {step: Spent() for step in STEPS}
        self.waited = 0.0
        self.parts.seconds.clear()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add what the body costs to a step."""
        with spending(self._mongod) as spent:
            yield
        total = self.spent[name]
        total.wall += spent.wall
        total.cpu += spent.cpu
        total.mongod += spent.mongod

    def decide(self, entries: list[Entry], validators: Apart | None = None) -> None:
        """Take entries from batch to final block; the validators verify in this process, or apart."""
        producer = self.producer()
        others = [one for one in self.voters if one is not producer]
        with self.parts.watching():
            with self.step("batch"):
                batch = self._alone(lambda: producer.submit(entries, producer.next_seq(), "records"))
            with self.step("block"):
                proposal = self._alone(lambda: producer.propose([(batch.tx, batch.leaves)]))
                assert proposal is not None
            with self.step("verify"):
                if validators is None:
                    prepares = self._each(others, lambda one: one.prepare(proposal))
                else:
                    prepares = validators.prepare([one.institution for one in others], proposal)
            with self.step("votes"):
                prepares.append(self._alone(lambda: producer.prepare(proposal)))
                prepare_qc = self._alone(lambda: producer.assemble_prepare(prepares))
                assert prepare_qc is not None
                commits = self._each(self.voters, lambda one: one.commit(prepare_qc, proposal))
                commit_qc = self._alone(lambda: producer.assemble_commit(commits))
                assert commit_qc is not None
        with self.step("apply"):
            opened = Proposal.decode(proposal)
            for one in self.nodes:
                one.apply(opened.block, commit_qc, opened.bodies)

    def _alone(self, do: Callable[[], _T]) -> _T:
        begun = time.perf_counter()
        given = do()
        self.waited += time.perf_counter() - begun
        return given

    def _each(self, nodes: list[Notary], do: Callable[[Notary], bytes]) -> list[bytes]:
        """Return what each node gives, one after the other; the slowest is waited for."""
        given, slowest = [], 0.0
        for one in nodes:
            begun = time.perf_counter()
            given.append(do(one))
            slowest = max(slowest, time.perf_counter() - begun)
        self.waited += slowest
        return given


def measure(validators: int, count: int, blocks: int, proofs: int, parts: Parts) -> dict[str, Any]:
    """Return the report of one size: ``blocks`` blocks of ``count`` entries, then proofs of records of theirs."""
    with fresh_region(described(validators + 1)) as region:
        at = Site(region.home)
        consortium = Measured(at, region.mongod, parts)
        for _ in range(3):  # each producer's turn once: loads what the first block loads
            consortium.decide(consortium.seal(consortium.producer().institution, 10))
        consortium.begin()
        held = decide(consortium, count, blocks)
        report = {**figures(consortium, count * blocks, validators), "work": parts.shares()}
        proving = prove_and_verify(at, random.Random(1).sample(held, min(proofs, len(held))))
        beside = side_by_side(consortium, count, blocks)
        at.client.close()
    return {
        "validators": validators, "entries": count, "blocks": blocks, **report,
        "entries_per_second_side_by_side": beside, "proofs": proving,
    }  # fmt: skip


def decide(consortium: Measured, count: int, blocks: int, validators: Apart | None = None) -> list[tuple[str, Entry]]:
    """Make blocks; return each record with its publisher."""
    held: list[tuple[str, Entry]] = []
    for _ in range(blocks):
        publisher = consortium.producer().institution
        entries = consortium.seal(publisher, count)
        consortium.decide(entries, validators)
        held += [(publisher, one) for one in entries]
    return held


def side_by_side(consortium: Measured, count: int, blocks: int) -> int:
    """Return entries a second to the CommitQC with every validator in a process of its own on this machine."""
    with apart([one.institution for one in consortium.voters]) as validators:
        decide(consortium, min(count, 10), 3, validators)
        consortium.begin()
        decide(consortium, count, blocks, validators)
    return round(count * blocks / sum(consortium.spent[step].wall for step in TO_COMMIT))


def figures(consortium: Measured, entries: int, validators: int) -> dict[str, Any]:
    """Return what the steps come to."""
    spent = consortium.spent
    wall = sum(spent[step].wall for step in TO_COMMIT)
    work = sum(spent[step].work for step in TO_COMMIT)
    return {
        "entries_per_second": round(entries / wall),
        "entries_per_second_own_machines": round(entries / consortium.waited),
        "times_fabric": round(entries / consortium.waited / FABRIC, 1),
        "entries_per_cpu_second": round(entries / work),
        "entries_per_second_applied": round(entries / (wall + spent["apply"].wall)),
        "share": {step: round(spent[step].wall / wall, 3) for step in TO_COMMIT},
        "one_validator_entries_per_second": round(validators * entries / spent["verify"].wall),
        "parts": {step: one.figures() for step, one in spent.items()},
    }


def prove_and_verify(at: Site, records: list[tuple[str, Entry]]) -> dict[str, Any]:
    """Make a proof file of each record from the auditor's replica, and verify it as an offline reader would."""
    replica, anchor = at.replica(AUDITOR), at.home.anchor.read_bytes()
    proving, verifying, sizes = [], [], []
    for institution, entry in records:
        envelope = at.client[f"xinglin_{institution}"]["records"].find_one({"_id": entry.locator})
        assert envelope is not None
        begun = time.perf_counter()
        proof = orjson.dumps(prove(replica, entry.rid, entry.version))
        made = time.perf_counter()
        verdict = verify_proof(proof, anchor, bytes(envelope["envelope"]))
        verifying.append(time.perf_counter() - made)
        proving.append(made - begun)
        sizes.append(len(proof))
        assert verdict.envelope
    return {
        "number": len(records),
        "verify_ms": round(1000 * statistics.median(verifying), 2),
        "verify_ms_slowest": round(1000 * max(verifying), 2),
        "prove_ms": round(1000 * statistics.median(proving), 2),
        "bytes": round(statistics.median(sizes)),
    }


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    sizes = report["sizes"]
    print("batch -> block -> full verification by other voters -> CommitQC of all: entries/s, real mongod")
    speed = {
        "validators": "validators", "entries a block": "entries", "blocks": "blocks", "serial": "entries_per_second",
        "side by side": "entries_per_second_side_by_side", "own machines": "entries_per_second_own_machines",
        "x Fabric": "times_fabric", "one validator": "one_validator_entries_per_second",
        "with all applied": "entries_per_second_applied", "a CPU second": "entries_per_cpu_second",
    }  # fmt: skip
    print(table([*speed], [[one[name] for name in speed.values()] for one in sizes]), "\n")
    print("where the time to the CommitQC goes, all institutions together")
    where = [
        [one["validators"], one["entries"], *(f"{one['share'][step]:.0%}" for step in TO_COMMIT),
         *(f"{one['work'][part]:.0%}" for part in NAMES)] for one in sizes
    ]  # fmt: skip
    print(table(("validators", "entries a block", *TO_COMMIT, *NAMES), where), "\n")
    for one in sizes:
        rows = [(step, cost["wall"], cost["cpu"], cost["mongod"]) for step, cost in one["parts"].items()]
        print(f"{one['validators']} validators, {one['blocks']} blocks of {one['entries']:,}")
        print(table(("step", "wall s", "our CPU s", "mongod CPU s"), rows), "\n")
    print("one proof file with its envelope and a signature of every voter, median")
    proof = {
        "files": "number", "verify ms": "verify_ms", "slowest ms": "verify_ms_slowest", "make ms": "prove_ms",
        "bytes": "bytes",
    }  # fmt: skip
    rows = [[one["validators"] + 1, one["entries"], *(one["proofs"][name] for name in proof.values())] for one in sizes]
    print(table(("signatures", "entries a block", *proof), rows))


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--entries", type=int, nargs="+", help="entries in a block (1000 10000 100000)")
    parser.add_argument("--validators", type=int, nargs="+", help="voters beside the producer (4 7)")
    parser.add_argument("--proofs", type=int, help="proof files of each size (200; fewer of blocks above 10,000)")
    chosen = parser.parse_args()
    counts = chosen.entries or ([100, 1_000] if chosen.quick else [1_000, 10_000, 100_000])
    parts = Parts()
    monitoring.register(parts)
    sizes = []
    for validators in chosen.validators or ([4] if chosen.quick else [4, 7]):
        for count in counts:
            # Small blocks are many, since one takes no longer than the noise; a large one is enough twice.
            blocks = 1 if chosen.quick else max(2, min(10, 50_000 // count))
            # Making a proof reads all leaves of its batch.
            proofs = chosen.proofs or (20 if chosen.quick else min(200, 2_000_000 // count))
            sizes.append(measure(validators, count, blocks, proofs, parts))
    report = {"sizes": sizes, "quick": chosen.quick}
    show(report)
    write(chosen.results, "ledger_speed", report)


if __name__ == "__main__":
    main()
