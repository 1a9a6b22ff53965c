"""A consortium of some size on a real mongod, driven by one hand: every node with its own replica, key and votes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from dags.steps.site import Site
from ledger.notary import Notary
from schemas.home import Home
from schemas.records import Entry
from shangmi import sm3

#: An envelope of the size that the vault gives a laboratory value.
ENVELOPE_BYTES = 800
AUDITOR = "auditor"
PRODUCERS = 3


def described(voters: int) -> str:
    """Return the region.yaml of a consortium: three producers, validators, an auditor, one vote each."""
    lines = [
        f"  - {{id: voter-{at}, name: 第{at}家, class: {'A' if at <= PRODUCERS else 'B'}, "
        f"role: {'producer' if at <= PRODUCERS else 'validator'}, weight: 1}}"
        for at in range(1, voters + 1)
    ]
    return "\n".join(
        ["name: 测量区", 'founded: "2026-01-01T00:00:00+08:00"', "institutions:", *lines,
         f"  - {{id: {AUDITOR}, name: 监管, class: R, role: auditor, weight: 0}}", ""]
    )  # fmt: skip


class Consortium:
    """The nodes of a region in one process."""

    def __init__(self, at: Site) -> None:
        self.at = at
        self.nodes = [at.node(one.id) for one in at.region.institutions]
        self.voters = [one for one in self.nodes if one.is_voter]
        self._random = random.Random(20261101)

    def producer(self) -> Notary:
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


def _prepare(institution: str, orders: Connection) -> None:
    """What a validator's own process does: a proposal in, its PREPARE out, until nothing comes."""
    node = Site(Home.from_environment()).node(institution)
    orders.send_bytes(b"ready")
    while proposal := orders.recv_bytes():
        orders.send_bytes(node.prepare(proposal))


class Apart:
    """Validators each in a process of its own, as they are in a region; the machine's cores are all they share."""

    def __init__(self, orders: dict[str, Connection]) -> None:
        self._orders = orders

    def prepare(self, institutions: list[str], proposal: bytes) -> list[bytes]:
        """Return these validators' PREPAREs; they verify side by side."""
        chosen = [self._orders[one] for one in institutions]
        for one in chosen:
            one.send_bytes(proposal)
        return [one.recv_bytes() for one in chosen]


@contextmanager
def apart(institutions: list[str]) -> Iterator[Apart]:
    """Yield validators in processes of their own; they have ended afterwards."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in institutions]
    workers = [
        context.Process(target=_prepare, args=(name, theirs), daemon=True)
        for name, (_, theirs) in zip(institutions, pipes, strict=True)
    ]
    for worker in workers:
        worker.start()
    try:
        ours = [mine for mine, _ in pipes]
        for one in ours:
            one.recv_bytes()
        yield Apart(dict(zip(institutions, ours, strict=True)))
        for one in ours:
            one.send_bytes(b"")
        for worker in workers:
            worker.join(30)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
