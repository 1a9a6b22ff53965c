"""Entries a second through batch, block, verification by four validators and CommitQC; milliseconds to verify a proof.

    python benchmarks/ledger_speed.py [--entries 1000 10000 100000] [--quick]

The region of region.yaml on a real mongod: every institution has its own replica, key and vote store. One producer
signs a batch of N sealed records and makes the block of it; the four other voters execute it again from the leaves,
read their sample of envelopes back and sign; all five commit to the PrepareQC; the CommitQC is made. All of it happens
in one process, one institution after the other: in a region they verify side by side. Applying the final block to the
six replicas is timed beside it. Prints the tables and writes bench-results/ledger_speed.json.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from fresh_region import fresh_region
from report import options, table, write
from spent import Spent, spending

from dags.steps.site import Site
from ledger.node import Node
from ledger.proof import verify_proof
from ledger.proposal import Proposal
from ledger.proving import prove
from schemas.records import Entry
from shangmi import sm3

#: An envelope of the size that the vault gives a laboratory value.
ENVELOPE_BYTES = 800
PARTS = ("batch", "block", "verify", "votes", "apply")
#: Parts that lead to the CommitQC.
TO_COMMIT = PARTS[:-1]


class Consortium:
    """Every node of the region, driven by one hand; ``spent`` grows part by part."""

    def __init__(self, at: Site, mongod: int) -> None:
        self.at = at
        self.nodes = [at.node(one.id) for one in at.region.institutions]
        self.voters = [one for one in self.nodes if one.is_voter]
        self.spent = {part: Spent() for part in PARTS}
        self._mongod = mongod
        self._random = random.Random(20261101)

    def producer(self) -> Node:
        """Return whose turn it is."""
        wanted = self.nodes[0].producer()
        return next(one for one in self.nodes if one.institution == wanted)

    def seal(self, institution: str, count: int) -> list[Entry]:
        """Return entries of records that lie in the institution's vault for validators to read back."""
        documents, made = [], []
        for _ in range(count):
            rid, envelope = self._random.randbytes(16), self._random.randbytes(ENVELOPE_BYTES)
            locator = f"{rid.hex()}.1"
            documents.append({"_id": locator, "envelope": envelope})
            commit, summary = self._random.randbytes(32), self._random.randbytes(32)
            made.append(Entry(rid, 1, sm3(envelope), commit, summary, len(envelope), 14, locator))
        self.at.client[f"xinglin_{institution}"]["records"].insert_many(documents, ordered=False)
        return made

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what the body costs to a part."""
        with spending(self._mongod) as spent:
            yield
        total = self.spent[name]
        total.wall += spent.wall
        total.cpu += spent.cpu
        total.mongod += spent.mongod

    def decide(self, entries: list[Entry]) -> bytes:
        """Take entries from batch to final block; return the leaves as they were signed."""
        producer = self.producer()
        others = [one for one in self.voters if one is not producer]
        with self.part("batch"):
            batch = producer.submit(entries, producer.next_seq(), "records")
        with self.part("block"):
            proposal = producer.propose([(batch.tx, batch.leaves)])
            assert proposal is not None
        with self.part("verify"):
            prepares = [one.prepare(proposal) for one in others]
        with self.part("votes"):
            prepares.append(producer.prepare(proposal))
            prepare_qc = producer.assemble_prepare(prepares)
            assert prepare_qc is not None
            commits = [one.commit(prepare_qc, proposal) for one in self.voters]
            commit_qc = producer.assemble_commit(commits)
            assert commit_qc is not None
        with self.part("apply"):
            opened = Proposal.decode(proposal)
            for one in self.nodes:
                one.apply(opened.block, commit_qc, opened.bodies)
        return batch.leaves


def measure(count: int, blocks: int, proofs: int) -> dict[str, Any]:
    """Return the report of one size: ``blocks`` blocks of ``count`` entries, then proofs of records of theirs."""
    with fresh_region() as region:
        at = Site(region.home)
        consortium = Consortium(at, region.mongod)
        consortium.decide(consortium.seal(consortium.producer().institution, 10))  # loads what the first block loads
        consortium.spent = {part: Spent() for part in PARTS}
        held: list[tuple[str, Entry]] = []
        for _ in range(blocks):
            publisher = consortium.producer().institution
            entries = consortium.seal(publisher, count)
            consortium.decide(entries)
            held += [(publisher, one) for one in entries]
        chosen = random.Random(1).sample(held, min(proofs, len(held)))
        proving = prove_and_verify(at, chosen)
        at.client.close()
    return {"entries": count, "blocks": blocks, **figures(consortium.spent, count * blocks), "proofs": proving}


def figures(spent: dict[str, Spent], entries: int) -> dict[str, Any]:
    """Return what the parts come to."""
    wall = sum(spent[part].wall for part in TO_COMMIT)
    work = sum(spent[part].work for part in TO_COMMIT)
    return {
        "entries_per_second": round(entries / wall),
        "entries_per_cpu_second": round(entries / work),
        "entries_per_second_applied": round(entries / (wall + spent["apply"].wall)),
        "share": {part: round(spent[part].wall / wall, 3) for part in TO_COMMIT},
        "one_validator_entries_per_second": round(4 * entries / spent["verify"].wall),
        "parts": {part: one.figures() for part, one in spent.items()},
    }


def prove_and_verify(at: Site, records: list[tuple[str, Entry]]) -> dict[str, Any]:
    """Make a proof file of each record from the auditor's replica, and verify it as an offline reader would."""
    replica, anchor = at.node("health-commission").replica, at.home.anchor.read_bytes()
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
    print("batch -> block -> four validators' full verification -> CommitQC of five voters; one process, real mongod")
    speed = {
        "entries a block": "entries", "blocks": "blocks", "entries/s": "entries_per_second",
        "entries/CPU s": "entries_per_cpu_second", "with 6 applied": "entries_per_second_applied",
        "one validator/s": "one_validator_entries_per_second",
    }  # fmt: skip
    rows = [
        [*(one[name] for name in speed.values()), *(f"{one['share'][part]:.0%}" for part in TO_COMMIT)] for one in sizes
    ]
    print(table((*speed, *TO_COMMIT), rows), "\n")
    for one in sizes:
        parts = [(part, cost["wall"], cost["cpu"], cost["mongod"]) for part, cost in one["parts"].items()]
        print(f"{one['blocks']} blocks of {one['entries']:,}")
        print(table(("part", "wall s", "our CPU s", "mongod CPU s"), parts), "\n")
    print("one proof file with its envelope, median")
    proof = {
        "files": "number", "verify ms": "verify_ms", "slowest ms": "verify_ms_slowest", "make ms": "prove_ms",
        "bytes": "bytes",
    }  # fmt: skip
    rows = [[one["entries"], *(one["proofs"][name] for name in proof.values())] for one in sizes]
    print(table(("entries a block", *proof), rows))


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--entries", type=int, nargs="+", help="entries in a block (1000 10000 100000)")
    parser.add_argument("--proofs", type=int, help="proof files of each size (200; fewer of blocks above 10,000)")
    chosen = parser.parse_args()
    counts = chosen.entries or ([100, 1_000] if chosen.quick else [1_000, 10_000, 100_000])
    sizes = []
    for count in counts:
        # Small blocks are many, since one takes no longer than the noise; a large one is enough twice.
        blocks = 1 if chosen.quick else max(2, min(10, 50_000 // count))
        # Making a proof reads all leaves of its batch.
        proofs = chosen.proofs or (20 if chosen.quick else min(200, 2_000_000 // count))
        sizes.append(measure(count, blocks, proofs))
    report = {"sizes": sizes, "quick": chosen.quick}
    show(report)
    write(chosen.results, "ledger_speed", report)


if __name__ == "__main__":
    main()
