"""Merkle trees of RFC 9162 section 2.1 over SM3: roots, inclusion proofs, consistency proofs (section 2).

A tree is known by its size and the nodes of its *complete* subtrees: ``node(level, index)`` is the hash over leaves
``index * 2**level`` to ``(index + 1) * 2**level - 1``. Lists in memory and documents in a database serve alike.
The verifiers take index, size and root from their caller; a proof is nothing but a list of 32-byte hashes.
``hash_`` is SM3 on the chain; another function is only ever given to run foreign test vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shangmi import sm3

DIGEST = 32
HashFunction = Callable[[bytes], bytes]
NodeReader = Callable[[int, int], bytes]


def leaf_hash(data: bytes, hash_: HashFunction = sm3) -> bytes:
    """Return H(0x00 || data)."""
    return hash_(b"\x00" + data)


def node_hash(left: bytes, right: bytes, hash_: HashFunction = sm3) -> bytes:
    """Return H(0x01 || left || right)."""
    return hash_(b"\x01" + left + right)


class Levels:
    """The complete subtrees of a tree in memory, each level as one string of 32-byte hashes.

    Args:
        hashes: Leaf hashes in order, joined.
        hash_: The tree's hash function.
    """

    def __init__(self, hashes: bytes, hash_: HashFunction = sm3) -> None:
        self._hash = hash_
        self._levels = [hashes]
        while len(hashes) > DIGEST:
            # The odd one at the end is left out: it is promoted when the root is folded, never paired with itself.
            pairs = range(0, len(hashes) - DIGEST, 2 * DIGEST)
            hashes = b"".join([hash_(b"\x01" + hashes[at : at + 2 * DIGEST]) for at in pairs])
            self._levels.append(hashes)

    @classmethod
    def over(cls, leaves: Iterable[bytes], hash_: HashFunction = sm3) -> Levels:
        """Return the tree over leaf data."""
        return cls(b"".join([hash_(b"\x00" + leaf) for leaf in leaves]), hash_)

    def __len__(self) -> int:
        return len(self._levels[0]) // DIGEST

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of one complete subtree."""
        return self._levels[level][index * DIGEST : (index + 1) * DIGEST]

    def root(self) -> bytes:
        """Return MTH over all leaves."""
        return span_root(0, len(self), self.node, self._hash)

    def inclusion(self, index: int) -> list[bytes]:
        """Return the inclusion proof of a leaf."""
        return inclusion_path(index, len(self), self.node, self._hash)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A growing tree by its size and the roots of its largest complete subtrees, from left to right."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def root(self, hash_: HashFunction = sm3) -> bytes:
        """Return MTH over all leaves so far."""
        if not self.peaks:
            return hash_(b"")
        *rest, root = self.peaks
        for peak in reversed(rest):
            root = node_hash(peak, root, hash_)
        return root

    def append(self, leaf: bytes, hash_: HashFunction = sm3) -> tuple[Frontier, list[tuple[int, int, bytes]]]:
        """Return the tree with one leaf more, and the complete subtrees that are new: level, index, hash."""
        here, peaks, index = leaf_hash(leaf, hash_), list(self.peaks), self.size
        made = [(0, index, here)]
        while index & 1:
            here = node_hash(peaks.pop(), here, hash_)
            index >>= 1
            made.append((len(made), index, here))
        return Frontier(self.size + 1, (*peaks, here)), made


def tree_root(leaves: Iterable[bytes], hash_: HashFunction = sm3) -> bytes:
    """Return MTH(leaves); H("") for none."""
    return Levels.over(leaves, hash_).root()


def _split(size: int) -> int:
    """Return the largest power of two smaller than ``size`` (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def span_root(start: int, end: int, node: NodeReader, hash_: HashFunction = sm3) -> bytes:
    """Return MTH over leaves ``start`` to ``end - 1``, where ``start`` is a boundary of the RFC's recursion."""
    size = end - start
    if size == 0:
        return hash_(b"")
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(span_root(start, middle, node, hash_), span_root(middle, end, node, hash_), hash_)


def inclusion_path(index: int, size: int, node: NodeReader, hash_: HashFunction = sm3) -> list[bytes]:
    """Return PATH(index, D[size]) of RFC 9162 2.1.3.1, from the leaf's sibling up.

    Raises:
        IndexError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(span_root(middle, end, node, hash_))
            end = middle
        else:
            path.append(span_root(start, middle, node, hash_))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int, node: NodeReader, hash_: HashFunction = sm3) -> list[bytes]:
    """Return PROOF(old, D[new]) of RFC 9162 2.1.4.1.

    Raises:
        IndexError: Not 0 < old <= new.
    """
    if not 0 < old <= new:
        raise IndexError(f"consistency from size {old} to {new}")
    path: list[bytes] = []
    start, end, known = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(span_root(middle, end, node, hash_))
            end = middle
        else:
            path.append(span_root(start, middle, node, hash_))
            start, known = middle, False
    if not known:
        path.append(span_root(start, end, node, hash_))
    return path[::-1]


def root_from_path(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], hash_: HashFunction = sm3
) -> bytes | None:
    """Return the root that a leaf *hash* and its path lead to, or None where the path has the wrong shape."""
    if not 0 <= index < size or any(len(one) != DIGEST for one in (leaf, *path)):
        return None
    here, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if here & 1 or here == last:
            root = node_hash(sibling, root, hash_)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            root = node_hash(root, sibling, hash_)
        here, last = here >> 1, last >> 1
    return root if last == 0 else None


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes, hash_: HashFunction = sm3
) -> bool:
    """Say whether the leaf hash stands at ``index`` of the tree of ``size`` with ``root`` (RFC 9162 2.1.3.2)."""
    return root_from_path(leaf, index, size, path, hash_) == root


def is_subtree(start: int, end: int) -> bool:
    """Say whether leaves ``start`` to ``end - 1`` can be a subtree: ``start`` is a multiple of its rounded size."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


def verify_subtree_consistency(
    start: int,
    end: int,
    size: int,
    path: Sequence[bytes],
    subtree_root: bytes,
    root: bytes,
    hash_: HashFunction = sm3,
) -> bool:
    """Say whether leaves ``start`` to ``end - 1`` under ``subtree_root`` stand in the tree of ``size``.

    With ``start`` 0 this is RFC 9162 2.1.4.2; otherwise draft-ietf-plants-merkle-tree-certs, section 4.4.
    """
    if not is_subtree(start, end) or end > size or any(len(one) != DIGEST for one in path):
        return False
    first, here, last = start, end - 1, size - 1
    # Skip to the largest node that is whole in the subtree and in the tree: it is shared by both.
    while first != here and (here == last or here & 1):
        first, here, last = first >> 1, here >> 1, last >> 1
    rest = list(path)
    if first == here:
        old = new = subtree_root
        if not rest and here != last:
            return False
    elif rest:
        old = new = rest.pop(0)
    else:
        return False
    for sibling in rest:
        if last == 0:
            return False
        if here & 1 or here == last:
            if first < here:
                old = node_hash(sibling, old, hash_)
            new = node_hash(sibling, new, hash_)
            while not here & 1 and here:
                first, here, last = first >> 1, here >> 1, last >> 1
        else:
            new = node_hash(new, sibling, hash_)
        first, here, last = first >> 1, here >> 1, last >> 1
    return last == 0 and old == subtree_root and new == root


def verify_consistency(
    old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes, hash_: HashFunction = sm3
) -> bool:
    """Say whether the tree of ``new`` leaves begins with the tree of ``old`` (RFC 9162 2.1.4.2); size 0 never."""
    return verify_subtree_consistency(0, old, new, path, old_root, new_root, hash_)
