"""SIGKILL at any point of the flow, and the same run again: every record once, the chain whole, the counts agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from killed import child_environment, run_apart
from pymongo import MongoClient

from console.region import mongod
from console.region.founding import found
from dags.steps.site import Site
from schemas.home import Home
from simulators.lis import Laboratory
from simulators.sent import Sent

LAB = "lab-centre-lis"
WORKER = Path(__file__).with_name("killed_run.py")


def drop(home: Home) -> Sent:
    """One day's files, trouble included, and what must become of them."""
    folder = home.path / "inbox" / LAB
    sent = Laboratory(1).drop(folder, 2, 4)
    for path in folder.iterdir():
        os.utime(path, (1_760_000_000, 1_760_000_000))
    return sent


def work(kill_at: int) -> subprocess.CompletedProcess[str]:
    """One run in a process of its own."""
    return run_apart(WORKER, kill_at, timeout=180)


def assert_whole(at: Site, sent: Sent) -> None:
    """Nothing is lost, nothing doubled, all of it final and proved by every replica."""
    vault = at.vault("lab-centre")
    summary = vault.summary()
    totals = summary.sources[LAB]
    assert totals.sealed == sent.sealed
    assert totals.quarantined == sent.set_aside.total()
    assert totals.pending == totals.batched == 0
    assert totals.received == totals.sealed + totals.duplicate + totals.quarantined
    assert summary.submissions == {"final": summary.versions}
    assert {one.state for one in vault.batches.list()} == {"reconciled"}
    for one in at.region.institutions:
        report = at.node(one.id).verify_chain()
        assert report.ok, report.fault
        assert report.entries == summary.versions


def test_a_run_killed_again_and_again_ends_as_if_it_had_never_been(home: Home, at: Site) -> None:
    sent = drop(home)
    deaths, step = 0, 12
    while (done := work(step)).returncode == -signal.SIGKILL:
        deaths += 1
        step = step * 2 - 5 * (deaths % 2)
    assert done.returncode == 0, done.stderr
    assert deaths >= 4
    assert work(0).returncode == 0
    assert_whole(at, sent)


def test_mongod_killed_while_records_are_sealed_loses_nothing(tmp_path: Path) -> None:
    port = mongod.free_port()
    server = mongod.start_mongod(tmp_path / "mongo", port)
    environment = {"XINGLIN_HOME": str(tmp_path / "home"), "MONGODB_URI": server.uri}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        home = Home.from_environment()
        found(home)
        (home.path / "inbox" / LAB).mkdir(parents=True)
        sent = drop(home)
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
        )
        with MongoClient(server.uri) as client:
            while client["xinglin_lab-centre"]["records"].find_one() is None and worker.poll() is None:
                pass
        server.stop(kill=True)
        server = mongod.start_mongod(tmp_path / "mongo", port)
        worker.wait(timeout=180)
        done = work(0)
        assert done.returncode == 0, done.stderr
        at = Site(home)
        assert_whole(at, sent)
        at.close()
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
