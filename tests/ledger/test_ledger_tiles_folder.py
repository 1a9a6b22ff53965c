"""A folder of tiles behind a plain file server: enough for anybody to bring an old proof up to a new head."""

from __future__ import annotations

import functools
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation
from served_region import served

from ledger.agreement.certificate import check_commit
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.errors import Refused
from ledger.proofs.proof import verify_proof
from ledger.proofs.tile_folder import write_tiles
from ledger.proofs.tiles import TileTree
from ledger.sync.header_chain import CertifiedHeader

pytestmark = pytest.mark.mongo


@pytest.fixture(scope="module")
def region(mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionSimulation]:
    made = RegionSimulation(mongo, tmp_path_factory.mktemp("region"), f"t{uuid.uuid4().hex[:12]}")
    made.grow(3, count=2)
    yield made
    made.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, httpx.Client]]:
    """A folder, and a client of the plain file server in front of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
        yield tmp_path, client
    server.shutdown()
    server.server_close()


def test_an_old_proof_is_brought_up_to_a_new_head_from_static_files_alone(
    region: RegionSimulation, folder: tuple[Path, httpx.Client]
) -> None:
    path, client = folder
    final = region.node(AUDITOR).replica.final(2)
    assert final is not None
    leaf = RecordLeaf.decode(Leaves.decode(final.bodies[0]).record(1))
    old = region.node(AUDITOR).prove(leaf.rid, 1)
    replica = region.node(AUDITOR).replica
    assert write_tiles(path, replica).height == 3
    region.grow(2, count=1)
    kept = served(region, AUDITOR).checkpoints
    kept.keep(region.node(AUDITOR).cosign(4))
    written = write_tiles(path, replica, kept.at(4))
    assert written.height == 5 and write_tiles(path, replica, kept.at(4)).files == 2  # head and checkpoint alone

    head = CertifiedHeader.decode(client.get("/head").content)
    genesis = region.genesis
    check_commit(head.commit_qc, head.header.block_id, 5, 0, genesis.chain_id, genesis.validators)
    assert client.get("/genesis").content == genesis.encode()
    tree = TileTree(lambda name: client.get(f"/{name}").content, head.header.height)
    assert tree.root() == head.header.history_root
    history = {"index": 2, "size": 5, "path": [one.hex() for one in tree.inclusion(2)]}
    note = client.get("/checkpoint").text
    vouched = {"index": 4, "size": 5, "path": [one.hex() for one in tree.inclusion(4)]}
    made = {
        **old,
        "history": history,
        "head": {"header": head.header.encode().hex(), "commit_qc": head.commit_qc.hex()},
        "checkpoint": {"note": note, "history": vouched},
    }
    del made["status"]  # the state of a later head is not in the tiles
    verdict = verify_proof(json.dumps({**made, "status": None}).encode(), genesis.anchor())
    assert (verdict.height, verdict.head_height) == (2, 5) and verdict.checkpoint_ms is not None


def test_a_folder_of_another_chain_is_left_as_it_is(region: RegionSimulation, tmp_path: Path) -> None:
    (tmp_path / "genesis").write_bytes(b"another")
    with pytest.raises(Refused, match="another chain"):
        write_tiles(tmp_path, region.node(AUDITOR).replica)
    assert [one.name for one in tmp_path.iterdir()] == ["genesis"]


def test_a_file_is_whole_or_not_there(
    region: RegionSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        write_tiles(tmp_path, region.node(AUDITOR).replica)
    assert not [one for one in tmp_path.rglob("*") if one.is_file() and not one.name.endswith(".part")]
    monkeypatch.undo()
    assert write_tiles(tmp_path, region.node(AUDITOR).replica).files > 3
