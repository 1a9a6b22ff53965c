"""`xinglin node serve` and `sync`, `xinglin ledger tiles` and `anchor`: two replicas, one port between them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from killed import child_environment
from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.proofs.anchor import load_anchor
from ledger.proofs.proof import verify_proof

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "ledger"))
from region_simulation import RegionSimulation  # noqa: E402

from ledger.chain.leaves import Leaves, RecordLeaf  # noqa: E402
from ledger.chain.replica import Replica  # noqa: E402
from ledger.node import Node  # noqa: E402

pytestmark = pytest.mark.mongo
EAST, WEST = "hospital-east", "hospital-west"


@pytest.fixture(scope="module")
def home(
    mongo: MongoClient[dict[str, Any]], mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a machine on which the replica of one hospital stands at height 3."""
    folder = tmp_path_factory.mktemp("home")
    region = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}", epoch_blocks=2)
    region.grow(3, count=2)
    (folder / "genesis.bin").write_bytes(region.genesis.encode())
    final = region.node(EAST).replica.final(2)
    assert final is not None
    leaf = RecordLeaf.decode(Leaves.decode(final.bodies[0]).record(0))
    replica = Replica(mongo[f"ledger_{EAST}"], region.genesis)
    Node(region.genesis, EAST, None, replica, None, region.envelopes, region.clock).sync(region.node(EAST).replica)
    yield {**child_environment(), "XINGLIN_HOME": str(folder), "MONGODB_URI": mongo_uri, "RID": leaf.rid.hex()}
    region.close()
    for name in (EAST, WEST):
        mongo.drop_database(f"ledger_{name}")


def xinglin(home: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console.main", *map(str, arguments)],
        env=home, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def url(home: dict[str, str]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = subprocess.Popen(
        [sys.executable, "-m", "console.main", "node", "serve", "--institution", EAST, "--port", str(port)],
        env=home, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 60
    while time.monotonic() < end and served.poll() is None:
        try:
            httpx.get(f"{address}/v1/status", trust_env=False)
            break
        except httpx.TransportError:
            time.sleep(0.1)
    yield address
    served.terminate()
    _, told = served.communicate(timeout=20)
    assert "Traceback" not in told


def test_a_node_is_served_and_another_one_begins_with_its_state(home: dict[str, str], url: str) -> None:
    status = httpx.get(f"{url}/v1/status", trust_env=False).json()
    assert (status["institution"], status["height"]) == (EAST, 3)
    done = xinglin(home, "node", "sync", "--institution", WEST, "--peer", f"{EAST}={url}", "--fast", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"height": 3, "applied": 1, "began_at": 2, "dropped": {}, "withheld": []}
    again = xinglin(home, "node", "sync", "--institution", WEST, "--peer", f"{EAST}={url}")
    assert (again.returncode, again.stdout) == (0, "height 3, 0 blocks applied\n")
    held = xinglin(home, "ledger", "verify", "--replica", WEST)
    assert held.returncode == 0, held.stdout + held.stderr


def test_tiles_and_an_anchor_are_written(home: dict[str, str], url: str, tmp_path: Path) -> None:
    done = xinglin(home, "ledger", "tiles", tmp_path / "tiles", "--institution", EAST)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'tiles'}: height 3, 4 files written\n")
    written = xinglin(home, "ledger", "anchor", "-o", tmp_path / "anchor.json", "--institution", EAST, "--max-age", 9)
    assert written.returncode == 0, written.stderr
    anchor = load_anchor((tmp_path / "anchor.json").read_bytes())
    assert (anchor.height, anchor.max_age_seconds) == (3, 9) and anchor.made_ms is not None
    proof = httpx.get(f"{url}/v1/proofs/record/{home['RID']}", trust_env=False).content
    genesis = Genesis.load((Path(home["XINGLIN_HOME"]) / "genesis.bin").read_bytes())
    assert verify_proof(proof, genesis.anchor()).height == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("node", "sync", "--institution", WEST, "--peer", "nonsense"), 2),
        (("node", "sync", "--institution", WEST, "--peer", f"{EAST}=ftp://x"), 2),
        (("node", "sync", "--institution", "nobody", "--peer", f"{EAST}=http://127.0.0.1:1"), 1),
        (("node", "serve", "--institution", EAST, "--tls-key", "key.pem"), 2),
        (("node", "serve", "--institution", EAST, "--port", "0"), 2),
        (("ledger", "tiles", "/proc/none", "--institution", EAST), 1),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(home: dict[str, str], arguments: tuple[str, ...], code: int) -> None:
    done = xinglin(home, *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and done.stderr


def test_a_port_that_is_taken_is_named(home: dict[str, str], url: str) -> None:
    port = url.rpartition(":")[2]
    done = xinglin(home, "node", "serve", "--institution", EAST, "--port", port)
    assert done.returncode == 1 and f"could not listen at 127.0.0.1:{port}" in done.stderr
