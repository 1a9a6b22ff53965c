"""A region in one process: five voters and an auditor, each with its own replica, key and vote store.

Bytes go from node to node through the test's hands, so that a test can lose, change, repeat or hold them back.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from passed_time import PassedTime
from pymongo import MongoClient

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT
from ledger.agreement.following import Receipt
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import VoteStore
from ledger.chain.execution import Execution, Terms
from ledger.chain.genesis import Genesis
from ledger.chain.replica import FinalBlock, Replica
from ledger.exchange import MemoryExchange
from ledger.node import Node
from ledger.signatory import Submission
from schemas.records import Entry
from schemas.region import Institution, Parameters, Region
from shangmi import PrivateKey, sm3

MEMBERS = (
    Institution("health-commission", "区卫生健康委员会", "R", "auditor", 0),
    Institution("hospital-district", "区第二医院", "B", "validator", 2),
    Institution("hospital-east", "东城医院", "A", "producer", 3),
    Institution("hospital-west", "西城医院", "A", "producer", 3),
    Institution("lab-centre", "区域检验中心", "A", "producer", 3),
    Institution("nursing-home", "颐年养老院", "C", "validator", 1),
)
AUDITOR = "health-commission"
START = datetime.fromisoformat("2026-11-01T00:00:00+08:00")


class Envelopes(dict[tuple[str, str], bytes]):
    """Every institution's sealed envelopes, as any validator may read them."""

    def fetch(self, institution: str, locator: str) -> bytes | None:
        return self.get((institution, locator))


@dataclass
class Clock:
    """The one clock of the simulation, milliseconds since 1970."""

    now: int = int(START.timestamp() * 1000) + 60_000

    def __call__(self) -> int:
        return self.now


class RegionSimulation:
    """The region of ``region.yaml`` with keys of its own."""

    POLICIES = b""

    def __init__(self, mongo: MongoClient[dict[str, Any]], folder: Path, name: str, **parameters: int) -> None:
        self.keys = {one.id: PrivateKey.generate() for one in MEMBERS}
        self.region = Region("杏林示范区", START, MEMBERS, Parameters(**parameters))
        keys = {one: key.public for one, key in self.keys.items()}
        self.genesis = Genesis.from_region(self.region, keys, self.POLICIES)
        self.clock = Clock()
        self.envelopes = Envelopes()
        self.exchange = MemoryExchange()
        self.random = random.Random(20261101)
        self.mongo, self.folder, self.name = mongo, folder, name
        self.nodes: dict[str, Node] = {}
        for one in MEMBERS:
            VoteStore.create(folder / f"{one.id}.votes", self.keys[one.id].public).close()
        with ThreadPoolExecutor(len(MEMBERS)) as pool:
            self.nodes.update(pool.map(lambda one: (one.id, self.open(one.id)), MEMBERS))

    def database_name(self, institution: str) -> str:
        return f"{self.name}_{institution}"

    def open(self, institution: str, key: Any = None) -> Node:
        """A node as a fresh process would open it: from database, key and vote store alone."""
        return Node(
            self.genesis,
            institution,
            key or self.keys[institution],
            Replica(self.mongo[self.database_name(institution)], self.genesis),
            VoteStore(self.folder / f"{institution}.votes"),
            self.envelopes,
            self.clock,
            PassedTime(),
        )

    def close(self) -> None:
        with ThreadPoolExecutor(len(MEMBERS)) as pool:
            list(pool.map(lambda one: self.mongo.drop_database(self.database_name(one.id)), MEMBERS))

    @property
    def voters(self) -> list[str]:
        """Voters in the order of certificates."""
        return [self.genesis.institution(one.id) for one in self.genesis.validators.voters]

    def node(self, institution: str) -> Node:
        return self.nodes[institution]

    def producer(self, round_: int = 0) -> Node:
        any_node = self.nodes[AUDITOR]
        return self.nodes[any_node.producer(round_)]

    def execution(self, producer: Node | None = None, round_: int = 0) -> Execution:
        """The empty next block as this producer would build it now."""
        builder = producer or self.producer(round_)
        view = builder.replica.view
        return Execution(self.genesis, view, Terms(view.commit_qc, builder.id, round_, self.clock()))

    def entries(self, institution: str, count: int) -> list[Entry]:
        """Freshly sealed records whose envelopes lie where validators can read them."""
        made = []
        for _ in range(count):
            rid, envelope = self.random.randbytes(16), self.random.randbytes(40)
            locator = rid.hex()
            self.envelopes[institution, locator] = envelope
            digests = self.random.randbytes(32), bytes(32)
            made.append(Entry(rid, 1, sm3(envelope), *digests, len(envelope), 14, locator))
        return made

    def publish(self, institution: str, count: int = 3, seq: int | None = None) -> Submission:
        node = self.node(institution)
        return node.submit(self.entries(institution, count), seq or node.next_seq(), f"vault of {institution}")

    def proposal(self, *submissions: Submission, round_: int = 0, tc: bytes | None = None) -> bytes:
        found = self.producer(round_).propose([(one.tx, one.leaves) for one in submissions], round_, tc)
        assert found is not None
        return found

    def prepare_qc(self, proposal: bytes, who: Iterable[str] | None = None) -> bytes:
        votes = [self.node(one).prepare(proposal) for one in who or self.voters]
        found = self.node(AUDITOR).assemble_prepare(votes)
        assert found is not None
        return found

    def commit_qc(self, prepare_qc: bytes, proposal: bytes, who: Iterable[str] | None = None) -> bytes:
        votes = [self.node(one).commit(prepare_qc, proposal) for one in who or self.voters]
        found = self.node(AUDITOR).assemble_commit(votes)
        assert found is not None
        return found

    def finish(self, proposal: bytes, absent: Collection[str] = ()) -> FinalBlock:
        """Both voting phases and every present node's apply."""
        present = [one for one in self.voters if one not in absent]
        commit_qc = self.commit_qc(self.prepare_qc(proposal, present), proposal, present)
        opened = Proposal.decode(proposal)
        final = FinalBlock(opened.block, commit_qc, opened.bodies)
        for name, node in self.nodes.items():
            if name not in absent:
                node.apply(final.block, final.commit_qc, final.bodies)
        self.clock.now += 1_000
        return final

    def grow(self, blocks: int = 1, count: int = 3, absent: Collection[str] = ()) -> list[FinalBlock]:
        """Blocks made by whoever's turn it is, one batch of the producer's in each."""
        made = []
        for _ in range(blocks):
            submission = self.publish(self.producer().institution, count)
            made.append(self.finish(self.proposal(submission), absent))
        return made

    def time_out(self, round_: int = 0, who: Iterable[str] | None = None, tc: bytes | None = None) -> bytes:
        """The timeout certificate of a round of the next height."""
        height = self.node(AUDITOR).height + 1
        votes = [self.node(one).timeout(height, round_, tc) for one in who or self.voters]
        found = self.node(AUDITOR).assemble_tc(votes, height, round_)
        assert found is not None
        return found

    def snapshot(self) -> dict[str, Any]:
        """Everything every institution has stored: replicas document by document, vote stores vote by vote."""
        found: dict[str, Any] = {}
        for one in MEMBERS:
            database = self.mongo[self.database_name(one.id)]
            for collection in sorted(database.list_collection_names()):
                documents = sorted(database[collection].find(), key=lambda d: str(d["_id"]))
                if documents:
                    found[f"{one.id}/{collection}"] = documents
            votes = VoteStore(self.folder / f"{one.id}.votes")
            found[f"{one.id}/votes"] = votes.dump()
        return found


__all__ = ["AUDITOR", "COMMIT", "MEMBERS", "PREPARE", "TIMEOUT", "Receipt", "RegionSimulation"]
