"""`xinglin node run`: processes with a user, a key and a vote store of their own, stopped and killed at any point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needed import needs
from node_home import NOBODY, NodeHome, short_folder
from pymongo import MongoClient
from region_simulation import AUDITOR, RegionSimulation

from deploy.apart import apart, can_part
from ledger.agreement.certificate import COMMIT, PREPARE, Vote
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import VoteStore
from ledger.carrier import Carrier, carry_block
from ledger.chain.block import Block
from ledger.chain.replica import Replica
from ledger.errors import Refused, Unreachable
from ledger.notary import Notary
from ledger.remote.answers import result_of
from ledger.remote.client import RemoteNode
from ledger.remote.confinement import check_private
from ledger.remote.peers import Peers
from ledger.remote.protocol import Method, question
from schemas.errors import ConfigurationError

pytestmark = pytest.mark.mongo
WHO = "nursing-home"
ROOT_ONLY = needs(can_part(), "only root can become another user")


@pytest.fixture
def region(mongo: MongoClient[dict[str, Any]], tmp_path: Path) -> Iterator[RegionSimulation]:
    """A region whose replicas bear the names that a node process looks for, at the present time."""
    made = RegionSimulation(mongo, tmp_path, "ledger")
    made.clock.now = time.time_ns() // 1_000_000
    yield made
    made.close()
    mongo.drop_database("xinglin_hospital-east")


@pytest.fixture
def home(region: RegionSimulation, mongo_uri: str) -> Iterator[NodeHome]:
    with short_folder() as folder:
        yield NodeHome(region, WHO, folder / "home", mongo_uri)


def offer(region: RegionSimulation, count: int = 3) -> None:
    """A batch of hospital-east is offered, and its envelopes lie where other processes look for them."""
    entries = region.entries("hospital-east", count)
    region.mongo["xinglin_hospital-east"]["records"].insert_many(
        [{"_id": one.locator, "envelope": region.envelopes["hospital-east", one.locator]} for one in entries]
    )
    node = region.node("hospital-east")
    made = node.submit(entries, node.next_seq(), "vault")
    region.exchange.post_submission(made.tx, made.leaves)


def carriers(region: RegionSimulation, client: RemoteNode) -> list[Carrier]:
    """Everybody's, the process's among them."""
    region.clock.now = time.time_ns() // 1_000_000
    nodes: list[Notary] = [client if name == WHO else node for name, node in region.nodes.items()]
    return [Carrier(one, region.exchange) for one in nodes]


def replica(region: RegionSimulation, home: NodeHome) -> Replica:
    return Replica(region.mongo[f"ledger_{home.institution}"], region.genesis)


def test_a_node_process_makes_blocks_ends_at_sigterm_and_goes_on_after_it(
    region: RegionSimulation, home: NodeHome
) -> None:
    for height in (1, 2):
        with home.running() as process:
            offer(region)
            assert carry_block(carriers(region, home.client())) == height
            assert home.ended("status").stdout == f"nursing-home: height {height}, a voter\n"
            second = home.ended("run")
            assert second.returncode == 1 and "running already" in second.stderr
            process.terminate()
            told, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "listening, height" in told and "stopped" in told and "horse" not in told
        assert not home.socket.exists()
    assert home.ended("status").returncode == 1
    assert replica(region, home).view.head == region.node(AUDITOR).replica.view.head


def test_killed_before_any_step_and_started_again_it_signs_one_way_and_loses_nothing(
    region: RegionSimulation, home: NodeHome
) -> None:
    """SIGKILL before a command to the database or a statement to the vote store, life after life."""
    script = Path(__file__).with_name("killed_node.py")
    user = str(NOBODY) if os.geteuid() == 0 else ""
    lives = iter(range(9, 400, 23))
    home.command = lambda *_: [sys.executable, str(script), WHO, user, str(next(lives))]  # type: ignore[method-assign]
    height = 0
    offer(region)
    while height < 3:
        try:
            with home.running():
                while height < 3:
                    made = carry_block(carriers(region, home.client(patience=0.0)))
                    height = max(height, made or 0, *(node.height for node in region.nodes.values()))
                    offer(region)
        except (Unreachable, AssertionError):  # killed while it answered, or before it could
            assert home.ends[-1] == -signal.SIGKILL
    assert home.ends.count(-signal.SIGKILL) >= 4
    for node in (*region.nodes.values(),):
        if node.institution != WHO:
            node.sync(region.exchange)
    mine = replica(region, home)
    assert mine.header(2) == region.node(AUDITOR).replica.header(2) and region.node(AUDITOR).verify_chain().ok
    for place in range(1, 5):
        for type_ in (PREPARE, COMMIT):
            votes = [Vote.decode(one) for one in region.exchange.votes(place, 0, type_)]
            assert len({one.ballot for one in votes if region.genesis.institution(one.voter) == WHO}) <= 1
    store = VoteStore(home.votes)
    assert store.halted() is None
    store.close()


def test_two_workers_with_two_proposals_of_one_round_get_one_vote(region: RegionSimulation, home: NodeHome) -> None:
    """A producer signs two blocks; each worker carries another one to the node at the same time."""
    region.clock.now = time.time_ns() // 1_000_000
    offer(region)
    offered = region.exchange.submissions()
    producer = region.producer()
    one = producer.propose(offered)
    assert one is not None
    first = Proposal.decode(one)
    block = Block.decode(first.block)
    later = replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    other = replace(first, block=replace(block, header=later).encode())
    two = replace(other, signature=region.keys[producer.institution].sign(other.signed_bytes())).encode()

    def ask(proposal: bytes) -> bytes | str:
        try:
            return home.client().prepare(proposal)
        except Refused as error:
            return error.rule

    with home.running():
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, [one, two] * 4))
        votes = {answer for answer in answers if isinstance(answer, bytes)}
        assert len(votes) == 1 and {answer for answer in answers if isinstance(answer, str)} == {"double vote"}
    with home.running():
        assert {ask(one), ask(two)} == {*votes, "double vote"}
    store = VoteStore(home.votes)
    assert len(store.dump()) == 1
    store.close()


def test_a_key_without_its_vote_store_starts_no_node_and_says_how_to_recover(
    region: RegionSimulation, home: NodeHome
) -> None:
    home.votes.unlink()
    done = home.ended("run")
    assert done.returncode == 1 and "xinglin node recover" in done.stderr and "horse" not in done.stderr
    assert not home.socket.exists() and not home.votes.exists()


def test_a_key_that_others_can_read_starts_no_node(region: RegionSimulation, home: NodeHome) -> None:
    (home.keys / "sm2.pem").chmod(0o640)
    before = home.votes.read_bytes()
    done = home.ended("run")
    assert done.returncode == 1 and "chmod go-rwx" in done.stderr
    assert not home.socket.exists() and home.votes.read_bytes() == before


@pytest.mark.parametrize(
    "how", ["file", "folder", "link", "password", "parent", pytest.param("owner", marks=ROOT_ONLY)]
)
def test_whatever_lets_others_at_the_key_is_named(tmp_path: Path, how: str) -> None:
    keys, password = tmp_path / "keys" / WHO, tmp_path / "password"
    keys.mkdir(parents=True, mode=0o700)
    for path in (keys / "sm2.pem", password):
        path.touch(mode=0o600)
    check_private(keys, password)
    if how == "file":
        (keys / "sm2.pem").chmod(0o604)
    elif how == "folder":
        keys.chmod(0o710)
    elif how == "link":
        (keys / "votes.sqlite").symlink_to(password)
    elif how == "password":
        password.chmod(0o606)
    elif how == "parent":
        keys.parent.chmod(0o777)
    else:
        os.chown(keys / "sm2.pem", NOBODY, NOBODY)
    with pytest.raises(ConfigurationError, match=r"chmod|chown|plain files"):
        check_private(keys, password)


@ROOT_ONLY
def test_root_becomes_a_user_without_rights_or_starts_no_node(region: RegionSimulation, home: NodeHome) -> None:
    asked = [sys.executable, "-m", "console.main", "node", "run"]
    for more in ([], ["--user", "root"], ["--user", "no-such-user"]):
        done = subprocess.run(
            [*asked, *more], env=home.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1 and "user" in done.stderr, more
    assert not home.socket.exists()
    with home.running("--worker", "root") as process:
        facts = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        found = dict(one.split(":\t", 1) for one in facts if ":\t" in one)
        assert found["Uid"].split() == found["Gid"].split() == [str(NOBODY)] * 4
        assert found["Groups"].split() == [str(NOBODY)] and found["NoNewPrivs"] == "1"
        assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert Path(f"/proc/{process.pid}/mem").stat().st_uid == 0  # not dumpable: no debugger of the same user
        assert home.socket.stat().st_uid == NOBODY and home.socket.stat().st_mode & 0o777 == 0o660


#: What a user of the machine sends and gets, without our code: a length and a question, a length and an answer.
STRANGER = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
data = bytes.fromhex(sys.argv[2])
try: s.sendall(len(data).to_bytes(4, 'big') + data)
except BrokenPipeError: pass  # refused before it was asked; the answer says why
size, found = int.from_bytes(s.recv(4), 'big'), b''
while len(found) < size: found += s.recv(size - len(found))
print(found.hex())
"""


@ROOT_ONLY
def test_the_kernel_says_who_asks_and_only_users_named_are_answered(
    region: RegionSimulation, home: NodeHome, tmp_path: Path
) -> None:
    status = question(region.genesis.chain_id, region.node(WHO).id, Method.STATUS, b"").hex()

    def ask(user: int, group: int) -> bytes:
        done = subprocess.run(
            apart(user, [sys.executable, "-c", STRANGER, str(home.socket), status], tmp_path, [group]),
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        return bytes.fromhex(done.stdout) if done.returncode == 0 else done.stderr.encode()

    home.path.chmod(0o755)
    with home.running("--group", "1", "--worker", "1"):
        reader = result_of(ask(1, 1))
        assert reader.text(256) == WHO
        with pytest.raises(Refused, match="user 2 may not ask"):
            result_of(ask(2, 1))
        assert b"PermissionError" in ask(2, 2)  # not even a connection


def test_names_of_users_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no user"):
        Peers.named(["no-such-user"])
    assert Peers.named(["7"]).workers == {7}
    assert os.geteuid() in Peers.named([]).operators


def test_a_worker_with_a_socket_needs_no_key_and_no_vote_store(
    region: RegionSimulation, home: NodeHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ledger.opening import open_node
    from schemas.home import Home

    worker = tmp_path / "worker"
    worker.mkdir()
    (worker / "genesis.bin").write_bytes(region.genesis.encode())
    monkeypatch.setenv("XINGLIN_NODE_SOCKET", str(home.socket))
    with home.running():
        node = open_node(Home(worker), WHO, region.mongo)
        assert isinstance(node, RemoteNode) and node.height == 0 and node.is_voter
        offer(region)
        region.clock.now = time.time_ns() // 1_000_000
        assert carry_block(carriers(region, node)) == 1
    assert not (worker / "keys").exists()
    with pytest.raises(Unreachable):
        RemoteNode(home.socket, WHO, region.genesis.chain_id, patience=0.0).prepare(b"")
