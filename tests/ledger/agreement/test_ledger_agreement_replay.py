"""One chain, one state: whoever replays it, in whatever process; and no hash of one kind is a hash of another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from adversary import Adversary
from hypothesis import given, settings
from hypothesis import strategies as st
from network_simulation import NetworkSimulation

from ledger.chain.merkle import Levels, leaf_hash, node_hash, tree_root
from ledger.chain.smt import MemoryNodes, SparseTree
from shangmi import sm3

ROOT = Path(__file__).parents[3]
#: What an operator's machine may set differently, and what Python itself draws anew in each process.
SURROUNDINGS: dict[str, dict[str, str]] = {
    "hash seed 0, UTC": {"PYTHONHASHSEED": "0", "TZ": "UTC"},
    "hash seed 4711, Honolulu, Turkish": {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Honolulu", "LC_ALL": "tr_TR.UTF-8"},
    "optimised, no UTF-8": {"PYTHONOPTIMIZE": "2", "LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Asia/Kathmandu"},
}


@pytest.fixture(scope="module")
def chain(network: NetworkSimulation, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Five final blocks as files behind their genesis, and what a live replica says of the last."""
    adversary = Adversary(network, (), linear=True)
    for _ in range(5):
        adversary.settle()
    folder = tmp_path_factory.mktemp("chain")
    (folder / "genesis").write_bytes(network.genesis.encode())
    replica = network.participants["auditor"].node.replica
    files = []
    for height in range(1, replica.view.head.height + 1):
        final = replica.final(height)
        assert final is not None
        files.append(folder / f"{height}")
        files[-1].write_bytes(final.encode())
    head = replica.view.head
    expected = f"{head.height} {head.block_id.hex()} {head.state_root.hex()} {head.receipts_root.hex()}"
    return [str(folder / "genesis"), "auditor", *map(str, files)], expected


def replayed(surroundings: dict[str, str], arguments: list[str]) -> str:
    """What another process makes of the chain."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", ROOT / "tests" / "ledger")))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **surroundings}
    script = str(ROOT / "tests" / "ledger" / "replayed_chain.py")
    done = subprocess.run(
        [sys.executable, script, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_chain_replayed_anywhere_comes_to_the_same_state(chain: tuple[list[str], str], surroundings: str) -> None:
    """Invariant 19: hash seed, time zone, locale, process."""
    arguments, expected = chain
    assert replayed(SURROUNDINGS[surroundings], arguments) == expected


def test_all_four_kinds_of_hashes_have_prefixes_of_their_own() -> None:
    """Invariant 18: what is hashed for a leaf or node of either tree begins with a byte that no other begins with."""
    seen: list[bytes] = []

    def recorded(data: bytes) -> bytes:
        seen.append(data)
        return sm3(data)

    Levels.over([b"a", b"b", b"c"], recorded).root()
    leaves, inner = ({one[:1] for one in seen if (len(one) > 64) == large} for large in (False, True))
    assert (leaves, inner) == ({b"\x00"}, {b"\x01"})
    nodes = SparseTree(MemoryNodes()).update({sm3(b"%d" % one): sm3(b"value") for one in range(9)}).added
    assert {one[:1] for one in nodes.values()} == {b"\x02", b"\x03"} and all(len(one) == 65 for one in nodes.values())


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.binary(max_size=70), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_no_leaf_is_a_node(data: bytes, left: bytes, right: bytes) -> None:
    hashes = {leaf_hash(data), node_hash(left, right), sm3(b"\x02" + left + right), sm3(b"\x03" + left + right)}
    assert len(hashes) == 4
    assert tree_root([left + right]) != node_hash(left, right) != leaf_hash(b"\x01" + left + right)
