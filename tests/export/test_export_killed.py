"""SIGKILL at any point of an export, and the same task again: one answer, one whole package, nothing in the clear."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from export_world import EAST, PEOPLE, RESEARCH, VALUES, World, table
from killed import run_apart

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.messages.delivery import Delivered, DeliveryState
from sharing.package import open_package, verify

SCRIPT = Path(__file__).with_name("export_killed.py")


def work(tx: bytes, kill_at: int = 0, seconds: float = 0) -> subprocess.CompletedProcess[str]:
    """One try of the task, in a process of its own."""
    return run_apart(SCRIPT, EAST, tx.hex(), kill_at, seconds, timeout=120)


def answers(world: World) -> list[Delivered]:
    """The answers that are offered to the next block."""
    opened = map(open_transaction, world.at.exchange.transactions())
    return [one for one in opened if isinstance(one, Delivered)]


def test_an_export_killed_again_and_again_ends_in_one_whole_package(world: World, tmp_path: Path) -> None:
    world.say(EAST, range(30))
    tx = world.submit(world.request(EAST, views=(PEOPLE, VALUES)))
    deaths, kill_at = 0, 8
    while (done := work(tx, kill_at)).returncode == -signal.SIGKILL:
        deaths, kill_at = deaths + 1, kill_at + 11
        assert len(answers(world)) <= 1
    assert done.returncode == 0, done.stderr
    assert deaths >= 3, "it was killed at its first steps, in its middle and at its end"
    assert work(tx, seconds=0.3).returncode in (0, -signal.SIGKILL)
    assert work(tx).stdout.strip().endswith("delivered")
    assert len(answers(world)) == 1
    world.grow()
    share.lay_out(EAST, world.at)
    stored = world.state(DELIVERY, tx + institution_id(EAST))
    assert stored is not None
    answer, path = DeliveryState.decode(stored), tmp_path / "d.xld"
    share.holder(EAST, world.at).shelf.get(answer.package, path, answer.size)
    assert verify(path, world.at.home.anchor).manifest.records == answer.records == 30 * 4
    with open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt) as opened:
        assert len(table(opened, "values")) == 30 * 3
    left = [one for one in (world.at.home.path / "exports").rglob("*") if one.is_file()]
    assert left == []
