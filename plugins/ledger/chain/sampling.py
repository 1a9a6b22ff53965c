"""The address check: a validator reads some of the announced envelopes back (section 4).

Which ones follows from block and validator, so nobody can choose them, and different validators read different ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.chain.execution import CheckedBatch
from ledger.chain.leaves import RecordLeaf
from ledger.errors import Refused
from shangmi import sm3


class EnvelopeSource(Protocol):
    """Whoever can hand over sealed envelopes; no key is needed."""

    def fetch(self, institution: str, locator: str) -> bytes | None:
        """Return the envelope an institution keeps under a locator, or None."""
        ...


def sample(seed: bytes, total: int, wanted: int) -> list[int]:
    """Return ``wanted`` different numbers below ``total`` in ascending order (all, where there are no more)."""
    if total <= wanted:
        return list(range(total))
    chosen: set[int] = set()
    counter = 0
    while len(chosen) < wanted:
        # 64 bits modulo at most a million favour no number noticeably.
        chosen.add(int.from_bytes(sm3(seed + counter.to_bytes(4, "big"))[:8], "big") % total)
        counter += 1
    return sorted(chosen)


def check_envelopes(
    batches: Sequence[CheckedBatch],
    names: Sequence[str],
    source: EnvelopeSource,
    seed: bytes,
    wanted: int,
) -> int:
    """Read envelopes back and return how many were read.

    Args:
        batches: The block's batches.
        names: Institution of each.
        source: Where envelopes come from.
        seed: SM3 of block id and validator id.
        wanted: How many to read.

    Raises:
        Refused: One is missing, or is not the one whose digest was signed. A local reason, not chain state.
    """
    ends = []
    total = 0
    for one in batches:
        total += len(one.leaves)
        ends.append(total)
    places = sample(seed, total, wanted)
    for place in places:
        index = next(i for i, end in enumerate(ends) if place < end)
        start = ends[index] - len(batches[index].leaves)
        leaf = RecordLeaf.decode(batches[index].leaves.record(place - start))
        envelope = source.fetch(names[index], locator(leaf))
        check_envelope(envelope, leaf, f"record {place - start} of batch {index}")
    return len(places)


def locator(leaf: RecordLeaf) -> str:
    """Return under which name the submitter says that it keeps the envelope."""
    return leaf.locator.decode("utf-8", "replace")


def check_envelope(envelope: bytes | None, leaf: RecordLeaf, where: str) -> None:
    """The envelope is the one that was signed.

    Raises:
        Refused: It is missing, or another one; ``where`` names it.
    """
    if envelope is None:
        raise Refused("address", "4", f"{where}: no envelope where the submitter says it lies")
    if len(envelope) != leaf.ct_len or sm3(envelope) != leaf.ct_digest:
        raise Refused("address", "4", f"{where}: the envelope stored is not the one that was signed")
