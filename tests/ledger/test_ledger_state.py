"""The sparse Merkle tree: history independent, proofs both ways, nothing left of what was deleted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.smt import EMPTY, MemoryNodes, SparseTree, StateProof, verify_state
from ledger.errors import Diverged, Malformed
from shangmi import sm3


def reference_root(entries: dict[bytes, bytes], depth: int = 0) -> bytes:
    """Section 2, word for word."""
    if not entries:
        return EMPTY
    if len(entries) == 1:
        [(key, value)] = entries.items()
        return sm3(b"\x02" + key + value)
    halves: list[dict[bytes, bytes]] = [{}, {}]
    for key, value in entries.items():
        halves[int.from_bytes(key, "big") >> (255 - depth) & 1][key] = value
    return sm3(b"\x03" + reference_root(halves[0], depth + 1) + reference_root(halves[1], depth + 1))


def applied(nodes: MemoryNodes, root: bytes, changes: dict[bytes, bytes | None]) -> bytes:
    change = SparseTree(nodes, root).update(changes)
    nodes.take(change)
    return change.root


#: Keys that share long prefixes, so that promotion and splitting happen at depth.
keys = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 40).map(lambda n: bytes(31) + bytes([n])),
    st.integers(0, 7).map(lambda n: bytes([n << 5]) + bytes(31)),
)
values = st.binary(min_size=32, max_size=32)


@settings(max_examples=150)
@given(st.lists(st.dictionaries(keys, st.none() | values, max_size=8), max_size=8))
def test_the_root_depends_only_on_the_entries(batches: list[dict[bytes, bytes | None]]) -> None:
    nodes, root = MemoryNodes(), EMPTY
    entries: dict[bytes, bytes] = {}
    for batch in batches:
        root = applied(nodes, root, batch)
        entries.update({key: value for key, value in batch.items() if value is not None})
        for key in (key for key, value in batch.items() if value is None):
            entries.pop(key, None)
        assert root == reference_root(entries)
        fresh = MemoryNodes()
        applied(fresh, EMPTY, dict(entries))
        assert nodes == fresh, "nodes of an earlier state were left behind"


@settings(max_examples=100)
@given(st.dictionaries(keys, values, max_size=20), keys, values)
def test_every_key_is_proved_present_or_absent_and_never_both(
    entries: dict[bytes, bytes], asked: bytes, wrong: bytes
) -> None:
    nodes = MemoryNodes()
    root = applied(nodes, EMPTY, dict(entries))
    tree = SparseTree(nodes, root)
    for key in {*entries, asked}:
        proof = StateProof.decode(tree.prove(key).encode())
        value = entries.get(key)
        assert tree.hashes([key]) == ({key: value} if value else {})
        assert verify_state(root, key, value, proof)
        assert not verify_state(root, key, None if value else wrong, proof)
        assert value == wrong or not verify_state(root, key, wrong, proof)


def test_a_changed_sibling_or_prefix_proves_nothing() -> None:
    rng = random.Random(7)
    entries = {rng.randbytes(32): rng.randbytes(32) for _ in range(300)}
    nodes = MemoryNodes()
    root = applied(nodes, EMPTY, dict(entries))
    tree = SparseTree(nodes, root)
    absent = rng.randbytes(32)
    stranger = tree.prove(rng.randbytes(32))
    assert not verify_state(root, absent, None, stranger)
    proof = tree.prove(absent)
    assert verify_state(root, absent, None, proof)
    for place in range(len(proof.siblings)):
        siblings = list(proof.siblings)
        siblings[place] = rng.randbytes(32)
        assert not verify_state(root, absent, None, StateProof(tuple(siblings), proof.other))
    assert not verify_state(root, absent, None, StateProof(proof.siblings[:-1], proof.other))


def test_a_changed_stored_node_stops_the_replica() -> None:
    nodes = MemoryNodes()
    root = applied(nodes, EMPTY, {bytes([i]) * 32: b"v" * 32 for i in range(9)})
    for broken in (b"", b"\x02" + bytes(64)):
        with pytest.raises(Diverged):
            SparseTree(MemoryNodes({**nodes, root: broken}), root).hashes([b"\0" * 32])


@settings(max_examples=200)
@given(st.binary(max_size=140))
def test_any_bytes_are_one_state_proof_or_malformed(data: bytes) -> None:
    try:
        proof = StateProof.decode(data)
    except Malformed:
        return
    assert proof.encode() == data
