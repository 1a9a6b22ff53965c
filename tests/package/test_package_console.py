"""`xinglin dataset fetch | verify | open`, as a researcher and as anybody runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from console_run import Done, run_here
from package_world import ASKER, HOLDER, OTHER, DatasetRegion, Delivered, dataset_region, deliver, request_file

from ledger.agreement.votes import VoteStore
from ledger.chain.state import DELIVERY
from ledger.chain.transactions import open_transaction
from ledger.exchange import MongoExchange
from ledger.messages.delivery import Delivered as DeliveredMessage
from ledger.messages.delivery import Received
from ledger.opening import KEY_FILE, VOTES_FILE
from sharing.package.shelf import Shelf
from sharing.request import request_digest

pytestmark = pytest.mark.mongo
ROOT = Path(__file__).parents[2]
PASSWORD = b"correct horse"


class World(NamedTuple):
    """The requester's machine: its home, its database, a request that two holders are asked, one has answered."""

    region: DatasetRegion
    made: Delivered
    home: Path
    uri: str
    mongo: Any

    def run(self, *arguments: object, **environment: str) -> Done:
        return run_here("dataset", *arguments, XINGLIN_HOME=str(self.home), MONGODB_URI=self.uri, **environment)


@pytest.fixture(scope="module")
def world(mongo: Any, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, home = tmp_path_factory.mktemp("region"), tmp_path_factory.mktemp("home")
    with dataset_region(mongo, folder, "ledger") as region:
        (records,) = region.published(HOLDER, 30)
        content = request_file(region, holders=(HOLDER, OTHER))
        request = region.allowed(ASKER, request_digest(content), holders=(HOLDER, OTHER))
        made = deliver(region, folder / "d.xld", request.tx_id, content, records)
        done = made.finished
        fields = {"package": done.package, "manifest": done.manifest, "records": done.records, "size": done.size}
        region.block_of(region.sign(HOLDER, DeliveredMessage, request=request.tx_id, answer="delivered", **fields))
        keys = home / "keys" / ASKER
        keys.mkdir(parents=True, mode=0o700)
        (keys / KEY_FILE).write_bytes(region.keys[ASKER].to_pem(PASSWORD))
        (keys / "password").write_bytes(PASSWORD + b"\n")
        VoteStore.create(keys / VOTES_FILE, region.keys[ASKER].public).close()
        (home / "genesis.bin").write_bytes(region.genesis.encode())
        (home / "anchor.json").write_bytes(region.genesis.anchor())
        yield World(region, made, home, mongo_uri, mongo)
    mongo.drop_database("xinglin_exchange")


def waiting(world: World) -> list[Received]:
    offered = MongoExchange(world.mongo["xinglin_exchange"]).transactions()
    return [one for one in map(open_transaction, offered) if isinstance(one, Received)]


def test_nothing_is_there_before_the_holder_put_it_on_the_shelf(world: World, tmp_path: Path) -> None:
    done = world.run("fetch", world.made.request.hex()[:16], "--out", tmp_path / "in")
    assert done.code == 1 and b"not on the shelf" in done.output and b"lab-centre has not answered" in done.output
    assert list((tmp_path / "in").iterdir()) == [] and waiting(world) == []


def test_what_was_delivered_is_fetched_and_confirmed(world: World, tmp_path: Path) -> None:
    Shelf(world.mongo["xinglin_exchange"]).put(world.made.finished.path)
    done = world.run("fetch", world.made.request.hex(), "--holder", HOLDER, "--out", tmp_path, "--json")
    assert done.code == 0, done.told
    (one,) = json.loads(done.output)
    assert (one["holder"], one["records"], one["confirmed"]) == (HOLDER, 30, True)
    assert Path(one["file"]).read_bytes() == world.made.finished.path.read_bytes()
    (offered,) = waiting(world)
    assert (offered.request, offered.package) == (world.made.request, world.made.finished.package)
    both = world.run("fetch", world.made.request.hex(), "--out", tmp_path, "--no-confirm")
    assert both.code == 1 and b"has not answered" in both.output and len(waiting(world)) == 1
    assert world.run("fetch", world.made.request.hex(), "--holder", "nobody").code == 1
    assert world.run("fetch", "ffffff").code == 2


def test_what_lies_there_and_is_not_what_was_announced_is_not_kept(world: World, tmp_path: Path) -> None:
    shelf = world.mongo["xinglin_exchange"]["shelf.chunks"]
    before = shelf.find_one({"n": 0})
    shelf.update_one({"_id": before["_id"]}, {"$set": {"data": bytes(len(before["data"]))}})
    try:
        done = world.run("fetch", world.made.request.hex(), "--holder", HOLDER, "--out", tmp_path)
        assert done.code == 1 and "something else" in done.told and list(tmp_path.iterdir()) == []
    finally:
        shelf.update_one({"_id": before["_id"]}, {"$set": {"data": before["data"]}})


def test_anybody_verifies_it(world: World) -> None:
    path, anchor = world.made.finished.path, world.home / "anchor.json"
    done = world.run("verify", path, "--anchor", anchor)
    assert done.code == 0, done.told
    text = done.output.decode()
    assert text.startswith("Holds. Proved:") and "Not proved by the file:" in text
    assert world.made.finished.package.hex() in text
    facts = json.loads(world.run("verify", path, "--anchor", anchor, "--json").output)
    assert (facts["records"], facts["tables"]) == (30, {"laboratory_results": 80, "patients": 40})
    assert facts["package"] == world.made.finished.package.hex()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data[:-1], 3),
        (lambda data: b"", 3),
        (lambda data: data[:5_000] + bytes([data[5_000] ^ 1]) + data[5_001:], 1),
        (lambda data: data + b"\0", 3),
    ],
)
def test_a_spoilt_package_is_refused_and_nothing_is_written(
    world: World, tmp_path: Path, spoil: Any, code: int
) -> None:
    path, out = tmp_path / "d.xld", tmp_path / "out"
    path.write_bytes(spoil(world.made.finished.path.read_bytes()))
    assert world.run("verify", path, "--anchor", world.home / "anchor.json").code == code
    assert world.run("open", path, "--out", out).code == code
    assert [one.name for one in tmp_path.iterdir()] == ["d.xld"]


def test_files_and_anchors_that_are_none_are_unreadable_input(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    assert world.run("verify", world.made.finished.path, "--anchor", tmp_path / "a.json").code == 3
    assert world.run("verify", tmp_path / "none.xld", "--anchor", world.home / "anchor.json").code == 3
    assert world.run("verify", world.made.finished.path, "--anchor", tmp_path / "none.json").code == 3
    assert world.run("verify", world.made.finished.path).code == 2


def test_the_requester_writes_its_files_out(world: World, tmp_path: Path) -> None:
    import pandas as pd

    path, out = world.made.finished.path, tmp_path / "out"
    done = world.run("open", path, "--out", out, "--anchor", world.home / "anchor.json")  # by the institution's node
    assert done.code == 0, done.told
    assert b"plaintext" in done.output and b"2028-12-31" in done.output
    names = sorted(str(one.relative_to(out)) for one in out.rglob("*") if one.is_file())
    assert names == [
        "dictionary.json", "fhir/Patient.ndjson", "laboratory_results.parquet", "patients.parquet", "request.json",
    ]  # fmt: skip
    assert {one.stat().st_mode & 0o077 for one in out.rglob("*")} == {0} == {out.stat().st_mode & 0o077}
    assert len(pd.read_parquet(out / "laboratory_results.parquet")) == 80
    again = world.run("open", path, "--out", out)
    assert again.code == 2 and "is there already" in again.told


def test_a_persons_key_opens_one_table_as_csv(world: World, tmp_path: Path) -> None:
    import pandas as pd

    key, password = tmp_path / "k.pem", tmp_path / "password"
    key.write_bytes(world.region.keys[ASKER].to_pem(PASSWORD))
    password.write_bytes(PASSWORD + b"\n")
    arguments = [world.made.finished.path, "--key", key, "--password-file", password, "--out", tmp_path / "out"]
    done = world.run("open", *arguments, "--table", "patients", "--csv", "--json")
    assert done.code == 0, done.told
    assert sorted(json.loads(done.output)["files"]) == ["dictionary.json", "patients.csv", "request.json"]
    assert len(pd.read_csv(tmp_path / "out" / "patients.csv")) == 40
    assert not (tmp_path / "out" / "fhir").exists()


def test_a_wrong_key_password_or_table_writes_nothing(world: World, tmp_path: Path) -> None:
    key, password = tmp_path / "k.pem", tmp_path / "password"
    key.write_bytes(world.region.keys[OTHER].to_pem(PASSWORD))
    password.write_bytes(PASSWORD)
    path, out = world.made.finished.path, ["--out", tmp_path / "out"]
    done = world.run("open", path, "--key", key, "--password-file", password, *out)
    assert done.code == 1 and "another key" in done.told
    password.write_bytes(b"wrong")
    done = world.run("open", path, "--key", key, "--password-file", password, *out)
    assert done.code == 1 and "password does not open" in done.told
    assert world.run("open", path, "--key", tmp_path / "no.pem", "--password-file", password, *out).code == 3
    assert world.run("open", path, "--table", "nothing", *out).code == 3
    assert sorted(one.name for one in tmp_path.iterdir()) == ["k.pem", "password"]


BASE = """
import socket, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}: raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
def refuse(*_, **__): raise AssertionError('the network was asked')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.argv[0] = 'xinglin'
from console.main import main
main()
"""


def in_base(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where only the base installation's libraries are, and no network."""
    from test_package_verify import REGION_ONLY

    missing = tuple(one for one in REGION_ONLY if one != "pydantic")  # the command line's own library has it
    return subprocess.run(
        [sys.executable, "-c", BASE.format(blocked=missing), *arguments], capture_output=True, check=False, timeout=60,
        cwd=tmp_path, text=True,
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]), "HOME": str(tmp_path)},
    )  # fmt: skip


def test_a_base_installation_projects_and_deidentifies_and_names_what_it_lacks(tmp_path: Path) -> None:
    lines = tmp_path / "p.ndjson"
    lines.write_text('{"resourceType":"Patient","id":"a","gender":"male","birthDate":"1970-05-01"}\n')
    assert '"birth_year":"1970"' in in_base(tmp_path, "view", "patients", lines.name).stdout
    assert '"gender":"male"' in in_base(tmp_path, "deidentify", lines.name).stdout.replace(" ", "")
    done = in_base(tmp_path, "batches")
    assert done.returncode == 2
    assert "pip install 'xinglin[region]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_and_open_run_in_a_base_installation(world: World, tmp_path: Path) -> None:
    key, password = tmp_path / "k.pem", tmp_path / "password"
    key.write_bytes(world.region.keys[ASKER].to_pem(PASSWORD))
    password.write_bytes(PASSWORD)
    anchor = ["--anchor", str(world.home / "anchor.json")]
    for arguments in (
        ["verify", str(world.made.finished.path), *anchor],
        ["open", str(world.made.finished.path), *anchor, "--key", str(key), "--password-file", str(password), "--out",
         str(tmp_path / "out")],
    ):  # fmt: skip
        done = in_base(tmp_path, "dataset", *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "patients.parquet").exists()


def test_what_is_confirmed_stands_on_the_chain(world: World, tmp_path: Path) -> None:
    (offered,) = waiting(world)
    node = world.region.node(ASKER)
    proposal = world.region.producer().propose([(node.sign(offered), b"")])
    assert proposal is not None
    world.region.finish(proposal)
    assert node.replica.view.state(DELIVERY, world.made.request + world.region.node(HOLDER).id)
    done = world.run("fetch", world.made.request.hex(), "--holder", HOLDER, "--out", tmp_path)
    assert done.code == 0 and b"confirmed in block" in done.output
