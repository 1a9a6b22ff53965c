"""Every record of the chain looked for where its owner keeps it: that the chain holds says nothing of the vault."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.replica import Replica
from ledger.chain.sampling import EnvelopeSource, check_envelope, locator
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.errors import Refused

#: Faults that a report names; all are counted.
NAMED: Final = 20


@dataclass(slots=True)
class StorageReport:
    """What looking at one institution's stored envelopes found.

    Attributes:
        entries: Records looked for.
        wrong: How many are missing or not the ones that were signed.
        faults: The first of them, each by its locator and what is wrong.
    """

    entries: int = 0
    wrong: int = 0
    faults: list[str] = field(default_factory=list)


def check_storage(
    replica: Replica,
    source: EnvelopeSource,
    institutions: Collection[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, StorageReport]:
    """Return, by institution, what its store holds of what this replica's blocks say that it does.

    Args:
        replica: A replica that was verified.
        source: Where envelopes come from; no key is needed.
        institutions: Whose store can be reached.
        progress: Told blocks done, and of how many.
    """
    names = {institution_id(name): name for name in institutions}
    reports = {name: StorageReport() for name in institutions}
    head = replica.view.head.height
    for height in range(1, head + 1):
        block = Block.decode(replica.block(height)[0])
        for tx, encoded in enumerate(block.transactions):
            opened = open_transaction(encoded)
            name = names.get(opened.submitter) if isinstance(opened, SubmitBatch) else None
            if name is not None:
                _check_batch(Leaves.decode(replica.body(height, tx)), name, source, reports[name])
        progress(height, head)
    return reports


def check_stored(replica: Replica, rid: bytes, version: int, institution: str, source: EnvelopeSource) -> None:
    """The envelope of one record is stored as it was signed.

    Raises:
        KeyError: No final block of this replica holds the record.
        Refused: It is missing, or another one.
    """
    key = rid + version.to_bytes(4, "big")
    place = replica.places(institution_id(institution), [key], replica.view.head.height)[key]
    leaf = RecordLeaf.decode(Leaves.decode(replica.body(place.height, place.tx)).record(place.leaf))
    check_envelope(source.fetch(institution, locator(leaf)), leaf, f"record {locator(leaf)}")


def _check_batch(leaves: Leaves, name: str, source: EnvelopeSource, report: StorageReport) -> None:
    for index in range(len(leaves)):
        leaf = RecordLeaf.decode(leaves.record(index))
        report.entries += 1
        try:
            check_envelope(source.fetch(name, locator(leaf)), leaf, f"record {locator(leaf)}")
        except Refused as refused:
            report.wrong += 1
            if len(report.faults) < NAMED:
                report.faults.append(str(refused))
