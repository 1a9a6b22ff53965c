"""A region on whose chain datasets were asked for and allowed: what evidence is gathered from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

sys.path.append(str(Path(__file__).parents[1] / "ledger"))  # the region's simulation lives beside the ledger's tests

from sharing_world import SharingRegion

from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.validators import institution_id
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.node import Submission
from shangmi import sm3

HOLDER, ASKER, REGULATOR, OTHER = "hospital-east", "hospital-west", "health-commission", "lab-centre"
FILE = sm3(b"the request file")
Record = tuple[bytes, int]


class DatasetRegion(SharingRegion):
    """The simulated region, with words for a dataset's road."""

    def published(self, institution: str, *counts: int) -> list[list[Record]]:
        """Blocks with one batch each; the records of every batch."""
        found = []
        for count in counts:
            batch = self.publish(institution, count)
            self.block_of(batch)
            leaves = Leaves.decode(batch.leaves)
            opened = [RecordLeaf.decode(leaves.record(one)) for one in range(count)]
            found.append([(one.rid, one.version) for one in opened])
        return found

    def asks(self, who: str, digest: bytes, holders: Sequence[str] = (HOLDER,), most: int = 1_000) -> Submission:
        """A request for a dataset: for supervision by the regulator, for research by anybody else."""
        supervises = who == REGULATOR
        return self.sign(
            who, AccessRequest, asked=SelectionAsked(digest, most),
            holders=tuple(sorted(institution_id(one) for one in holders)),
            purpose="audit" if supervises else "research", answer_key=self.node(who).heading()["key_id"],
            ethics=bytes(32) if supervises else sm3(b"the ethics committee's document"),
        )  # fmt: skip

    def says(self, who: str, request: Submission, digest: bytes, *, approves: bool = True) -> Submission:
        reason = {} if approves else {"reason": "unclear"}
        return self.sign(who, Approval, request=request.tx_id, digest=digest, approves=approves, **reason)

    def allowed(self, who: str, digest: bytes, **more: Any) -> Submission:
        """A request that stands allowed: at once for the regulator, else with one refusal and two approvals."""
        request = self.asks(who, digest, **more)
        self.block_of(request)
        if who != REGULATOR:
            self.block_of(self.says("nursing-home", request, digest, approves=False))
            self.block_of(self.says(OTHER, request, digest))
            self.block_of(self.says(REGULATOR, request, digest))
        return request


@contextmanager
def dataset_region(mongo: MongoClient[dict[str, Any]], folder: Path, **parameters: int) -> Iterator[DatasetRegion]:
    made = DatasetRegion(mongo, folder, f"t{sm3(str(folder).encode()).hex()[:12]}", **parameters)
    try:
        yield made
    finally:
        made.close()
