"""Many leaves of one Merkle tree proved at once: RFC 9162's tree, every hash that is needed once (section 2).

The proof is the hashes of the largest subtrees without any chosen leaf, from left to right as the tree is taken apart.
Which those are follows from size and places alone, so that there is exactly one proof, and nothing in it to choose.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ledger.chain.merkle import DIGEST, Levels, NodeReader, node_hash, span_root


def multiproof(places: Sequence[int], size: int, node: NodeReader) -> list[bytes]:
    """Return the hashes that lead from the leaves at these places to the root.

    Args:
        places: Of the leaves, ascending, at least one.
        size: Leaves of the tree.
        node: Its complete subtrees.

    Raises:
        IndexError: Places are not ascending or not of this tree.
    """
    if not _ascending(places, size):
        raise IndexError("places are not ascending, or not of this tree")
    return list(_needed(places, 0, len(places), 0, size, node))


def _needed(places: Sequence[int], first: int, last: int, start: int, end: int, node: NodeReader) -> Iterator[bytes]:
    if first == last:
        yield span_root(start, end, node)
    elif last - first < end - start:
        middle = _middle(start, end)
        cut = bisect_left(places, middle, first, last)
        yield from _needed(places, first, cut, start, middle, node)
        yield from _needed(places, cut, last, middle, end, node)


def verify_multiproof(leaves: bytes, places: Sequence[int], size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether these leaf *hashes* stand at these places of the tree of ``size`` with ``root``.

    Args:
        leaves: The leaf hashes in order of place, joined.
        places: Ascending, one a leaf, at least one.
        size: Leaves of the tree, from a source that is trusted.
        proof: What ``multiproof`` returned: not a hash more and not a hash less.
        root: Root of the tree, likewise trusted.
    """
    if len(leaves) != DIGEST * len(places) or not _ascending(places, size) or any(len(one) != DIGEST for one in proof):
        return False
    rest = iter(proof)
    try:
        found = _root(leaves, places, 0, len(places), 0, size, rest)
    except StopIteration:
        return False
    return found == root and next(rest, None) is None


def _root(
    leaves: bytes, places: Sequence[int], first: int, last: int, start: int, end: int, proof: Iterator[bytes]
) -> bytes:
    if first == last:
        return next(proof)
    if last - first == end - start:  # all of them
        return Levels(leaves[first * DIGEST : last * DIGEST]).root()
    middle = _middle(start, end)
    cut = bisect_left(places, middle, first, last)
    left = _root(leaves, places, first, cut, start, middle, proof)
    return node_hash(left, _root(leaves, places, cut, last, middle, end, proof))


def _middle(start: int, end: int) -> int:
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _ascending(places: Sequence[int], size: int) -> bool:
    rises = all(one < two for one, two in pairwise(places))
    return bool(places) and places[0] >= 0 and places[-1] < size and rises
