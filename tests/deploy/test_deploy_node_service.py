"""An institution's services as docker-compose.yaml says: its node signs, its worker carries, its chain is shown."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from compose_containers import Containers
from needed import needs
from pymongo import MongoClient

from console.region.mongod import find_mongod, free_port
from console.region.processes import Process, running, start
from deploy.apart import can_part
from deploy.mongo_accounts import establish
from deploy.prepare import MEMBERS
from ledger.agreement.votes import VoteStore
from ledger.carrier import Carrier
from ledger.chain.chain_check import verify_chain
from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.chain.validators import institution_id
from ledger.exchange import MongoExchange
from ledger.node import Node
from ledger.opening import StoredEnvelopes
from schemas.records import Entry
from schemas.region import load_region
from shangmi import PrivateKey, sm3

ROOT = Path(__file__).parents[2]
INSTITUTIONS = [one.id for one in load_region(ROOT / "region.yaml").institutions]
PATIENCE = 120.0

pytestmark = [
    pytest.mark.mongo,
    needs(can_part(), "only root can give services users and mounts of their own"),
]

# What a task of the worker does, one step a line: the worker's own modules, its environment, its account.
WORKER = """
import json, os, sys
sys.path.append("/opt/xinglin")
from dags.steps import compare
from dags.steps.site import site
from deploy.offer import offer
from ledger.carrier import Carrier
own, at = os.environ["XINGLIN_NODE"], site()
carrier = Carrier(at.node(own), at.exchange)
steps = {
    "offer": lambda: offer(3)[0],
    "vault": lambda: at.vault(own).summaries.made,
    "beside": lambda: [at.summaries(own).follow().height, compare.keep(own)["kept"]],
    **{name: getattr(carrier, name) for name in ("propose", "prepare", "confirm")},
    "apply": lambda: carrier.apply(1),
}
for line in sys.stdin:
    try:
        print(json.dumps(steps[line.strip()]()), flush=True)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""


@dataclass
class Deployed:
    """A prepared region with its MongoDB; one institution's services run, the others' nodes are in this process."""

    containers: Containers
    genesis: Genesis
    root: MongoClient[dict[str, Any]]
    own: str
    port: int

    def carrier(self, institution: str) -> Carrier:
        """Return what carries for a node that is opened here, with the keys that its service would have."""
        folder = self.containers.state / "node-homes" / institution / "keys" / institution
        word = (self.containers.state / "secrets" / f"node-{institution}" / "key-password").read_bytes()
        node = Node(
            self.genesis,
            institution,
            PrivateKey.from_pem((folder / "sm2.pem").read_bytes(), word),
            Replica(self.root[f"ledger_{institution}"], self.genesis),
            VoteStore(folder / "votes.sqlite"),
            StoredEnvelopes(self.root),
            lambda: time.time_ns() // 1_000_000,
        )
        return Carrier(node, MongoExchange(self.root["xinglin_exchange"]))

    def status(self) -> dict[str, Any]:
        """Return what the institution's chain says of itself over HTTP."""
        return dict(httpx.get(f"http://127.0.0.1:{self.port}/v1/status", trust_env=False, timeout=20).json())


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def prepared(folder: Path, members: str) -> Path:
    """Return a region's folder whose addresses of MongoDB are the ones here."""
    state = folder / "state"
    state.mkdir()
    script = [sys.executable, str(ROOT / "deploy" / "prepare.py"), str(state)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for path in (state / "secrets").glob("*/mongodb-uri"):
        content, owner = path.read_text("ascii"), path.stat()
        path.chmod(0o600)
        path.write_text(content.replace(MEMBERS, members), "ascii")
        path.chmod(owner.st_mode & 0o777)
    return state


def guarded_mongod(folder: Path, port: int) -> list[str]:
    """Return the command of a member that asks for a password, its folder made."""
    (folder / "data").mkdir(parents=True)
    keyfile = folder / "keyfile"
    keyfile.write_bytes(base64.b64encode(secrets.token_bytes(96)))
    keyfile.chmod(0o400)
    return [
        str(find_mongod()), "--replSet", "xinglin", "--keyFile", str(keyfile), "--bind_ip", "127.0.0.1", "--port",
        str(port), "--dbpath", str(folder / "data"), "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64",
        "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The region, founded; the services of the first block's producer run."""
    folder, mongo, port = tmp_path_factory.mktemp("deployed"), free_port(), free_port()
    state = prepared(folder, f"127.0.0.1:{mongo}")
    accounts = json.loads((state / "secrets" / "mongo-init" / "accounts.json").read_bytes())
    genesis = Genesis.load((state / "region" / "genesis.bin").read_bytes())
    turn = genesis.validators.producer(1, 0).id
    own = next(one for one in INSTITUTIONS if institution_id(one) == turn)
    containers = Containers(state, folder / "run", {"0.0.0.0": "127.0.0.1", "8470": str(port)})
    containers.scratch.mkdir(mode=0o700)
    with ExitStack() as stack:
        stack.callback(start("mongod", guarded_mongod(folder / "mongo", mongo), folder / "run").stop, kill=True)
        establish([f"127.0.0.1:{mongo}"], INSTITUTIONS, accounts)
        root = stack.enter_context(
            MongoClient[dict[str, Any]](
                "127.0.0.1", mongo, replicaSet="xinglin", username="root", password=accounts["root"], tz_aware=True
            )
        )
        for part in ("node", "chain"):
            process = containers.start(f"{part}-{own}")
            stack.callback(stop, containers, f"{part}-{own}")
            until(lambda part=part, process=process: ready(containers, part, own, process), f"{part}-{own}")
        yield Deployed(containers, genesis, root, own, port)


def stop(containers: Containers, name: str) -> None:
    """A service has ended, if it ran."""
    if (process := running(name, containers.scratch)) is not None:
        process.stop()


def ready(containers: Containers, part: str, own: str, process: Process) -> bool:
    """Whether a service is healthy, which it can only become while it runs."""
    assert process.alive(), (containers.scratch / f"{part}-{own}.log").read_text()
    return containers.healthy(f"{part}-{own}")


def test_a_worker_without_a_key_carries_the_block_that_its_node_signs(deployed: Deployed) -> None:
    own, others = deployed.own, [one for one in INSTITUTIONS if one != deployed.own]
    voters = [deployed.carrier(one) for one in others]
    offered(deployed, next(one for one in voters if one.node.institution.startswith("hospital-")))
    worker = deployed.containers.open(f"worker-{own}", ["python", "-c", WORKER])
    with worker:
        assert worker.stdin is not None and worker.stdout is not None

        def told(step: str) -> Any:
            worker.stdin.write(f"{step}\n")
            worker.stdin.flush()
            return json.loads(worker.stdout.readline())

        assert told("vault") is True, "the node opens the region's key for it"
        assert told("offer") == 1
        assert told("propose") == {"height": 1, "round": 0}
        for step in ("prepare", "confirm"):
            assert told(step) == {"height": 1, "round": 0}
            for one in voters:
                if one.node.is_voter:
                    getattr(one, step)()
        assert told("apply") == {"height": 1}
        assert told("beside") == [1, 0]
        worker.stdin.close()
    for one in voters:
        one.apply(1)
    meta = [deployed.root[f"ledger_{one}"]["meta"].find_one({"_id": "head"}, {"block_id": 1}) for one in INSTITUTIONS]
    assert meta[0] is not None
    assert meta == meta[:1] * len(INSTITUTIONS)
    replica = Replica(deployed.root[f"ledger_{own}"], deployed.genesis)
    assert verify_chain(replica).ok
    assert deployed.status()["height"] == 1


def offered(deployed: Deployed, carrier: Carrier) -> None:
    """Another institution offers a record too, which the node then reads back by its own account."""
    name, rid, envelope = carrier.node.institution, os.urandom(16), os.urandom(300)
    locator = f"{rid.hex()}.1"
    deployed.root[f"xinglin_{name}"]["records"].insert_one({"_id": locator, "envelope": envelope})
    entry = Entry(rid, 1, sm3(envelope), os.urandom(32), bytes(32), len(envelope), 1, locator)
    signed = carrier.node.submit([entry], 1, f"xinglin_{name}/records")
    carrier.exchange.post_submission(signed.tx, signed.leaves)


@pytest.mark.parametrize("part", ["worker", "chain"])
def test_neither_worker_nor_what_shows_the_chain_sees_the_signing_key(deployed: Deployed, part: str) -> None:
    seen = deployed.containers.run(f"{part}-{deployed.own}", ["find", "/var/lib", "/run", "/etc/xinglin", "-type", "f"])
    names = {Path(one).name for one in seen.stdout.split()}
    assert ("vault.key" in names) == (part == "worker")
    assert names & {"genesis.bin", "mongodb-uri"}
    assert not names & {"sm2.pem", "votes.sqlite", "node.lock"}


def test_a_worker_cannot_put_a_socket_of_its_own_in_the_place_of_its_nodes(deployed: Deployed) -> None:
    socket = "/run/xinglin-node/node.sock"
    for attempt in (["rm", "-f", socket], ["touch", "/run/xinglin-node/other"]):
        assert deployed.containers.run(f"worker-{deployed.own}", attempt).returncode != 0
    assert deployed.containers.healthy(f"node-{deployed.own}")


def test_another_institutions_worker_finds_no_socket(deployed: Deployed) -> None:
    other = next(one for one in INSTITUTIONS if one != deployed.own)
    seen = deployed.containers.run(f"worker-{other}", ["ls", "-A", "/run/xinglin-node"])
    assert (seen.returncode, seen.stdout) == (0, "")


def test_a_node_that_is_stopped_leaves_no_socket_and_comes_back_with_the_chain(deployed: Deployed) -> None:
    name = f"node-{deployed.own}"
    stop(deployed.containers, name)
    assert not deployed.containers.healthy(name)
    deployed.containers.start(name)
    until(lambda: deployed.containers.healthy(name), "the node does not come back")
