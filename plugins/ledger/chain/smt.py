"""The sparse Merkle tree that holds the chain's state (section 2).

Empty is 32 zero bytes; a leaf is ``H(0x02 || key || value_hash)`` at the shallowest prefix that no other key
shares; a node is ``H(0x03 || left || right)``. Two trees with the same entries have the same root, however they
were made, and a deleted key leaves no trace. Nodes are kept under their own hash as the bytes that were hashed, so
a store can be checked and never has to be trusted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ledger.encoding import DIGEST, Reader, u8, u16
from ledger.errors import Diverged
from shangmi import sm3

EMPTY = bytes(DIGEST)
DEPTH = 256
LEAF, NODE = b"\x02", b"\x03"


def state_key(kind: int, identity: bytes) -> bytes:
    """Return the key of one entry: H(domain || kind || identity)."""
    return sm3(b"XL/KEY/1\0" + u8(kind) + identity)


def value_hash(value: bytes) -> bytes:
    """Return what the tree holds of a value: its hash behind a domain."""
    return sm3(b"XL/VALUE/1\0" + value)


class NodeStore(Protocol):
    """Where the nodes of a tree lie."""

    def nodes(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the 65 bytes behind each hash; one that is not stored is left out."""
        ...


class MemoryNodes(dict[bytes, bytes]):
    """Nodes in memory: for verifying a chain from genesis, and for tests."""

    def nodes(self, hashes: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the stored ones of these."""
        return {one: self[one] for one in hashes if one in self}

    def take(self, change: StateChange) -> None:
        """Hold the tree after a change and no longer the one before."""
        for one in change.removed:
            del self[one]
        self.update(change.added)


@dataclass(frozen=True, slots=True)
class StateChange:
    """What an update does to a tree: the new root, nodes to store, nodes to drop."""

    root: bytes
    added: Mapping[bytes, bytes]
    removed: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class StateProof:
    """The way from the root to where a key is or would be.

    Attributes:
        siblings: From the root down, one for each bit of the key walked.
        other: Key and value hash of the different leaf that stands there, or None for the key itself or nothing.
    """

    siblings: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        other = b"\0" if self.other is None else b"\1" + b"".join(self.other)
        return u16(len(self.siblings)) + b"".join(self.siblings) + other

    @classmethod
    def decode(cls, data: bytes) -> StateProof:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "state proof")
        depth = reader.u16()
        if depth > DEPTH:
            raise reader.wrong(f"{depth} levels, at most {DEPTH}")
        siblings = tuple(reader.take(DIGEST) for _ in range(depth))
        other = (reader.take(DIGEST), reader.take(DIGEST)) if reader.flag() else None
        reader.end()
        return cls(siblings, other)


class StateTree(Protocol):
    """The state as execution sees it; another tree can take the sparse one's place."""

    @property
    def root(self) -> bytes:
        """The commitment to every entry."""
        ...

    def hashes(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the value hash of each key that has one."""
        ...

    def update(self, changes: Mapping[bytes, bytes | None]) -> StateChange:
        """Return the change that sets (or with None deletes) these value hashes; nothing is stored yet."""
        ...

    def prove(self, key: bytes) -> StateProof:
        """Return the proof that the key has its value hash, or has none."""
        ...


class SparseTree:
    """A sparse Merkle tree with a given root over stored nodes.

    Args:
        store: Its nodes.
        root: Its root; ``EMPTY`` for no entries.
        known: Nodes in memory under their hashes, of this tree or another: equal hashes are equal nodes. It grows by
            what is read.
    """

    def __init__(self, store: NodeStore, root: bytes = EMPTY, known: dict[bytes, bytes] | None = None) -> None:
        self._store = store
        self._root = root
        self._known: dict[bytes, bytes] = {} if known is None else known

    @property
    def root(self) -> bytes:
        """The commitment to every entry."""
        return self._root

    def hashes(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the value hash of each key that has one."""
        self._prefetch(keys)
        found = {}
        for key in keys:
            leaf = self._walk(key)[1]
            if leaf and leaf[0] == key:
                found[key] = leaf[1]
        return found

    def prove(self, key: bytes) -> StateProof:
        """Return the proof that the key has its value hash, or has none."""
        self._prefetch([key])
        siblings, leaf = self._walk(key)
        return StateProof(tuple(siblings), leaf if leaf and leaf[0] != key else None)

    def update(self, changes: Mapping[bytes, bytes | None]) -> StateChange:
        """Return the change that sets (or with None deletes) these value hashes; nothing is stored yet."""
        self._prefetch(changes)
        made: dict[bytes, bytes] = {}
        gone: set[bytes] = set()
        root = self._set(self._root, sorted(changes.items()), 0, made, gone)
        # A leaf that only moved to another depth keeps its hash: it is both gone and made.
        before = gone - made.keys()
        return StateChange(root, {one: made[one] for one in made if one not in gone}, frozenset(before))

    def descend(self, prefix: str) -> tuple[tuple[bytes, ...], bytes, tuple[bytes, bytes] | None]:
        """Return the siblings on the way down a prefix, the node it leads to, and what that is where it is a leaf.

        The way ends before the prefix does at a lone leaf, or at nothing.
        """
        siblings: list[bytes] = []
        node = self._root
        for bit in prefix:
            if node == EMPTY or (data := self._load(node))[:1] == LEAF:
                break
            here, beside = (data[33:], data[1:33]) if bit == "1" else (data[1:33], data[33:])
            siblings.append(beside)
            node = here
        data = b"" if node == EMPTY else self._load(node)
        return tuple(siblings), node, (data[1:33], data[33:]) if data[:1] == LEAF else None

    def leaves(self, node: bytes, most: int) -> list[tuple[bytes, bytes]] | None:
        """Return key and value hash of every leaf under a node, in order of key; None where they are more than most."""
        found: list[tuple[bytes, bytes]] = []
        front = [] if node == EMPTY else [node]
        while front:
            self._fetch([one for one in front if one not in self._known])
            below: list[bytes] = []
            for data in (self._known[one] for one in front):
                if data[:1] == LEAF:
                    found.append((data[1:33], data[33:]))
                else:
                    below += [one for one in (data[1:33], data[33:]) if one != EMPTY]
            if len(found) + len(below) > most:
                return None
            front = below
        return sorted(found)

    def _load(self, one: bytes) -> bytes:
        """Return a node's 65 bytes, checked against its hash."""
        if one not in self._known:
            self._fetch([one])
        return self._known[one]

    def _fetch(self, hashes: Collection[bytes]) -> None:
        stored = self._store.nodes(hashes)
        for one in hashes:
            data = stored.get(one, b"")
            if len(data) != 1 + 2 * DIGEST or sm3(data) != one:
                raise Diverged("a state node is missing or changed; restore this replica by syncing a new one")
            self._known[one] = data

    def _prefetch(self, keys: Iterable[bytes]) -> None:
        """Load the paths of all keys, one query a level."""
        front = [(self._root, key) for key in keys]
        for depth in range(DEPTH):
            front = [(node, key) for node, key in front if node != EMPTY]
            wanted = {node for node, _ in front if node not in self._known}
            if wanted:
                self._fetch(wanted)
            front = [
                (_child(self._known[node], key, depth), key) for node, key in front if self._known[node][:1] == NODE
            ]
            if not front:
                return

    def _walk(self, key: bytes) -> tuple[list[bytes], tuple[bytes, bytes] | None]:
        siblings: list[bytes] = []
        node = self._root
        while node != EMPTY:
            data = self._load(node)
            left, right = data[1:33], data[33:]
            if data[:1] == LEAF:
                return siblings, (left, right)
            here, beside = (right, left) if _bit(key, len(siblings)) else (left, right)
            siblings.append(beside)
            node = here
        return siblings, None

    def _set(
        self,
        node: bytes,
        items: list[tuple[bytes, bytes | None]],
        depth: int,
        made: dict[bytes, bytes],
        gone: set[bytes],
    ) -> bytes:
        """Return the hash of the subtree at ``node`` after the sorted ``items``."""
        if not items:
            return node
        if node == EMPTY:
            return build_subtree(_present(items), depth, made)
        data = self._load(node)
        gone.add(node)
        left, right = data[1:33], data[33:]
        if data[:1] == LEAF:
            return build_subtree(_present([*{left: right, **dict(items)}.items()]), depth, made)
        ones = next((i for i, (key, _) in enumerate(items) if _bit(key, depth)), len(items))
        return self._join(
            self._set(left, items[:ones], depth + 1, made, gone),
            self._set(right, items[ones:], depth + 1, made, gone),
            made,
        )

    def _join(self, left: bytes, right: bytes, made: dict[bytes, bytes]) -> bytes:
        """Return the node over two subtrees; a leaf alone is promoted."""
        if EMPTY in (left, right):
            lone = left if right == EMPTY else right
            if lone == EMPTY:
                return EMPTY
            data = made.get(lone) or self._load(lone)
            if data[:1] == LEAF:
                return lone
        return _keep(NODE + left + right, made)


def build_subtree(pairs: list[tuple[bytes, bytes]], depth: int, made: dict[bytes, bytes]) -> bytes:
    """Return the hash of the subtree at a depth over sorted pairs of key and value hash; its nodes are in ``made``."""
    if not pairs:
        return EMPTY
    if len(pairs) == 1:
        return _keep(LEAF + pairs[0][0] + pairs[0][1], made)
    ones = next((i for i, (key, _) in enumerate(pairs) if _bit(key, depth)), len(pairs))
    left = build_subtree(pairs[:ones], depth + 1, made)
    return _keep(NODE + left + build_subtree(pairs[ones:], depth + 1, made), made)


def _present(items: list[tuple[bytes, bytes | None]]) -> list[tuple[bytes, bytes]]:
    return sorted((key, value) for key, value in items if value is not None)


def _keep(data: bytes, made: dict[bytes, bytes]) -> bytes:
    one = sm3(data)
    made[one] = data
    return one


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _child(node: bytes, key: bytes, depth: int) -> bytes:
    return node[33:] if _bit(key, depth) else node[1:33]


def verify_state(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    """Say whether ``proof`` shows under ``root`` that ``key`` has the value hash ``value``, or with None has none."""
    if len(proof.siblings) > DEPTH or any(len(one) != DIGEST for one in (root, key, *proof.siblings)):
        return False
    depth = len(proof.siblings)
    if value is not None:
        if proof.other is not None or len(value) != DIGEST:
            return False
        here = sm3(LEAF + key + value)
    elif proof.other is None:
        here = EMPTY
    else:
        other, other_value = proof.other
        whole = len(other) == len(other_value) == DIGEST
        if other == key or not whole or not _same_prefix(other, key, depth):
            return False
        here = sm3(LEAF + other + other_value)
    for level in range(depth - 1, -1, -1):
        beside = proof.siblings[level]
        pair = beside + here if _bit(key, level) else here + beside
        here = sm3(NODE + pair)
    return here == root


def _same_prefix(one: bytes, two: bytes, bits: int) -> bool:
    shift = DEPTH - bits
    return int.from_bytes(one, "big") >> shift == int.from_bytes(two, "big") >> shift
